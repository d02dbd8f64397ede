//! The tracker under test.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

use super::DEADLINE;
use super::namespace::{IPV4, IPV6, Namespace};
use super::process::{Process, wait_until};
use super::torrent::Torrent;

const PORT: u16 = 6969;

/// How the clients reach it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Scheme {
    Udp4,
    Udp6,
    Http4,
    Http6,
    Https4,
}

impl Scheme {
    /// What stands in the torrent.
    pub fn url(self) -> String {
        let (scheme, host) = match self {
            Self::Udp4 => ("udp", IPV4.1),
            Self::Udp6 => ("udp", IPV6.1),
            Self::Http4 => ("http", IPV4.1),
            Self::Http6 => ("http", IPV6.1),
            Self::Https4 => ("https", IPV4.1),
        };
        format!("{scheme}://{host}:{PORT}/announce")
    }

    /// Where its scrapes see the clients.
    fn address(self) -> SocketAddr {
        let ip = match self {
            Self::Udp4 | Self::Http4 | Self::Https4 => IPV4.0,
            Self::Udp6 | Self::Http6 => IPV6.0,
        };
        SocketAddr::new(ip.parse().unwrap(), PORT)
    }
}

pub struct Tracker<'a> {
    namespace: &'a Namespace,
    address: SocketAddr,
    process: Process,
}

impl<'a> Tracker<'a> {
    /// Starts one that serves everything, and waits for it. The certificate of its authority is in `ca.pem`.
    pub fn start(namespace: &'a Namespace, scheme: Scheme, directory: &Path) -> Self {
        certify(directory);
        let mut command = namespace.command(env!("CARGO_BIN_EXE_tidings"));
        command.env("TIDINGS_OPS__LISTEN", "off");
        for (key, value) in [
            ("announce.interval", "5"),
            ("announce.min_interval", "2"),
            ("tls.cert", &directory.join("cert.pem").display().to_string()),
            ("tls.key", &directory.join("key.pem").display().to_string()),
        ] {
            command.arg("--set").arg(format!("{key}={value}"));
        }
        let process = Process::start("tracker", command, directory);
        let tracker = Self { namespace, address: scheme.address(), process };
        wait_until("the tracker listens", DEADLINE, || tracker.connect().is_some(), &[&tracker.process]);
        tracker
    }

    /// Waits until a scrape tells these numbers of the torrent's peers.
    pub fn wait_for(&self, torrent: &Torrent, what: &str, seeders: u32, leechers: u32, others: &[&Process]) {
        let processes: Vec<_> = others.iter().copied().chain([&self.process]).collect();
        wait_until(what, DEADLINE, || self.scrape(torrent) == Some((seeders, leechers)), &processes);
    }

    /// Seeders and leechers.
    fn scrape(&self, torrent: &Torrent) -> Option<(u32, u32)> {
        let hash: String = torrent.info_hash.iter().map(|byte| format!("%{byte:02x}")).collect();
        let mut stream = self.connect()?;
        write!(stream, "GET /scrape?info_hash={hash} HTTP/1.0\r\n\r\n").ok()?;
        let mut reply = Vec::new();
        stream.read_to_end(&mut reply).ok()?;
        Some((number(&reply, "8:completei")?, number(&reply, "10:incompletei")?))
    }

    fn connect(&self) -> Option<TcpStream> {
        let stream = self.namespace.enter(|| TcpStream::connect(self.address)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        Some(stream)
    }
}

/// The number that follows these bytes.
fn number(bytes: &[u8], before: &str) -> Option<u32> {
    let at = bytes.windows(before.len()).position(|window| window == before.as_bytes())? + before.len();
    let end = at + bytes[at..].iter().position(|byte| *byte == b'e')?;
    std::str::from_utf8(&bytes[at..end]).ok()?.parse().ok()
}

/// Makes an authority, and a certificate of it for the tracker.
fn certify(directory: &Path) {
    let mut authority = CertificateParams::new([]).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    // By default both had the same name, and the certificate would look like its own issuer's.
    authority.distinguished_name.push(DnType::CommonName, "Authority of a test");
    let key = KeyPair::generate().unwrap();
    std::fs::write(directory.join("ca.pem"), authority.self_signed(&key).unwrap().pem()).unwrap();
    let authority = Issuer::new(authority, key);
    let key = KeyPair::generate().unwrap();
    let names = [IPV4.1, IPV6.1].map(str::to_owned);
    let certificate = CertificateParams::new(names).unwrap().signed_by(&key, &authority).unwrap();
    std::fs::write(directory.join("cert.pem"), certificate.pem()).unwrap();
    std::fs::write(directory.join("key.pem"), key.serialize_pem()).unwrap();
}
