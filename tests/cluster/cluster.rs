//! The nodes of a cluster, started from `cluster-configs/` as an operator would.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use super::network::Network;

/// All nodes that have a configuration.
pub const SIX: [&str; 6] = ["eu-1", "eu-2", "us-1", "us-2", "ap-1", "ap-2"];
/// How long the nodes may take to find each other and to hold all partitions.
pub const READY: Duration = Duration::from_secs(60);

/// The binary under test: `TIDINGS_BINARY`, or the one that was built along with this test.
pub fn binary() -> PathBuf {
    std::env::var_os("TIDINGS_BINARY").map_or_else(|| env!("CARGO_BIN_EXE_tidings").into(), PathBuf::from)
}

/// A cluster. Its processes end with it.
pub struct Cluster {
    pub network: Network,
    pub dir: TempDir,
    settings: Vec<String>,
    /// Variables that nodes start with.
    pub environment: Vec<(&'static str, &'static str)>,
    nodes: BTreeMap<String, Node>,
    /// One cluster at a time.
    _turn: MutexGuard<'static, ()>,
}

/// A running node.
struct Node {
    child: Child,
    log: PathBuf,
}

impl Cluster {
    /// Starts nodes on the loopback with some settings besides those of their files, and waits until they hold everything.
    pub fn start(nodes: &[&str], settings: &[&str]) -> Self {
        let mut it = Self::new(Network::loopback(), settings);
        nodes.iter().for_each(|node| it.start_node(node));
        it.wait_ready();
        it
    }

    /// A cluster of no nodes yet, with keys for all that may come.
    pub fn new(network: Network, settings: &[&str]) -> Self {
        static TURN: Mutex<()> = Mutex::new(());
        // A test that failed has left nothing behind.
        let turn = TURN.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let dir = TempDir::new().unwrap();
        let settings = settings.iter().map(|setting| (*setting).to_owned()).collect();
        let environment = Vec::new();
        let it = Self { network, dir, settings, environment, nodes: BTreeMap::new(), _turn: turn };
        it.make_keys(&it.dir.path().join("keys"));
        it
    }

    /// `tidings keys init` for all nodes that tests start.
    pub fn make_keys(&self, dir: &Path) {
        let mut command = self.network.command("eu", &binary());
        command.arg("keys").arg("init").arg(dir).arg("--node").args(SIX).args(["eu-3", "us-3", "ap-3", "eu-9"]);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// The configuration of a node with the addresses of this test. A node that has no file has that of the first of its
    /// region, and the number of its own.
    pub fn config(&self, node: &str) -> PathBuf {
        let (region, number) = node.split_once('-').unwrap();
        let file = |name: &str| Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("cluster-configs/{name}.toml"));
        let own = fs::read_to_string(file(node)).ok();
        let text = own.unwrap_or_else(|| {
            let first = fs::read_to_string(file(&format!("{region}-1"))).unwrap();
            let seeds = first.lines().find(|line| line.starts_with("seeds")).unwrap().to_owned();
            let address = seeds.split('"').nth(1).unwrap();
            let net = address.rsplit_once('.').unwrap().0;
            let other =
                first.replace(&format!("{region}-1"), node).replace(&format!("{net}.1:"), &format!("{net}.{number}:"));
            let new_seeds = other.lines().find(|line| line.starts_with("seeds")).unwrap().to_owned();
            other.replace(&new_seeds, &seeds)
        });
        let keys = self.dir.path().join("keys");
        let text = text.replace("cluster-configs/keys", keys.to_str().unwrap());
        let path = self.dir.path().join(format!("{node}.toml"));
        fs::write(&path, text.replace("127.0.", &self.network.prefix())).unwrap();
        path
    }

    /// Starts a node, for the first time or again.
    pub fn start_node(&mut self, node: &str) {
        self.start_node_with(node, &[]);
    }

    /// Starts a node with further settings.
    pub fn start_node_with(&mut self, node: &str, settings: &[String]) {
        let region = node.split_once('-').unwrap().0;
        let log = self.dir.path().join(format!("{node}.log"));
        let mut command = self.network.command(region, &binary());
        command.arg("serve").arg("--config").arg(self.config(node)).envs(self.environment.iter().copied());
        self.settings.iter().chain(settings).for_each(|setting| _ = command.args(["--set", setting]));
        let output = File::options().create(true).append(true).open(&log).unwrap();
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(output).spawn().unwrap();
        self.nodes.insert(node.to_owned(), Node { child, log });
    }

    /// Runs a node that is expected to end by itself, and tells how it did and what it said.
    pub fn run_to_end(&mut self, node: &str, settings: &[String], limit: Duration) -> (ExitStatus, String) {
        self.start_node_with(node, settings);
        let status = self.wait_end(node, limit);
        let log = self.dir.path().join(format!("{node}.log"));
        (status, fs::read_to_string(log).unwrap())
    }

    /// Waits until every node sees all others up and everything held where it belongs.
    pub fn wait_ready(&self) {
        let names: Vec<&str> = self.nodes.keys().map(String::as_str).collect();
        self.wait_ready_at(&names);
    }

    /// Waits until these nodes see it so.
    pub fn wait_ready_at(&self, nodes: &[&str]) {
        let deadline = Instant::now() + READY;
        for node in nodes {
            while !self.is_ready(node) {
                let status = self.try_status(node);
                assert!(Instant::now() < deadline, "{node} is not ready within {READY:?}: {status:#?}");
                std::thread::sleep(Duration::from_millis(100));
            }
        }
    }

