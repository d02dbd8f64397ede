//! The clients, each with everything off that could find peers without the tracker.

use std::path::Path;
use std::process::Command;

use super::namespace::{IPV6, Namespace, missing_program};
use super::process::Process;

use rustix::process::Signal;

/// Debian's Python, which sees Debian's libtorrent.
const PYTHON: &str = "/usr/bin/python3";

#[derive(Clone, Copy, PartialEq)]
pub enum Client {
    Transmission,
    Aria2,
    /// The library of qBittorrent and Deluge, with a script around it.
    Libtorrent,
}

impl Client {
    /// Says so if it is not installed.
    pub fn missing(self) -> Option<String> {
        match self {
            Self::Transmission => missing_program("transmission-daemon"),
            Self::Aria2 => missing_program("aria2c"),
            Self::Libtorrent => {
                let found = Command::new(PYTHON).args(["-c", "import libtorrent"]).output();
                let found = found.is_ok_and(|output| output.status.success());
                (!found).then(|| "python3-libtorrent is not installed: run tests/run".into())
            }
        }
    }

    /// Takes it out of the swarm as its user would. Its process may take a while to tell the tracker.
    pub fn stop(self, namespace: &Namespace, process: &mut Process, port: u16) {
        if self == Self::Transmission {
            // Ended by a signal, it may not wait until its last announce has been sent.
            let mut remote = namespace.command("transmission-remote");
            remote.arg(rpc_port(port).to_string()).args(["--torrent", "all", "--stop"]);
            assert!(remote.output().unwrap().status.success());
            return;
        }
        // aria2 leaves without a word on SIGTERM.
        process.stop(if self == Self::Aria2 { Signal::INT } else { Signal::TERM });
    }

    /// Starts it for the torrent in `directory`: it seeds what it finds in `content`, and else downloads to there.
    pub fn start(self, namespace: &Namespace, directory: &Path, content: &Path, port: u16) -> Process {
        let torrent = directory.join("it.torrent");
        let (name, command) = match self {
            Self::Transmission => {
                let config = directory.join(format!("transmission-{port}"));
                configure_transmission(&config, &torrent, content, port);
                let mut command = namespace.command("transmission-daemon");
                command.args(["--foreground", "--log-debug", "--config-dir"]).arg(config);
                command.env("CURL_CA_BUNDLE", directory.join("ca.pem"));
                ("transmission", command)
            }
            Self::Aria2 => {
                let mut command = namespace.command("aria2c");
                command.args(["--no-conf", "--enable-dht=true", "--enable-dht6=false", "--bt-enable-lpd=false"]);
                command.args(["--enable-peer-exchange=false", "--async-dns=false", "--file-allocation=none"]);
                command.args(["--check-integrity=true", "--seed-ratio=0.0", "--summary-interval=0"]);
                command.args(["--console-log-level=info", "--show-console-readout=false"]);
                command.arg(format!("--listen-port={port}")).arg(format!("--dht-listen-port={port}"));
                command.arg(format!("--dht-file-path={}", directory.join("dht.dat").display()));
                command.arg(format!("--ca-certificate={}", directory.join("ca.pem").display()));
                command.arg(format!("--dir={}", content.display())).arg(torrent);
                ("aria2", command)
            }
            Self::Libtorrent => {
                let mut command = namespace.command(PYTHON);
                command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/real_clients/libtorrent_client.py"));
                command.arg(torrent).arg(content).arg(format!("[{}]:{port}", IPV6.0));
                ("libtorrent", command)
            }
        };
        Process::start(&format!("{name}-{port}"), command, directory)
    }
}

fn configure_transmission(config: &Path, torrent: &Path, content: &Path, port: u16) {
    let watched = config.join("watched");
    std::fs::create_dir_all(&watched).unwrap();
    std::fs::copy(torrent, watched.join("it.torrent")).unwrap();
    let settings = serde_json::json!({
        "dht-enabled": false,
        "download-dir": content,
        "lpd-enabled": false,
        "peer-port": port,
        "pex-enabled": false,
        "port-forwarding-enabled": false,
        "rpc-bind-address": "127.0.0.1",
        "rpc-port": rpc_port(port),
        "utp-enabled": false,
        "watch-dir": watched,
        "watch-dir-enabled": true,
    });
    std::fs::write(config.join("settings.json"), settings.to_string()).unwrap();
}

/// Where Transmission takes its user's orders.
fn rpc_port(port: u16) -> u16 {
    port + 1000
}
