//! TLS and plain HTTP on one port.

use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use std::io::{Read, Write};
use tidings::frontend::http::Tls;

use super::harness::{HASH, Tracker, context, options};

/// Writes a new self-signed certificate and its key into `directory`, and returns the certificate.
fn certificate(directory: &Path) -> CertificateDer<'static> {
    let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(directory.join("cert.pem"), pair.cert.pem()).unwrap();
    std::fs::write(directory.join("key.pem"), pair.signing_key.serialize_pem()).unwrap();
    pair.cert.der().clone()
}

fn tracker(directory: &Path) -> Tracker {
    let mut context = context(options());
    let tls = Tls::load(&directory.join("cert.pem"), &directory.join("key.pem")).unwrap();
    context.tls = Some(Arc::new(tls));
    Tracker::with(context)
}

fn client_config(root: &CertificateDer<'static>) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(root.clone()).unwrap();
    ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth()
}

/// Announces by HTTPS, trusting only `root`.
fn announce(tracker: &Tracker, root: &CertificateDer<'static>) -> std::io::Result<Vec<u8>> {
    let name = ServerName::try_from("localhost").unwrap();
    let connection = ClientConnection::new(Arc::new(client_config(root)), name).unwrap();
    let mut stream = StreamOwned::new(connection, TcpStream::connect(tracker.addr).unwrap());
    write!(stream, "GET /announce?info_hash={HASH}&port=1&left=0 HTTP/1.0\r\n\r\n")?;
    let mut reply = Vec::new();
    stream.read_to_end(&mut reply)?;
    Ok(reply)
}

#[test]
fn tls_and_plain_http_on_one_port() {
    let directory = tempfile::tempdir().unwrap();
    let root = certificate(directory.path());
    let tracker = tracker(directory.path());
    let reply = announce(&tracker, &root).unwrap();
    assert!(reply.starts_with(b"HTTP/1.0 200"), "{}", reply.escape_ascii());
    assert_eq!(tracker.get(&format!("/announce?info_hash={HASH}&port=2&left=0")).int("complete"), 2);
}

#[test]
fn http_2_is_negotiated() {
    let directory = tempfile::tempdir().unwrap();
    let root = certificate(directory.path());
    let tracker = tracker(directory.path());
    let mut config = client_config(&root);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(tracker.addr).await.unwrap();
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        let stream = connector.connect(ServerName::try_from("localhost").unwrap(), stream).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        let io = hyper_util::rt::TokioIo::new(stream);
        let executor = hyper_util::rt::TokioExecutor::new();
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake::<_, _, String>(executor, io).await.unwrap();
        tokio::spawn(connection);
        let url = format!("https://localhost/announce?info_hash={HASH}&port=1&left=0");
        let reply = sender.send_request(hyper::Request::get(url).body(String::new()).unwrap()).await.unwrap();
        assert_eq!(reply.status().as_u16(), 200);
    });
}

#[test]
fn a_new_certificate_is_served_without_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let old = certificate(directory.path());
    let tracker = tracker(directory.path());
    announce(&tracker, &old).unwrap();

    let new = certificate(directory.path());
    tracker.context.tls.as_ref().unwrap().reload().unwrap();
    announce(&tracker, &new).unwrap();
    announce(&tracker, &old).unwrap_err();

    std::fs::write(directory.path().join("key.pem"), "broken").unwrap();
    tracker.context.tls.as_ref().unwrap().reload().unwrap_err();
    announce(&tracker, &new).unwrap();
}

#[test]
fn a_failed_handshake_is_counted_and_does_not_affect_others() {
    let directory = tempfile::tempdir().unwrap();
    let root = certificate(directory.path());
    let tracker = tracker(directory.path());
    let mut client = tracker.connect();
    client.send([0x16, 3, 1, 0, 4, 1, 2, 3, 4]);
    let _ = client.stream.read_to_end(&mut Vec::new());
    announce(&tracker, &root).unwrap();
    assert_eq!(tracker.context.metrics.tls_handshake_failures.load(Relaxed), 1);
}
