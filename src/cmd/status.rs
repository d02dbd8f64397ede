//! `tidings status` and `tidings leave`: requests to the operations address of a running node.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, anyhow};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::failure::Failure;
use super::output::print;
use crate::config;
use crate::ops::ClusterStatus;
use crate::partition::{MemberState, MemberStatus};

/// How long the node may take.
const DEADLINE: Duration = Duration::from_secs(5);
/// The largest answer that is read.
const MAX_ANSWER: usize = 64 << 20;
/// Characters of a progress bar.
const BAR: usize = 24;

/// Show the members of the cluster, which partitions they hold, and which are being transferred.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
It asks one node at its operations address (ops.listen), and shows the cluster as that node sees it. Without --ops and
--config that is TIDINGS_OPS__LISTEN, or else the default, 127.0.0.1:7070.
Exit code 0 when every member is up and every partition has all its copies, 1 when not, 2 when the node does not answer.

Examples:
  tidings status
  tidings status --config cluster-configs/eu-1.toml
  tidings status --ops 10.0.0.1:7070 --json")]
pub struct Args {
    #[command(flatten)]
    node: Node,
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
}

/// Ask a node to hand off its partitions to other nodes and to stop.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
SIGTERM and Ctrl-C do the same. The command returns at once; the node stops when others hold its partitions, or after
cluster.leave_timeout. `tidings status` of another node shows the progress. Without --ops and --config the node is the
one at TIDINGS_OPS__LISTEN, or else at the default, 127.0.0.1:7070.

Examples:
  tidings leave --config cluster-configs/eu-1.toml
  tidings leave --ops 10.0.0.1:7070")]
pub struct LeaveArgs {
    #[command(flatten)]
    node: Node,
}

#[derive(Debug, clap::Args)]
struct Node {
    /// The operations address of the node
    #[arg(long, value_name = "HOST:PORT", conflicts_with = "config")]
    ops: Option<String>,
    /// The settings file of the node, for its ops.listen
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl LeaveArgs {
    /// Asks the node to leave.
    ///
    /// # Errors
    /// See [`Failure`].
    pub fn run(self) -> Result<(), Failure> {
        self.node.request(Method::POST, "/api/v1/leave")?;
        print("The node hands off its partitions and then stops.\n")
    }
}

impl Args {
    /// Prints the status of the cluster.
    ///
    /// # Errors
    /// See [`Failure`].
    pub fn run(self) -> Result<(), Failure> {
        let answer = self.node.request(Method::GET, "/api/v1/cluster")?;
        let status: ClusterStatus =
            serde_json::from_slice(&answer).context("the answer is not the status of a Tidings cluster")?;
        if self.json {
            print(&String::from_utf8_lossy(&answer))?;
        } else {
            print(&table(&status))?;
        }
        if is_healthy(&status) {
            return Ok(());
        }
        Err(Failure::Run(anyhow!("some members are not up or some partitions lack copies: see above")))
    }
}

impl Node {
    /// The operations address, and where it comes from for an error.
    fn address(&self) -> Result<(String, String), Failure> {
        if let Some(ops) = &self.ops {
            return Ok((ops.clone(), "check that the node is running and that this is its ops.listen".into()));
        }
        let settings = config::load(self.config.as_deref(), std::env::vars_os(), &[])?;
        let Some(listen) = settings.ops.listen else {
            return Err(Failure::Settings(anyhow!(
                "ops.listen is off, so this node cannot be asked: name another node with --ops HOST:PORT"
            )));
        };
        let hint = match &self.config {
            Some(file) => format!("check that the node with the settings in {} is running", file.display()),
            None => "start a node, or name a running one with --ops HOST:PORT or --config FILE".into(),
        };
        Ok((reachable(listen).to_string(), hint))
    }

