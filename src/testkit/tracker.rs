//! The tracker as a process of its own, watched from outside.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, ExitStatus, Stdio};

use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};
use tempfile::TempDir;

use super::binary::command;
use super::http;
use super::metrics::Metrics;
use super::wait::wait_for;

/// A running tracker; killed when dropped.
pub struct TrackerProcess {
    child: Child,
    log: PathBuf,
    _dir: TempDir,
    /// What it has printed on standard output at its start.
    pub greeting: String,
    /// The addresses of its UDP frontend: IPv4, then IPv6.
    pub udp: Vec<SocketAddr>,
    /// The addresses of its HTTP frontend: IPv4, then IPv6.
    pub http: Vec<SocketAddr>,
    ops: SocketAddr,
}

impl TrackerProcess {
    /// Starts one at free ports of both loopback addresses.
    pub fn start(settings: &[String]) -> Self {
        Self::start_with(None, settings, &[])
    }

    /// Starts one on a core, and with environment variables.
    pub fn start_with(core: Option<u64>, settings: &[String], variables: &[(&str, &str)]) -> Self {
        let dir = TempDir::new().unwrap();
        let log = dir.path().join("log");
        let mut command = command(core);
        command.arg("serve").envs(variables.iter().copied());
        for key in ["announce.udp", "announce.http"] {
            command.args(["--set", &format!("{key}=[\"127.0.0.1:0\", \"[::1]:0\"]")]);
        }
        command.args(["--set", "ops.listen=127.0.0.1:0"]);
        for setting in settings {
            command.args(["--set", setting]);
        }
        let mut child = command.stdout(Stdio::piped()).stderr(File::create(&log).unwrap()).spawn().unwrap();

        // Of the wording only what stands around the addresses matters here.
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let greeting: String = lines.take_while(|line| !line.contains("Ctrl-C")).map(|line| line + "\n").collect();
        let after = |word: &str| greeting.lines().find_map(|line| Some(line.split_once(word)?.1));
        let addrs = |word: &str| -> Vec<SocketAddr> {
            after(word).into_iter().flat_map(|list| list.split(", ")).map(|addr| addr.parse().unwrap()).collect()
        };
        let (udp, http) = (addrs(" on UDP "), addrs(" on TCP "));
        let ops = greeting.lines().find_map(|line| line.split_once("/healthz")?.0.split_once("http://"));
        let ops = ops.unwrap_or_else(|| panic!("no greeting: {greeting} {}", fs::read_to_string(&log).unwrap()));
        let ops = ops.1.parse().unwrap();
        Self { child, log, _dir: dir, greeting, udp, http, ops }
    }

    pub fn metrics(&self) -> Metrics {
        Metrics::parse(&http::get(self.ops, "/metrics").text())
    }

    /// Resident bytes: now, and at most so far.
    pub fn memory(&self) -> (u64, u64) {
        let status = procfs::process::Process::new(self.child.id().cast_signed()).unwrap().status().unwrap();
        (status.vmrss.unwrap() * 1024, status.vmhwm.unwrap() * 1024)
    }

    /// Lets it open no more descriptors than it has open.
    pub fn exhaust_descriptors(&self) {
        let pid = Pid::from_child(&self.child);
        let process = procfs::process::Process::new(self.child.id().cast_signed()).unwrap();
        let open = process.fd().unwrap().map(|fd| fd.unwrap().fd).max().unwrap();
        let limit = Some(u64::try_from(open).unwrap() + 1);
        prlimit(Some(pid), Resource::Nofile, Rlimit { current: limit, maximum: limit }).unwrap();
    }

    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    pub fn is_alive(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits until it ends by itself.
    pub fn wait(&mut self) -> ExitStatus {
        wait_for("the tracker ends", || self.child.try_wait().unwrap())
    }

    /// Sends SIGTERM and waits for the end.
    pub fn terminate(mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.wait()
    }

    /// Sends SIGKILL and waits for the end.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        assert_eq!(self.child.wait().unwrap().signal(), Some(9));
    }
}

impl Drop for TrackerProcess {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
