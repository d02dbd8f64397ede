//! The binary as a process of its own, watched from outside.

#![allow(dead_code, reason = "every test uses a part of it")]

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// The binary under test: `TIDINGS_BINARY`, or the one that was built along with this test.
pub fn binary() -> PathBuf {
    std::env::var_os("TIDINGS_BINARY").map_or_else(|| env!("CARGO_BIN_EXE_tidings").into(), PathBuf::from)
}

/// The value of an environment variable, or `default` without it.
pub fn scale(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |value| value.parse().expect("a whole number"))
}

/// The binary, bound to a core if there is one to name, and with no settings from this test's environment.
pub fn command(core: Option<u64>) -> Command {
    let mut command = match core {
        Some(core) => {
            let mut taskset = Command::new("taskset");
            taskset.args(["-c", &core.to_string()]).arg(binary());
            taskset
        }
        None => Command::new(binary()),
    };
    command.env_clear().envs(std::env::var_os("PATH").map(|path| ("PATH", path))).stdin(Stdio::null());
    command
}

/// A running tracker; killed when dropped.
pub struct Tracker {
    child: Child,
    log: PathBuf,
    _dir: TempDir,
    /// Where it takes UDP announces.
    pub udp: Vec<SocketAddr>,
    /// Where it takes HTTP announces.
    pub http: Vec<SocketAddr>,
    ops: SocketAddr,
}

impl Tracker {
    /// Starts one at free ports of both loopback addresses, on a core of its own if named.
    pub fn start(core: Option<u64>, settings: &[String]) -> Self {
        Self::start_in(core, settings, &[])
    }

    /// The same with some environment variables.
    pub fn start_in(core: Option<u64>, settings: &[String], variables: &[(&str, &str)]) -> Self {
        let dir = TempDir::new().unwrap();
        let log = dir.path().join("log");
        let mut command = command(core);
        command.arg("serve").envs(variables.iter().copied());
        for key in ["announce.udp", "announce.http"] {
            command.args(["--set", &format!("{key}=[\"127.0.0.1:0\", \"[::1]:0\"]")]);
        }
        command.args(["--set", "ops.listen=127.0.0.1:0"]);
        settings.iter().for_each(|setting| {
            command.args(["--set", setting]);
        });
        let mut child = command.stdout(Stdio::piped()).stderr(File::create(&log).unwrap()).spawn().unwrap();
        let greeting = BufReader::new(child.stdout.take().unwrap());
        let (mut udp, mut http, mut ops) = (Vec::new(), Vec::new(), None);
        for line in greeting.lines().map(Result::unwrap).take_while(|line| !line.starts_with("Ctrl-C")) {
            let addrs = |list: &str| list.split(", ").map(|addr| addr.parse().unwrap()).collect();
            if let Some(list) = line.strip_prefix("Listening on UDP ") {
                udp = addrs(list);
            } else if let Some(list) = line.strip_prefix("Listening on TCP ") {
                http = addrs(list);
            } else if let Some(url) = line.strip_prefix("Operations at http://") {
                ops = url.split('/').next().map(|addr| addr.parse().unwrap());
            }
        }
        let ops = ops.unwrap_or_else(|| panic!("no greeting; {}", fs::read_to_string(&log).unwrap()));
        Self { child, log, _dir: dir, udp, http, ops }
    }

    /// The body of a reply of the operations endpoint.
    pub fn ops(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(self.ops).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nhost: ops\r\n\r\n").unwrap();
        let mut reply = String::new();
        stream.read_to_string(&mut reply).unwrap();
        reply.split_once("\r\n\r\n").unwrap().1.to_owned()
    }

    /// The metrics by name and labels.
    pub fn metrics(&self) -> Metrics {
        let samples = self.ops("/metrics");
        let samples = samples.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.rsplit_once(' '));
        Metrics(samples.map(|(name, value)| (name.to_owned(), value.parse().unwrap())).collect())
    }

    /// Resident bytes: now, and the most there ever were.
    pub fn memory(&self) -> (u64, u64) {
        let status = procfs::process::Process::new(self.child.id().cast_signed()).unwrap().status().unwrap();
        (status.vmrss.unwrap() * 1024, status.vmhwm.unwrap() * 1024)
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    /// Whether it still runs.
    pub fn is_alive(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Sends a signal, by its name without SIG.
    pub fn signal(&mut self, name: &str) {
        Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status().unwrap();
    }

    /// SIGTERM, and how the process ended.
    pub fn terminate(mut self) -> ExitStatus {
        Command::new("kill").arg(self.child.id().to_string()).status().unwrap();
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "the tracker does not stop");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// SIGKILL.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        assert_eq!(self.child.wait().unwrap().signal(), Some(9));
    }
}

impl Drop for Tracker {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// All metrics at one moment.
pub struct Metrics(HashMap<String, f64>);

impl Metrics {
    /// The sum of the samples of a metric whose labels contain all of `labels`.
    pub fn sum(&self, name: &str, labels: &[&str]) -> f64 {
        let matches = |sample: &str| {
            let (other, its_labels) = sample.split_once('{').unwrap_or((sample, ""));
            other == name && labels.iter().all(|label| its_labels.contains(label))
        };
        self.0.iter().filter(|(sample, _)| matches(sample)).map(|(_, value)| value).sum()
    }
}

/// Prints a figure, its bound and the verdict as a row for `tests/must_show`, which shows the rows of all tests.
pub fn figure(name: &str, value: &str, bound: &str, good: bool) -> bool {
    println!("FIGURE\t{name}\t{value}\t{bound}\t{}", if good { "pass" } else { "FAIL" });
    good
}