    fn request(&self, method: Method, path: &'static str) -> Result<Bytes, Failure> {
        let (ops, hint) = self.address()?;
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start a runtime")?;
        let answer = runtime.block_on(async { timeout(DEADLINE, request(&ops, method, path)).await });
        let (status, body) = match answer {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => {
                return Err(Failure::Settings(anyhow!("no node answers at {ops} ({error:#}): {hint}")));
            }
            Err(_) => {
                return Err(Failure::Settings(anyhow!("no node answers at {ops} within {DEADLINE:?}: {hint}")));
            }
        };
        if status == StatusCode::OK {
            return Ok(body);
        }
        let text = String::from_utf8_lossy(&body);
        Err(Failure::Settings(anyhow!("the node at {ops} refuses the request ({status}): {}", text.trim())))
    }
}

/// The address to connect to for a listener, which may be at every address of this host.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip: IpAddr = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

async fn request(ops: &str, method: Method, path: &'static str) -> anyhow::Result<(StatusCode, Bytes)> {
    let stream = TcpStream::connect(ops).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let request = Request::builder().method(method).uri(path).header("host", ops).body(Empty::<Bytes>::new())?;
    let response = sender.send_request(request).await?;
    let status = response.status();
    let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await.map_err(|error| anyhow!(error))?;
    connection.abort();
    Ok((status, body.to_bytes()))
}

/// Whether every member is up and every partition has all its copies.
fn is_healthy(status: &ClusterStatus) -> bool {
    status.cluster.as_ref().is_none_or(|cluster| {
        cluster.under_replicated == 0 && cluster.members.iter().all(|member| member.state == MemberState::Up)
    })
}

fn table(status: &ClusterStatus) -> String {
    let ClusterStatus { node, region, cluster } = status;
    let Some(cluster) = cluster else {
        return format!("{node} is a single node: it is not part of a cluster.\n");
    };
    let mut out = members_table(&cluster.members);
    out += &format!(
        "\n{} partitions, placement {}; {} under-replicated in {region}.\n",
        cluster.partitions, cluster.fingerprint, cluster.under_replicated
    );
    let progress = bar(cluster.held.min(cluster.placed), cluster.placed);
    out += &format!("{node} holds {} of {}  {progress}\n", cluster.held, cluster.placed);
    for transfer in &cluster.transfers {
        out += &format!("  partition {} from {} for {:.1} s\n", transfer.partition, transfer.from, transfer.seconds);
    }
    if cluster.leaving {
        out += "It is leaving.\n";
    }
    out
}

fn members_table(members: &[MemberStatus]) -> String {
    let head = ["NODE", "REGION", "STATE", "OWNED", "HELD", "LAG", "QUEUED", "INCARNATION"].map(str::to_owned);
    let rows = members.iter().map(|member| {
        [
            member.id.clone(),
            member.region.clone(),
            member.state.as_str().to_owned(),
            member.owned.to_string(),
            member.held.to_string(),
            member.lag_seconds.map_or("-".to_owned(), |lag| format!("{lag:.1} s")),
            indicatif::HumanBytes(member.queued_bytes as u64).to_string(),
            member.incarnation.to_string(),
        ]
    });
    let rows: Vec<_> = std::iter::once(head).chain(rows).collect();
    let widths: [usize; 8] =
        std::array::from_fn(|column| rows.iter().map(|row| row[column].len()).max().unwrap_or_default());

    let mut out = String::new();
    for row in &rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        out += cells.collect::<Vec<_>>().join("  ").trim_end();
        out.push('\n');
    }
    out
}

fn bar(done: usize, all: usize) -> String {
    // Zero of zero is complete.
    let percent = (done * 100).checked_div(all).unwrap_or(100);
    let full = percent * BAR / 100;
    format!("[{}{}] {percent}%", "#".repeat(full), ".".repeat(BAR - full))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: serde_json::Value) -> ClusterStatus {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn the_table_shows_members_and_progress() {
        let counts = serde_json::json!({"dropped_records": 0, "delivered_records": 0, "delivered_bytes": 0});
        let member = |fields: serde_json::Value| {
            let mut member = counts.clone();
            member.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
            member
        };
        let status = parse(serde_json::json!({
            "node": "eu-1", "region": "eu", "fingerprint": "00ff", "partitions": 256, "placed": 256, "held": 128,
            "under_replicated": 3, "leaving": false, "dropping": 0, "comparisons_waiting": 0,
            "transfers": [{"partition": 7, "from": "eu-2", "seconds": 1.25}],
            "members": [
                member(serde_json::json!({"id": "eu-1", "region": "eu", "state": "up", "owned": 100, "held": 128,
                 "lag_seconds": null, "queued_bytes": 0, "incarnation": 5})),
                member(serde_json::json!({"id": "eu-2", "region": "eu", "state": "down", "owned": 156, "held": 256,
                 "lag_seconds": 2.0, "queued_bytes": 2048, "incarnation": 6})),
            ],
        }));
        let shown = table(&status);
        for part in [
            "eu-2  eu      down",
            "2.0 s",
            "2.00 KiB",
            "3 under-replicated in eu",
            "[############............] 50%",
            "partition 7 from eu-2 for 1.2 s",
        ] {
            assert!(shown.contains(part), "{part} is not in\n{shown}");
        }
        assert!(!is_healthy(&status));
    }

    #[test]
    fn a_single_node_is_healthy() {
        let status = parse(serde_json::json!({"node": "tidings", "region": "local"}));
        assert!(table(&status).contains("single node"));
        assert!(is_healthy(&status));
    }

    #[test]
    fn a_listener_at_every_address_is_reached_at_loopback() {
        let reached = |listen: &str| reachable(listen.parse().unwrap()).to_string();
        assert_eq!(reached("0.0.0.0:7070"), "127.0.0.1:7070");
        assert_eq!(reached("[::]:7070"), "[::1]:7070");
        assert_eq!(reached("10.0.0.1:7070"), "10.0.0.1:7070");
    }
}
