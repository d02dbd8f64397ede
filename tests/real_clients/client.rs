//! The clients, configured to find peers only through the tracker.

use std::path::Path;
use std::process::Command;

use super::namespace::{Host, IPV6};
use super::process::Process;
use tidings::testkit::skipped::missing_program;
use tidings::testkit::torrent_clients::{aria2_options, rpc_port, transmission_settings};

use rustix::process::Signal;

/// Debian's Python, which finds Debian's libtorrent.
const PYTHON: &str = "/usr/bin/python3";

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Client {
    Transmission,
    Aria2,
    /// The library of qBittorrent and Deluge, run by a script.
    Libtorrent,
}

impl Client {
    /// Says that it is not installed, if it is not.
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

    /// Makes it leave the swarm as its user would. The process may take a while to notify the tracker.
    pub fn stop(self, host: &Host, process: &mut Process, port: u16) {
        if self == Self::Transmission {
            // On a signal it may end before it has sent its last announce.
            let mut remote = host.command(Path::new("transmission-remote"));
            remote.arg(rpc_port(port).to_string()).args(["--torrent", "all", "--stop"]);
            assert!(remote.output().unwrap().status.success());
            return;
        }
        // On SIGTERM aria2 ends without announcing it.
        process.stop(if self == Self::Aria2 { Signal::INT } else { Signal::TERM });
    }

    /// Starts it with the torrent in `directory`: it seeds the file in `content`, or downloads it to there.
    pub fn start(self, host: &Host, directory: &Path, content: &Path, port: u16) -> Process {
        let torrent = directory.join("it.torrent");
        let (name, command) = match self {
            Self::Transmission => {
                let config = directory.join(format!("transmission-{port}"));
                configure_transmission(&config, &torrent, content, port);
                let mut command = host.command(Path::new("transmission-daemon"));
                command.args(["--foreground", "--log-debug", "--config-dir"]).arg(config);
                command.env("CURL_CA_BUNDLE", directory.join("ca.pem"));
                ("transmission", command)
            }
            Self::Aria2 => {
                let mut command = host.command(Path::new("aria2c"));
                command.args(aria2_options(directory, content, port));
                command.arg(format!("--ca-certificate={}", directory.join("ca.pem").display())).arg(torrent);
                ("aria2", command)
            }
            Self::Libtorrent => {
                let mut command = host.command(Path::new(PYTHON));
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
