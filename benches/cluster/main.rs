//! What a cluster costs: an announce that is forwarded to another node against a local one, the replication traffic, and how
//! fast partitions are handed over. `cargo bench --bench cluster`.
//!
//! Nodes and load run as processes, all on this machine; what counts is the processor time of the nodes, summed. Rounds are
//! interleaved, and figures are medians.

#![expect(clippy::disallowed_methods, reason = "measures real processes in real time")]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::Signal;
use tidings::testkit::http;
use tidings::testkit::pinned::{LOAD_CORE, Pinned, SERVER_CORE};

/// Rounds of the comparison.
const ROUNDS: usize = 5;
/// Length of a measured window.
const WINDOW: Duration = Duration::from_secs(6);
/// How long a cluster may take to be in order.
const READY: Duration = Duration::from_secs(60);

fn main() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let bench = Bench { binary: PathBuf::from(env!("CARGO_BIN_EXE_tidings")), dir: dir.path().to_owned() };
    bench.make_keys()?;
    bench.routing()?;
    bench.replication()?;
    bench.handoff()?;
    bench.repair()
}

struct Bench {
    binary: PathBuf,
    dir: PathBuf,
}

/// A node of the bench, by its number.
struct Node {
    process: Pinned,
    number: u16,
}

impl Bench {
    fn make_keys(&self) -> Result<()> {
        let mut command = Command::new(&self.binary);
        command.args(["keys", "init"]).arg(self.dir.join("keys")).args(["--node", "n1", "--node", "n2"]);
        let output = command.output().context("cannot make keys")?;
        if !output.status.success() {
            bail!("tidings keys: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(())
    }

    /// Starts a node with these settings on top of the usual ones.
    fn node(&self, number: u16, cluster: bool, settings: &[&str]) -> Result<Node> {
        let mut all = vec![
            format!("node.id=n{number}"),
            format!("announce.udp=[\"127.0.0.1:{}\"]", 46_900 + number),
            "announce.http=[]".into(),
            "announce.threads=1".into(),
            format!("ops.listen=127.0.0.1:{}", 47_000 + number),
        ];
        if cluster {
            all.extend([
                format!("cluster.gossip=127.0.0.1:{}", 47_100 + number),
                format!("cluster.link=127.0.0.1:{}", 47_200 + number),
                "cluster.seeds=[\"127.0.0.1:47101\", \"127.0.0.1:47102\"]".into(),
                format!("cluster.keys={}", self.dir.join("keys").join(format!("n{number}")).display()),
            ]);
        }
        all.extend(settings.iter().map(|&setting| setting.to_owned()));
        let args = std::iter::once("serve".to_owned()).chain(all.into_iter().flat_map(|it| ["--set".to_owned(), it]));
        let name = format!("n{number}");
        let process = Pinned::spawn(SERVER_CORE, &name, &self.dir, &self.binary, args, Stdio::null())?;
        Ok(Node { process, number })
    }

    /// Loads a node; returns announces and scrapes answered.
    fn load(&self, target: u16, time: Duration, more: &[&str]) -> Result<f64> {
        let mut command = Command::new("taskset");
        command.args(["-c", &LOAD_CORE.to_string()]).arg(&self.binary).args(["load", "--json", "--target"]);
        command.arg(format!("udp://127.0.0.1:{}", 46_900 + target));
        command.args(["--duration", &format!("{}s", time.as_secs())]).args(more);
        let output = command.output().context("cannot run the load")?;
        let report: serde_json::Value = serde_json::from_slice(&output.stdout)
            .with_context(|| String::from_utf8_lossy(&output.stderr).into_owned())?;
        let answers = ["/load/requests/answers", "/fill/requests/answers"].iter().find_map(|path| report.pointer(path));
        answers.and_then(serde_json::Value::as_f64).with_context(|| format!("no answers in {report}"))
    }

    /// Processor time of nodes for each answer, in microseconds, under a load that keeps them busy.
    fn cost(&self, nodes: &mut [Node]) -> Result<f64> {
        // As many requests in flight as a busy tracker has: it takes them in batches, and so do links.
        const MIX: [&str; 8] = ["--swarms", "20000", "--peers", "100000", "--sources", "8", "--window", "128"];
        // So that every peer is known.
        self.load(1, Duration::from_secs(2), &MIX)?;
        let cpu = |nodes: &[Node]| nodes.iter().map(|node| node.process.cpu_seconds()).sum::<Result<f64>>();
        let before = cpu(nodes)?;
        let answers = self.load(1, WINDOW, &MIX)?;
        let spent = cpu(nodes)? - before;
        nodes.iter_mut().try_for_each(|node| node.process.check_alive())?;
        Ok(spent / answers * 1e6)
    }

    fn routing(&self) -> Result<()> {
        let mut costs: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
        for round in 1..=ROUNDS {
            let mut lone = [self.node(1, false, &[])?];
            wait(&lone[0])?;
            let local = self.cost(&mut lone)?;
            drop(lone);
            // Without replicas, and with nearly everything on the other node.
            let one = "cluster.replicas_per_region=1";
            let mut pair =
                [self.node(1, true, &[one, "cluster.weight=1"])?, self.node(2, true, &[one, "cluster.weight=100"])?];
            wait_held(&pair, 256)?;
            let routed = self.cost(&mut pair)?;
            let shares = metrics(1)?;
            let share = shares[r#"tidings_routed_announces_total{way="region"}"#]
                / shares[r#"tidings_requests_total{transport="udp",family="ipv4",action="announce",outcome="ok"}"#];
            drop(pair);
            // What was not routed cost what a local announce costs.
            let routed = (routed - (1.0 - share) * local) / share;
            println!(
                "routing round {round}/{ROUNDS}: local {local:.2} µs, routed {routed:.2} µs, {:.2} times ({:.0} % routed)",
                routed / local,
                share * 100.0
            );
            costs.entry("local").or_default().push(local);
            costs.entry("routed").or_default().push(routed);
            costs.entry("ratio").or_default().push(routed / local);
        }
        println!(
            "\n| Announce | CPU of all nodes | of local |\n| --- | ---: | ---: |\n| local | {:.2} µs | 1.00 |\n\
             | routed to another node | {:.2} µs | {:.2} |\n",
            median(&costs["local"]),
            median(&costs["routed"]),
            median(&costs["ratio"])
        );
        Ok(())
    }

    fn replication(&self) -> Result<()> {
        println!(
            "| Renewals | Records sent to a replica for each announce | Bytes for each announce |\n| --- | ---: | ---: |"
        );
        let short: &[&str] = &["announce.interval=5", "announce.min_interval=1", "announce.peer_ttl=8"];
        for (name, settings) in [("once per quarter of a peer's lifetime", &[][..]), ("all (lifetime of 8 s)", short)] {
            let pair = [self.node(1, true, settings)?, self.node(2, true, settings)?];
            wait_held(&pair, 256)?;
            let mix = ["--mode", "open", "--rate", "10000", "--swarms", "5000", "--peers", "25000"];
            // Every peer comes, and then again every three seconds or so.
            self.load(1, Duration::from_secs(6), &mix)?;
            let before = replicated()?;
            let answers = self.load(1, Duration::from_secs(12), &mix)?;
            std::thread::sleep(Duration::from_millis(500));
            let after = replicated()?;
            println!("| {name} | {:.2} | {:.1} |", (after.0 - before.0) / answers, (after.1 - before.1) / answers);
        }
        println!();
        Ok(())
    }

    fn handoff(&self) -> Result<()> {
        let first = self.node(1, true, &[])?;
        wait_held(std::slice::from_ref(&first), 256)?;
        self.load(1, Duration::from_secs(20), &["--swarms", "100000", "--peers", "400000", "--sources", "8"])?;
        let peers = held(1)?;
        let began = Instant::now();
        // They live until the metrics are read.
        let nodes = [first, self.node(2, true, &[])?];
        wait_held(&nodes, 256)?;
        let took = began.elapsed().as_secs_f64();
        let brought = metrics(2)?;
        let records = brought[r#"tidings_cluster_pulled_records_total{purpose="handoff"}"#];
        let bytes = brought[r#"tidings_cluster_pulled_bytes_total{purpose="handoff"}"#];
        println!(
            "| Handoff of {peers:.0} peers | |\n| --- | ---: |\n| from the start of the node until it holds all | {took:.1} s |\n\
             | records a second | {:.0} |\n| bytes a record | {:.1} |\n",
            records / took,
            bytes / records.max(1.0)
        );
        Ok(())
    }

    /// A node is paused for so long that changes for it are dropped, and repairs its copies by comparing them afterwards.
    fn repair(&self) -> Result<()> {
        let settings = ["limits.hint_bytes=65536"];
        let nodes = [self.node(1, true, &settings)?, self.node(2, true, &settings)?];
        wait_held(&nodes, 256)?;
        let fill = ["--fill", "--swarms", "100000", "--sources", "8"];
        self.load(1, Duration::ZERO, &[&fill[..], &["--peers", "400000"]].concat())?;
        wait_equal()?;
        nodes[1].process.signal(Signal::STOP)?;
        self.load(1, Duration::ZERO, &[&fill[..], &["--peers", "100000", "--seed", "2"]].concat())?;
        let all = held(1)?;
        nodes[1].process.signal(Signal::CONT)?;
        let began = Instant::now();
        let before = held(2)?;
        wait_equal()?;
        let took = began.elapsed().as_secs_f64();
        let brought = metrics(2)?;
        let [records, bytes] = ["records", "bytes"]
            .map(|what| brought[&format!("tidings_cluster_pulled_{what}_total{{purpose=\"repair\"}}")]);
        println!(
            "| Repair of {:.0} peers of {all:.0} | |\n| --- | ---: |\n| from when the node goes on until both hold the \
             same | {took:.1} s |\n| records a second | {:.0} |\n| bytes a record | {:.1} |\n",
            all - before,
            records / took,
            bytes / records.max(1.0)
        );
        Ok(())
    }
}

/// Peers that a node holds.
fn held(node: u16) -> Result<f64> {
    Ok(metrics(node)?.iter().filter(|(name, _)| name.starts_with("tidings_peers{")).map(|(_, it)| it).sum())
}

/// Waits until both nodes hold as many peers.
fn wait_equal() -> Result<()> {
    until("both nodes hold the same", || {
        held(1).ok().zip(held(2).ok()).is_some_and(|(one, two)| one > 0.0 && one == two)
    })
}

/// Records and bytes that both nodes have replicated to each other.
fn replicated() -> Result<(f64, f64)> {
    let sum = |name: &str| -> Result<f64> {
        let both = [metrics(1)?, metrics(2)?];
        Ok(both.iter().flatten().filter(|(it, _)| it.starts_with(name)).map(|(_, value)| value).sum())
    };
    Ok((sum("tidings_replication_delivered_records_total{")?, sum("tidings_replication_delivered_bytes_total{")?))
}

fn wait(node: &Node) -> Result<()> {
    until("the node is up", || metrics(node.number).is_ok())
}

/// Waits until the nodes hold `partitions` together as placement wants it.
fn wait_held(nodes: &[Node], partitions: u16) -> Result<()> {
    until("the nodes hold all partitions", || {
        let mut owned = 0.0;
        for node in nodes {
            let Ok(metrics) = metrics(node.number) else { return false };
            let role = |role: &str| metrics.get(&format!("tidings_cluster_partitions{{role=\"{role}\"}}")).copied();
            let up = metrics.get(r#"tidings_cluster_members{state="up"}"#).copied();
            if up != Some(nodes.len() as f64) || role("held") != role("placed") {
                return false;
            }
            owned += role("owned").unwrap_or_default();
        }
        owned == f64::from(partitions)
    })
}

fn until(what: &str, mut holds: impl FnMut() -> bool) -> Result<()> {
    let deadline = Instant::now() + READY;
    while !holds() {
        if Instant::now() > deadline {
            bail!("not within {READY:?}: {what}");
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}

fn metrics(number: u16) -> Result<BTreeMap<String, f64>> {
    let text = http::send(([127, 0, 0, 1], 47_000 + number).into(), "GET /metrics", "")?.text();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    Ok(lines
        .filter_map(|line| line.rsplit_once(' '))
        .filter_map(|(name, value)| Some((name.into(), value.parse().ok()?)))
        .collect())
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}
