//! A reload happens as a whole or not at all: with one bad file of four nothing changes and the error contains its path,
//! with four good ones all take effect.

use std::fs;
use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme, StreamOwned};
use tempfile::TempDir;
use tidings::client::{AnnounceParams, HttpClient, ReplyError, Resend, UdpClient, announce_target, read_announce};
use tidings::clock::SystemClock;
use tidings::cluster::gossip::keyring::KeyRing;
use tidings::cluster::gossip::seal::Seal;
use tidings::config::{AccessMode, Settings};
use tidings::node::Node;
use tidings::swarm::{Event, InfoHash};
use tidings::wire::udp::{self, ConnectionId, Options, Response, TransactionId};
use tokio::net::UdpSocket;

const HASH: InfoHash = InfoHash([0xab; 20]);
const NODE: &str = "reload-1";

/// The four files that this test breaks one at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum File {
    AccessList,
    Certificate,
    Secret,
    GossipKeys,
}

impl File {
    fn path(self, dir: &Path) -> PathBuf {
        dir.join(match self {
            Self::AccessList => "denied.txt",
            Self::Certificate => "cert.pem",
            Self::Secret => "shared-secret",
            Self::GossipKeys => "keys/gossip.keys",
        })
    }
}

/// Writes a new generation of all files. The first one denies nothing, each later one denies [`HASH`].
fn write_files(dir: &Path, first: bool) {
    fs::write(File::AccessList.path(dir), if first { String::new() } else { format!("{HASH}\n") }).unwrap();

    let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    fs::write(File::Certificate.path(dir), pair.cert.pem()).unwrap();
    fs::write(dir.join("key.pem"), pair.signing_key.serialize_pem()).unwrap();

    // The same key for placement, a new one for connection ids.
    let key: [u8; 16] = rand::random();
    fs::write(File::Secret.path(dir), format!("{}{}\n", "aa".repeat(16), hex::encode(key))).unwrap();

    let made = tempfile::tempdir().unwrap();
    let keys = made.path().join("made");
    let mut init = Command::new(env!("CARGO_BIN_EXE_tidings"));
    let output = init.args(["keys", "init"]).arg(&keys).args(["--node", NODE]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    fs::create_dir_all(dir.join("keys")).unwrap();
    for file in fs::read_dir(keys.join(NODE)).unwrap().map(Result::unwrap) {
        fs::copy(file.path(), dir.join("keys").join(file.file_name())).unwrap();
    }
}

fn settings(dir: &Path) -> Settings {
    let localhost: SocketAddr = (Ipv4Addr::LOCALHOST, 0).into();
    let mut settings = Settings::default();
    settings.node.id = NODE.into();
    settings.announce.udp = vec![localhost];
    settings.announce.http = vec![localhost];
    settings.announce.threads = 1;
    settings.ops.listen = None;
    settings.access_list.mode = AccessMode::Deny;
    settings.access_list.path = Some(File::AccessList.path(dir));
    settings.tls.cert = Some(File::Certificate.path(dir));
    settings.tls.key = Some(dir.join("key.pem"));
    settings.cluster.secret_file = Some(File::Secret.path(dir));
    settings.cluster.keys = Some(dir.join("keys"));
    settings.cluster.gossip = Some(std::net::UdpSocket::bind(localhost).unwrap().local_addr().unwrap());
    settings.cluster.link = Some(TcpListener::bind(localhost).unwrap().local_addr().unwrap());
    settings.cluster.leave_timeout = 0;
    settings
}

/// A node that has loaded the first generation of its files, and what a client keeps from that time.
struct Tracker {
    dir: TempDir,
    node: Node,
    settings: Settings,
    connection_id: ConnectionId,
    certificates: [CertificateDer<'static>; 2],
    gossip: Seal,
}

impl Tracker {
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        write_files(dir.path(), true);
        let settings = settings(dir.path());
        let node = Node::start(settings.clone(), Arc::new(SystemClock::start()), None).await.unwrap();
        let connection_id = connect(node.addrs().udp[0]).await;
        let certificates = certificates(&node, &settings);
        let gossip = seal(dir.path());
        Self { dir, node, settings, connection_id, certificates, gossip }
    }

    /// Which parts of the first generation are still in use: the access list, the connection id, the certificates of the
    /// HTTPS and of the link port, the gossip keys.
    async fn unchanged(&self) -> [bool; 5] {
        let [https, link] = certificates(&self.node, &self.settings);
        [
            self.is_permitted().await,
            self.is_connected().await,
            https == self.certificates[0],
            link == self.certificates[1],
            self.is_gossip_accepted(&self.gossip).await,
        ]
    }

    async fn is_permitted(&self) -> bool {
        let addr = self.node.addrs().http[0];
        let mut target = Vec::new();
        announce_target(&mut target, "/announce", &announce());
        let reply = HttpClient::new(addr, "tracker", None).get(&target).await.unwrap();
        match read_announce(reply.body()) {
            Ok(_) => true,
            Err(ReplyError::Refused(_)) => false,
            Err(error) => panic!("{error}"),
        }
    }

    /// Whether the connection id from before is accepted: a datagram with a bad one is ignored or refused. The announce
    /// is for another info hash than the one that the access list may deny.
    async fn is_connected(&self) -> bool {
        let resend = Resend { after: Duration::from_millis(300), times: 1 };
        let mut client = UdpClient::new(self.node.addrs().udp[0], TransactionId(9), resend).await.unwrap();
        let announce = AnnounceParams { info_hash: InfoHash([1; 20]), ..announce() };
        let encode = |out: &mut Vec<u8>, id| announce.encode_udp(out, self.connection_id, id, Options::default());
        let reply = tokio::time::timeout(Duration::from_secs(1), client.exchange(encode)).await;
        matches!(reply, Ok(Ok(Response::Announce { .. })))
    }

    async fn is_gossip_accepted(&self, seal: &Seal) -> bool {
        let sealed = self.node.context().cluster.as_ref().unwrap().sealed.as_ref().unwrap();
        let opened = || sealed.counts().opened;
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let (before, refused_before) = (opened(), sealed.counts().bad_key_or_cluster);
        socket.send_to(&seal.seal(b"not gossip").unwrap(), self.settings.cluster.gossip.unwrap()).await.unwrap();
        for _ in 0..200 {
            if opened() > before {
                return true;
            }
            if sealed.counts().bad_key_or_cluster > refused_before {
                return false;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the datagram was neither accepted nor refused");
    }
}

fn announce() -> AnnounceParams {
    let event = Event::Started;
    AnnounceParams { info_hash: HASH, peer_id: [7; 20], key: 0, event, left: 1, num_want: 1, port: 6881 }
}

async fn connect(addr: SocketAddr) -> ConnectionId {
    let resend = Resend { after: Duration::from_millis(300), times: 10 };
    let mut client = UdpClient::new(addr, TransactionId(1), resend).await.unwrap();
    match client.exchange(udp::encode_connect).await.unwrap() {
        Response::Connect { connection_id, .. } => connection_id,
        other => panic!("{other:?}"),
    }
}

fn seal(dir: &Path) -> Seal {
    let keys = KeyRing::load(&File::GossipKeys.path(dir)).unwrap();
    Seal::new("tidings", Arc::new(ArcSwap::from_pointee(keys)), Arc::new(SystemClock::start()))
}

/// The certificates that the HTTPS port and the link port serve.
fn certificates(node: &Node, settings: &Settings) -> [CertificateDer<'static>; 2] {
    [served_certificate(node.addrs().http[0]), served_certificate(settings.cluster.link.unwrap())]
}

fn served_certificate(addr: SocketAddr) -> CertificateDer<'static> {
    let provider = Arc::new(ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
        .with_no_client_auth();
    let connection = ClientConnection::new(Arc::new(config), ServerName::try_from("localhost").unwrap()).unwrap();
    let stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let mut stream = StreamOwned::new(connection, stream);
    // Completes the handshake. The link port then refuses us, having no certificate to show.
    let _ = stream.read(&mut [0]);
    stream.conn.peer_certificates().expect("a certificate")[0].clone().into_owned()
}

#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

async fn one_bad_file_changes_nothing(bad: File) {
    let tracker = Tracker::start().await;
    write_files(tracker.dir.path(), false);
    let path = bad.path(tracker.dir.path());
    fs::write(&path, "neither a key nor an info hash nor a certificate\n").unwrap();

    let error = tracker.node.reload().unwrap_err().to_string();
    assert!(error.contains(path.to_str().unwrap()), "{error}");
    assert_eq!(tracker.unchanged().await, [true; 5], "{bad:?}");
    tracker.node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn bad_access_list_changes_nothing() {
    one_bad_file_changes_nothing(File::AccessList).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn bad_certificate_changes_nothing() {
    one_bad_file_changes_nothing(File::Certificate).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn bad_secret_changes_nothing() {
    one_bad_file_changes_nothing(File::Secret).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn bad_gossip_keys_change_nothing() {
    one_bad_file_changes_nothing(File::GossipKeys).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn four_good_files_all_take_effect() {
    let tracker = Tracker::start().await;
    assert_eq!(tracker.unchanged().await, [true; 5]);
    write_files(tracker.dir.path(), false);

    let installed = tracker.node.reload().unwrap().to_string();
    assert_eq!(installed, "access list, TLS certificate, connection id keys, cluster keys");
    assert_eq!(tracker.unchanged().await, [false; 5]);
    connect(tracker.node.addrs().udp[0]).await;
    assert!(tracker.is_gossip_accepted(&seal(tracker.dir.path())).await);
    tracker.node.stop().await;
}