    /// Whether a node sees as many members as run, all of them up, and holds what it is to hold.
    pub fn is_ready(&self, node: &str) -> bool {
        let Some(status) = self.try_status(node) else { return false };
        let Some(members) = status["members"].as_array() else { return false };
        members.iter().filter(|member| member["state"] == "up").count() == self.nodes.len()
            && members.iter().all(|member| member["state"] == "up" || member["state"] == "down")
            && status["held"] == status["placed"]
            && status["under_replicated"] == 0
            && status["placed"].as_u64() > Some(0)
    }

    /// `/api/v1/cluster` of a node.
    pub fn status(&self, node: &str) -> Value {
        self.try_status(node).unwrap_or_else(|| panic!("{node} does not answer: {}", self.log(node)))
    }

    fn try_status(&self, node: &str) -> Option<Value> {
        serde_json::from_str(&self.get(node, "/api/v1/cluster")?).ok()
    }

    /// The body of a reply of a node's operations endpoint; `None` if it does not answer.
    pub fn get(&self, node: &str, path: &str) -> Option<String> {
        let addr = SocketAddr::new(self.network.ip(node).into(), 7070);
        self.network.enter(node.split_once('-').unwrap().0, || {
            let mut stream = TcpStream::connect_timeout(&addr, Duration::from_secs(2)).ok()?;
            stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
            write!(stream, "GET {path} HTTP/1.1\r\nhost: ops\r\n\r\n").ok()?;
            let mut reply = String::new();
            stream.read_to_string(&mut reply).ok()?;
            Some(reply.split_once("\r\n\r\n")?.1.to_owned())
        })
    }

    /// The sum of the samples of a node's metric whose labels contain all of `labels`.
    pub fn metric(&self, node: &str, name: &str, labels: &[&str]) -> f64 {
        let text = self.get(node, "/metrics").unwrap_or_else(|| panic!("{node} does not answer: {}", self.log(node)));
        let samples = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.rsplit_once(' '));
        let matches = |sample: &str| {
            let (other, its_labels) = sample.split_once('{').unwrap_or((sample, ""));
            other == name && labels.iter().all(|label| its_labels.contains(label))
        };
        samples.filter(|(sample, _)| matches(sample)).map(|(_, value)| value.parse::<f64>().unwrap()).sum()
    }

    /// Announces that a node's clients were answered by this source.
    pub fn answered_by(&self, node: &str, source: &str) -> f64 {
        self.metric(node, "tidings_announce_duration_seconds_count", &[&format!("source=\"{source}\"")])
    }

    /// Where a node takes announces, by UDP and HTTP.
    pub fn announce(&self, node: &str) -> SocketAddr {
        SocketAddr::new(self.network.ip(node).into(), 6969)
    }

    /// Where a node takes gossip.
    pub fn gossip(&self, node: &str) -> SocketAddr {
        SocketAddr::new(self.network.ip(node).into(), 7071)
    }

    /// Where a node takes links.
    pub fn link(&self, node: &str) -> SocketAddr {
        SocketAddr::new(self.network.ip(node).into(), 7072)
    }

    /// What a node has logged, over all its starts.
    pub fn log(&self, node: &str) -> String {
        fs::read_to_string(self.dir.path().join(format!("{node}.log"))).unwrap_or_default()
    }

    /// The most resident memory that a node ever had, in bytes.
    pub fn peak_memory(&self, node: &str) -> u64 {
        let pid = self.nodes[node].child.id().cast_signed();
        procfs::process::Process::new(pid).unwrap().status().unwrap().vmhwm.unwrap() * 1024
    }

    /// Sends a signal to a node. One that ends it takes it out of those that are waited for.
    pub fn signal(&mut self, node: &str, signal: Signal) {
        kill_process(Pid::from_child(&self.nodes[node].child), signal).unwrap();
        if signal == Signal::KILL {
            self.wait_end(node, Duration::from_secs(5));
        }
    }

    /// Waits for the end of a node.
    pub fn wait_end(&mut self, node: &str, limit: Duration) -> ExitStatus {
        let mut ended = self.nodes.remove(node).unwrap();
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = ended.child.try_wait().unwrap() {
                return status;
            }
            if Instant::now() >= deadline {
                let log = fs::read_to_string(&ended.log).unwrap();
                drop(ended);
                panic!("{node} does not end within {limit:?}:\n{log}");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Whether a node still runs.
    pub fn is_alive(&mut self, node: &str) -> bool {
        self.nodes.get_mut(node).is_some_and(|node| node.child.try_wait().unwrap().is_none())
    }

    /// `tidings leave`, then waits for the end.
    pub fn leave(&mut self, node: &str, limit: Duration) {
        let region = node.split_once('-').unwrap().0;
        let mut command = self.network.command(region, &binary());
        let output = command.args(["leave", "--ops", &format!("{}:7070", self.network.ip(node))]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let status = self.wait_end(node, limit);
        assert!(status.success(), "{node} ends with {status}: {}", self.log(node));
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for name in self.nodes.keys() {
                let log = self.log(name);
                let lines: Vec<_> = log.lines().collect();
                println!("--- {name}\n{}", lines[lines.len().saturating_sub(12)..].join("\n"));
            }
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
