//! A cluster of processes, started from `cluster-configs/` as an operator would.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use super::binary::binary;
use super::http;
use super::metrics::Metrics;
use super::network::Network;
use super::wait::{wait_for, wait_until};

/// The nodes that have a file in `cluster-configs/`.
pub const SIX: [&str; 6] = ["eu-1", "eu-2", "us-1", "us-2", "ap-1", "ap-2"];
/// A cluster, whose processes end with the value.
pub struct Cluster {
    pub network: Network,
    pub dir: TempDir,
    /// Settings of all nodes besides those of their files.
    settings: Vec<String>,
    /// The environment that nodes start with.
    pub environment: Vec<(&'static str, &'static str)>,
    nodes: BTreeMap<String, Node>,
    /// Only one cluster runs at a time.
    _turn: MutexGuard<'static, ()>,
}

/// A running node.
struct Node {
    child: Child,
}

impl Cluster {
    /// Starts nodes on the loopback with these settings, and waits until they hold all partitions.
    pub fn start(nodes: &[&str], settings: &[&str]) -> Self {
        let mut cluster = Self::new(Network::loopback(), settings);
        nodes.iter().for_each(|node| cluster.start_node(node));
        cluster.wait_ready();
        cluster
    }

    /// A cluster without nodes, with keys for all nodes that a test may start.
    pub fn new(network: Network, settings: &[&str]) -> Self {
        static TURN: Mutex<()> = Mutex::new(());
        // A test that failed leaves nothing behind that would harm the next one.
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let dir = TempDir::new().unwrap();
        let settings = settings.iter().map(|setting| (*setting).to_owned()).collect();
        let environment = Vec::new();
        let cluster = Self { network, dir, settings, environment, nodes: BTreeMap::new(), _turn: turn };
        cluster.make_keys(&cluster.dir.path().join("keys"));
        cluster
    }

    /// Runs `tidings keys init` for all nodes that tests start.
    pub fn make_keys(&self, dir: &Path) {
        let mut command = self.network.command("eu", &binary());
        command.arg("keys").arg("init").arg(dir).arg("--node").args(SIX).args(["eu-3", "us-3", "ap-3", "eu-9"]);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// Writes the configuration of a node with the addresses of this test. A node without a file in `cluster-configs/` gets
    /// that of the first node of its region, with its own number.
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
        self.nodes.insert(node.to_owned(), Node { child });
    }

    /// Runs a node that is expected to end by itself, and returns how it ended and its log.
    pub fn run_to_end(&mut self, node: &str, settings: &[String]) -> (ExitStatus, String) {
        self.start_node_with(node, settings);
        let status = self.wait_end(node);
        let log = self.dir.path().join(format!("{node}.log"));
        (status, fs::read_to_string(log).unwrap())
    }

    /// Waits until every node sees all others up and holds what placement assigns to it.
    pub fn wait_ready(&self) {
        let names: Vec<&str> = self.nodes.keys().map(String::as_str).collect();
        self.wait_ready_at(&names);
    }

    /// [`Self::wait_ready`] for some of the nodes.
    pub fn wait_ready_at(&self, nodes: &[&str]) {
        for node in nodes {
            wait_until(&format!("{node} is ready"), || self.is_ready(node));
        }
    }

    /// Whether a node sees as many members up as are running, and holds what placement assigns to it.
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

    pub fn try_status(&self, node: &str) -> Option<Value> {
        serde_json::from_str(&self.get(node, "/api/v1/cluster")?).ok()
    }

    /// The body of a reply of a node's operations endpoint; `None` if it does not answer.
    pub fn get(&self, node: &str, path: &str) -> Option<String> {
        let addr = SocketAddr::new(self.network.ip(node).into(), 7070);
        let region = node.split_once('-').unwrap().0;
        let reply = self.network.enter(region, || http::send(addr, &format!("GET {path}"), ""));
        Some(reply.ok()?.text())
    }

    pub fn metrics(&self, node: &str) -> Metrics {
        let text = self.get(node, "/metrics");
        Metrics::parse(&text.unwrap_or_else(|| panic!("{node} does not answer: {}", self.log(node))))
    }

    /// The sum of the samples of a node's metric whose labels contain all of `labels`.
    pub fn metric(&self, node: &str, name: &str, labels: &[&str]) -> f64 {
        self.metrics(node).sum(name, labels)
    }

    /// How many announces of a node's clients were answered from this source.
    pub fn answered_by(&self, node: &str, source: &str) -> f64 {
        self.metric(node, "tidings_announce_duration_seconds_count", &[&format!("source=\"{source}\"")])
    }

    /// The address of a node's UDP and HTTP frontends.
    pub fn announce(&self, node: &str) -> SocketAddr {
        SocketAddr::new(self.network.ip(node).into(), 6969)
    }

    /// The gossip address of a node.
    pub fn gossip(&self, node: &str) -> SocketAddr {
        SocketAddr::new(self.network.ip(node).into(), 7071)
    }

    /// The link address of a node.
    pub fn link(&self, node: &str) -> SocketAddr {
        SocketAddr::new(self.network.ip(node).into(), 7072)
    }

    /// The log of a node, over all its starts.
    pub fn log(&self, node: &str) -> String {
        fs::read_to_string(self.dir.path().join(format!("{node}.log"))).unwrap_or_default()
    }

    /// The peak of a node's resident memory, in bytes.
    pub fn peak_memory(&self, node: &str) -> u64 {
        let pid = self.nodes[node].child.id().cast_signed();
        procfs::process::Process::new(pid).unwrap().status().unwrap().vmhwm.unwrap() * 1024
    }

    /// Sends a signal to a node. After SIGKILL, waits for its end; the others are then expected to see one member less.
    pub fn signal(&mut self, node: &str, signal: Signal) {
        kill_process(Pid::from_child(&self.nodes[node].child), signal).unwrap();
        if signal == Signal::KILL {
            self.wait_end(node);
        }
    }

    /// Waits until a node ends.
    pub fn wait_end(&mut self, node: &str) -> ExitStatus {
        let mut ended = self.nodes.remove(node).unwrap();
        wait_for(&format!("{node} ends"), || ended.child.try_wait().unwrap())
    }

    /// Whether a node still runs.
    pub fn is_alive(&mut self, node: &str) -> bool {
        self.nodes.get_mut(node).is_some_and(|node| node.child.try_wait().unwrap().is_none())
    }

    /// Runs `tidings leave` for a node and waits for its end.
    pub fn leave(&mut self, node: &str) {
        let region = node.split_once('-').unwrap().0;
        let mut command = self.network.command(region, &binary());
        let output = command.args(["leave", "--ops", &format!("{}:7070", self.network.ip(node))]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let status = self.wait_end(node);
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
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
