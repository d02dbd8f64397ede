//! The six nodes of `docker-compose.yml`.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use super::engine::{self, Compose, LABEL, docker};
use tidings::testkit::http;
use tidings::testkit::wait::wait_until;

pub const NODES: [&str; 6] = ["eu-1", "eu-2", "us-1", "us-2", "ap-1", "ap-2"];
/// The regions in the order of their networks.
pub const REGIONS: [&str; 3] = ["eu", "us", "ap"];

/// A running cluster, all of which is removed with the value.
pub struct Cluster {
    /// The name of its Compose project, and the prefix of all its names.
    pub name: String,
    /// The image of its containers.
    pub image: String,
    /// How long it took from `docker-compose up -d` until all nodes were healthy.
    pub healthy_after: Duration,
    pub compose: Compose,
    root: PathBuf,
    /// Settings besides those of the repository.
    settings: TempDir,
    /// Distinguishes it from the clusters of other processes.
    number: u32,
}

impl Cluster {
    /// Starts it from the files in `root`, and waits until all nodes are ready.
    pub fn start(compose: Compose, image: &str, root: &Path) -> Self {
        let settings = TempDir::new().unwrap();
        let nodes = NODES.map(|node| format!("  {node}: {{environment: {{TIDINGS_CLUSTER__ACK: replica}}}}\n"));
        fs::write(settings.path().join("ack.yml"), format!("services:\n{}", nodes.concat())).unwrap();
        let mut cluster = Self {
            name: engine::project(),
            image: image.to_owned(),
            healthy_after: Duration::ZERO,
            compose,
            root: root.to_owned(),
            settings,
            number: std::process::id() % 100,
        };
        let began = Instant::now();
        cluster.compose(&["up", "-d"]);
        wait_until("all nodes are healthy", || cluster.health().iter().all(|health| health == "healthy"));
        cluster.healthy_after = began.elapsed();
        cluster.wait_ready();
        cluster
    }

    /// Runs Docker Compose for this cluster.
    pub fn compose(&self, arguments: &[&str]) -> String {
        let mut command = self.compose.command(&self.root);
        command.args(["--project-name", &self.name, "--file", "docker-compose.yml", "--file"]);
        command.arg(self.settings.path().join("ack.yml")).args(arguments);
        command.env("TRACKER_IMAGE", &self.image).env("TRACKER_NAME", &self.name);
        command.env("TRACKER_NET", self.net()).env("TRACKER_PORTS", (100 + self.number).to_string());
        engine::output(&mut command)
    }

    fn net(&self) -> String {
        format!("10.{}", 100 + self.number)
    }

    /// An address in one of its networks: 0 is the backbone, 1 to 3 are the regions.
    pub fn ip(&self, network: u8, host: u8) -> Ipv4Addr {
        format!("{}.{network}.{host}", self.net()).parse().unwrap()
    }

    /// The address of a node on the backbone.
    pub fn backbone(&self, node: &str) -> Ipv4Addr {
        self.ip(0, host(node))
    }

    /// The address at which this machine reaches a node's frontends.
    pub fn published(&self, node: &str) -> SocketAddr {
        format!("127.0.0.1:{}{}", 100 + self.number, host(node)).parse().unwrap()
    }

    /// The name of the container of a node.
    pub fn container(&self, node: &str) -> String {
        format!("{}-{node}", self.name)
    }

    /// The name of a network: that of a region, or `backbone`.
    pub fn network(&self, network: &str) -> String {
        format!("{}-{network}", self.name)
    }

    /// The label of what tests add to it.
    pub fn label(&self) -> String {
        format!("{LABEL}={}", self.name)
    }

    /// The health status of each node.
    fn health(&self) -> Vec<String> {
        let names = NODES.map(|node| self.container(node));
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let format = ["inspect", "--format", "{{.State.Health.Status}}"];
        docker(&[&format[..], &names[..]].concat()).lines().map(str::to_owned).collect()
    }

    /// Waits until every node sees all others up and holds what placement assigns to it.
    pub fn wait_ready(&self) {
        for node in NODES {
            wait_until(&format!("{node} is ready"), || self.is_ready(node));
        }
    }

    fn is_ready(&self, node: &str) -> bool {
        let Some(status) = self.status(node) else { return false };
        let Some(members) = status["members"].as_array() else { return false };
        members.len() == NODES.len()
            && members.iter().all(|member| member["state"] == "up")
            && status["held"] == status["placed"]
            && status["under_replicated"] == 0
            && status["placed"].as_u64() > Some(0)
    }

    /// `/api/v1/cluster` of a node, if it answers.
    pub fn status(&self, node: &str) -> Option<Value> {
        serde_json::from_str(&self.get(node, "/api/v1/cluster")?).ok()
    }

    /// The body of a reply of a node's operations endpoint, which is on the backbone.
    fn get(&self, node: &str, path: &str) -> Option<String> {
        let addr = SocketAddr::new(self.backbone(node).into(), 7070);
        Some(http::send(addr, &format!("GET {path}"), "").ok()?.text())
    }

    /// The metrics of the swarms and peers that a node holds; `None` if it does not answer.
    pub fn holds(&self, node: &str) -> Option<Vec<String>> {
        let metrics = self.get(node, "/metrics")?;
        let held = |line: &&str| line.starts_with("tidings_swarms{") || line.starts_with("tidings_peers{");
        Some(metrics.lines().filter(held).map(str::to_owned).collect())
    }

    /// Prints the last log lines of all nodes, to find out why a test failed.
    pub fn print_logs(&self) {
        for node in NODES {
            let mut logs = engine::command(20, "docker");
            let output = logs.args(["logs", "--tail", "15", &self.container(node)]).output();
            let text = output.map(|output| String::from_utf8_lossy(&output.stderr).into_owned());
            println!("--- {node}\n{}", text.unwrap_or_default());
        }
    }

    /// Runs `docker-compose down -v`.
    pub fn down(&self) {
        self.compose(&["down", "-v", "--remove-orphans", "--timeout", "60"]);
    }
}

/// The last number of the addresses of a node.
fn host(node: &str) -> u8 {
    let (region, number) = node.split_once('-').unwrap();
    let region = 1 + REGIONS.iter().position(|name| *name == region).unwrap();
    format!("{region}{number}").parse().unwrap()
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.print_logs();
        }
        // Not by Compose, which fails if a test has left only parts of it.
        engine::remove(&self.name);
    }
}
