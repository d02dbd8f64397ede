//! The clients, each with everything off that could find peers without the tracker.

use std::path::Path;
use std::process::Command;

use super::namespace::{IPV6, Namespace, missing_program};
use super::process::Process;
use super::torrent_clients::{aria2_options, rpc_port, transmission_settings};

use rustix::process::Signal;

/// Debian's Python, which sees Debian's libtorrent.
const PYTHON: &str = "/usr/bin/python3";

#[derive(Clone, Copy, Debug, PartialEq)]
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
                command.args(aria2_options(directory, content, port));
                command.arg(format!("--ca-certificate={}", directory.join("ca.pem").display())).arg(torrent);
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
    let settings = transmission_settings(content, &watched, port);
    std::fs::write(config.join("settings.json"), settings.to_string()).unwrap();
}
