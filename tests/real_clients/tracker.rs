//! The tracker under test.

use std::net::{SocketAddr, TcpStream};
use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

use super::namespace::{Host, IPV4, IPV6};
use super::process::{Process, wait_until};
use tidings::testkit::binary::binary;
use tidings::testkit::http;
use tidings::testkit::torrent::Torrent;

const PORT: u16 = 6969;

/// How clients reach the tracker.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Scheme {
    Udp4,
    Udp6,
    Http4,
    Http6,
    Https4,
}

impl Scheme {
    /// The announce URL in the torrent.
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

    /// The address whose scrapes count the clients.
    fn address(self) -> SocketAddr {
        let ip = match self {
            Self::Udp4 | Self::Http4 | Self::Https4 => IPV4.0,
            Self::Udp6 | Self::Http6 => IPV6.0,
        };
        SocketAddr::new(ip.parse().unwrap(), PORT)
    }
}

pub struct Tracker<'a> {
    host: &'a Host,
    address: SocketAddr,
    process: Process,
}

impl<'a> Tracker<'a> {
    /// Starts one with all frontends, and waits until it listens. The certificate of its authority is in `ca.pem`.
    pub fn start(host: &'a Host, scheme: Scheme, directory: &Path) -> Self {
        certify(directory);
        let mut command = host.command(&binary());
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
        let tracker = Self { host, address: scheme.address(), process };
        wait_until("the tracker listens", || tracker.listens(), &[&tracker.process]);
        tracker
    }

    /// Waits until a scrape returns these counts.
    pub fn wait_for(&self, torrent: &Torrent, what: &str, seeders: u32, leechers: u32, others: &[&Process]) {
        let processes: Vec<_> = others.iter().copied().chain([&self.process]).collect();
        wait_until(what, || self.scrape(torrent) == Some((seeders, leechers)), &processes);
    }

    /// Seeders and leechers.
    fn scrape(&self, torrent: &Torrent) -> Option<(u32, u32)> {
        let counts = self.host.enter(|| http::try_scrape(self.address, &[torrent.info_hash])).ok()?;
        let [seeders, _, leechers] = counts[0];
        Some((seeders, leechers))
    }

    fn listens(&self) -> bool {
        self.host.enter(|| TcpStream::connect(self.address)).is_ok()
    }
}

/// Creates a certificate authority, and a certificate of it for the tracker.
fn certify(directory: &Path) {
    let mut authority = CertificateParams::new([]).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    // By default both have the same name, so that the certificate looks self-signed.
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
