//! `tidings status`: the cluster as one of its nodes sees it.

use std::time::Duration;

use anyhow::{Context, anyhow};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::failure::Failure;
use super::output::print;

/// How long the node may take.
const DEADLINE: Duration = Duration::from_secs(5);
/// The largest answer that is read.
const MAX_ANSWER: usize = 64 << 20;
/// Characters of a progress bar.
const BAR: usize = 24;

/// Show the members of the cluster, who holds what, and what is on its way.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
It asks one node at its operations address (ops.listen), and shows the cluster as that node sees it.
Exit code 0 when every member is up and every partition has all its copies, 1 when not, 2 when the node does not answer.

Examples:
  tidings status
  tidings status --ops 10.0.0.1:7070 --json")]
pub struct Args {
    /// The operations address of the node to ask
    #[arg(long, value_name = "HOST:PORT", env = "TIDINGS_OPS__LISTEN", default_value = "127.0.0.1:7070")]
    ops: String,
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
}

/// Tell a node to hand its partitions over to others and to stop.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The same happens on SIGTERM and Ctrl-C. It returns at once; the node stops when the others hold what it held, or when
cluster.leave_timeout is over. `tidings status` of another node shows how far it is.

Example:
  tidings leave --ops 10.0.0.1:7070")]
pub struct LeaveArgs {
    /// The operations address of the node that is to leave
    #[arg(long, value_name = "HOST:PORT", env = "TIDINGS_OPS__LISTEN", default_value = "127.0.0.1:7070")]
    ops: String,
}

impl LeaveArgs {
    /// Tells it.
    ///
    /// # Errors
    /// See [`Failure`].
    pub fn run(self) -> Result<(), Failure> {
        ask(&self.ops, Method::POST, "/api/v1/leave")?;
        print("The node hands its partitions over and then stops.\n")
    }
}

impl Args {
    /// Asks and shows.
    ///
    /// # Errors
    /// See [`Failure`].
    pub fn run(self) -> Result<(), Failure> {
        let answer = ask(&self.ops, Method::GET, "/api/v1/cluster")?;
        let status: Value = serde_json::from_slice(&answer).context("the answer is no JSON")?;
        if self.json {
            print(&String::from_utf8_lossy(&answer))?;
        } else {
            print(&table(&status))?;
        }
        if is_well(&status) {
            return Ok(());
        }
        Err(Failure::Run(anyhow!("not everything is as it should be: see the members and partitions above")))
    }
}

fn ask(ops: &str, method: Method, path: &'static str) -> Result<Bytes, Failure> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start a runtime")?;
    let answer = runtime.block_on(async { timeout(DEADLINE, request(ops, method, path)).await });
    let unreachable = |error: anyhow::Error| {
        Failure::Settings(
            error.context(format!("the node at {ops} does not answer: is it up, and is this its ops.listen?")),
        )
    };
    answer.map_err(|_| unreachable(anyhow!("no answer within {DEADLINE:?}")))?.map_err(unreachable)
}

async fn request(ops: &str, method: Method, path: &'static str) -> anyhow::Result<Bytes> {
    let stream = TcpStream::connect(ops).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let request = Request::builder().method(method).uri(path).header("host", ops).body(Empty::<Bytes>::new())?;
    let response = sender.send_request(request).await?;
    let status = response.status();
    let body =
        Limited::new(response.into_body(), MAX_ANSWER).collect().await.map_err(|error| anyhow!(error))?.to_bytes();
    connection.abort();
    if status != StatusCode::OK {
        return Err(anyhow!("{status}: {}", String::from_utf8_lossy(&body).trim()));
    }
    Ok(body)
}

/// Every member is up and every partition has all its copies.
fn is_well(status: &Value) -> bool {
    let up = |member: &Value| member["state"] == "up";
    let members = status["members"].as_array();
    members.is_none_or(|members| members.iter().all(up)) && status["under_replicated"].as_u64().unwrap_or(0) == 0
}

fn table(status: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let number = |value: &Value| value.as_u64().unwrap_or(0);
    let Some(members) = status["members"].as_array() else {
        return format!("{} is a single node: it is part of no cluster.\n", text(&status["node"]));
    };
    let head = ["NODE", "REGION", "STATE", "OWNED", "HELD", "LAG", "QUEUED", "INCARNATION"].map(str::to_owned);
    let rows = members.iter().map(|member| {
        let lag = member["lag_seconds"].as_f64().map_or("-".to_owned(), |lag| format!("{lag:.1} s"));
        [
            text(&member["id"]),
            text(&member["region"]),
            text(&member["state"]),
            number(&member["owned"]).to_string(),
            number(&member["held"]).to_string(),
            lag,
            indicatif::HumanBytes(number(&member["queued_bytes"])).to_string(),
            number(&member["incarnation"]).to_string(),
        ]
    });
    let rows: Vec<_> = std::iter::once(head).chain(rows).collect();
    let widths: Vec<_> = (0..8).map(|at| rows.iter().map(|row| row[at].len()).max().unwrap_or(0)).collect();
    let mut out = String::new();
    for row in &rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        out += cells.collect::<Vec<_>>().join("  ").trim_end();
        out.push('\n');
    }
    let (held, placed, partitions) =
        (number(&status["held"]), number(&status["placed"]), number(&status["partitions"]));
    out += &format!(
        "\n{partitions} partitions, placement {}; {} under-replicated in {}.\n",
        text(&status["fingerprint"]),
        number(&status["under_replicated"]),
        text(&status["region"])
    );
    out += &format!("{} holds {held} of {placed}  {}\n", text(&status["node"]), bar(held.min(placed), placed));
    for transfer in status["transfers"].as_array().into_iter().flatten() {
        let seconds = transfer["seconds"].as_f64().unwrap_or(0.0);
        out += &format!(
            "  partition {} from {} for {seconds:.1} s\n",
            number(&transfer["partition"]),
            text(&transfer["from"])
        );
    }
    if status["leaving"] == true {
        out += "It is leaving.\n";
    }
    out
}

fn bar(done: u64, all: u64) -> String {
    // Of nothing all is there.
    let percent = (done * 100).checked_div(all).unwrap_or(100);
    let full = percent as usize * BAR / 100;
    format!("[{}{}] {percent}%", "#".repeat(full), ".".repeat(BAR - full))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_shows_members_and_progress() {
        let status = serde_json::json!({
            "node": "eu-1", "region": "eu", "fingerprint": "00ff", "partitions": 256, "placed": 256, "held": 128,
            "under_replicated": 3, "leaving": false,
            "transfers": [{"partition": 7, "from": "eu-2", "seconds": 1.25}],
            "members": [
                {"id": "eu-1", "region": "eu", "state": "up", "owned": 100, "held": 128, "lag_seconds": null,
                 "queued_bytes": 0, "incarnation": 5},
                {"id": "eu-2", "region": "eu", "state": "down", "owned": 156, "held": 256, "lag_seconds": 2.0,
                 "queued_bytes": 2048, "incarnation": 6},
            ],
        });
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
        assert!(!is_well(&status));
    }

    #[test]
    fn a_single_node_is_well() {
        let status = serde_json::json!({"node": "tidings", "region": "local"});
        assert!(table(&status).contains("single node"));
        assert!(is_well(&status));
    }
}
