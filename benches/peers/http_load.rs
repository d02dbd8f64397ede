//! HTTP load by `wrk`: 64 keep-alive connections, distinct announces.

use std::io::Read;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use crate::http_client::{self, ANNOUNCES, Client};
use crate::install::Tools;
use crate::report::Sample;
use crate::servers::Server;
use tidings::testkit::pinned::{LOAD_CORE, Pinned};

/// Body of the bare responder when no tracker was measured before it: about 20 peers and the other keys.
pub const DEFAULT_BODY: usize = 180;

const CONNECTIONS: usize = 64;
/// Replies looked at to learn their mean size, out of those to all announces.
const PROBES: usize = 2_000;

/// Connections of the filling, and the time it may take; a tracker slower than that is measured as it is.
const FILLERS: usize = 8;
const FILL_LIMIT: Duration = Duration::from_secs(120);

/// wrk calls `init` before its clock starts. A request is then one table look-up.
const SCRIPT: &str = r#"
local requests = {}
local next_request = 0

function init(arguments)
    for target in io.lines("announces.txt") do
        requests[#requests + 1] = "GET " .. target .. " HTTP/1.1\r\nHost: tracker\r\n\r\n"
    end
end

function request()
    next_request = next_request % #requests + 1
    return requests[next_request]
end

function done(summary, latency, requests)
    local errors = summary.errors
    io.write(string.format('{"microseconds":%d,"requests":%d,"errors":%d}\n', summary.duration, summary.requests,
        errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
"#;

/// The load of all HTTP runs.
#[derive(Debug)]
pub struct HttpLoad {
    work: PathBuf,
    announces: Vec<String>,
    seconds: u64,
}

/// The line that the script prints.
#[derive(Debug, Deserialize)]
struct Summary {
    microseconds: f64,
    requests: f64,
    errors: f64,
}

impl HttpLoad {
    /// Writes the script and its announces.
    pub fn new(tools: &Tools, seconds: u64) -> Result<Self> {
        let announces = http_client::announces();
        std::fs::write(tools.work.join("announces.txt"), announces.join("\n") + "\n")?;
        std::fs::write(tools.work.join("announces.lua"), SCRIPT)?;
        Ok(Self { work: tools.work.clone(), announces, seconds })
    }

    /// Announces every peer once, learns the size of the replies, then measures `server` under load.
    pub fn run(&self, server: &Server) -> Result<Sample> {
        // A responder that remembers nothing needs no filling.
        let filled = server.subject.is_bare() || self.fill(server)?;
        let (body_bytes, peers_per_reply) = self.probe(server)?;

        let args = [
            "--threads=1".to_owned(),
            format!("--connections={CONNECTIONS}"),
            format!("--duration={}s", self.seconds),
            "--script=announces.lua".to_owned(),
            format!("http://{}/announce", server.address),
        ];
        let cpu = server.process.cpu_seconds()?;
        let mut wrk = Pinned::spawn(LOAD_CORE, "wrk", &self.work, "wrk".as_ref(), args, Stdio::piped())?;
        let stdout = wrk.stdout().context("wrk has no output")?;
        // Its output fits into the pipe, so it can be read once wrk has ended.
        wrk.finish(Duration::from_secs(self.seconds + 30))?;
        let cpu_seconds = server.process.cpu_seconds()? - cpu;
        let mut text = String::new();
        std::io::BufReader::new(stdout).read_to_string(&mut text)?;
        let line = text.lines().find(|line| line.starts_with('{')).context("wrk printed no summary")?;
        let summary: Summary = serde_json::from_str(line)?;

        Ok(Sample {
            seconds: summary.microseconds / 1e6,
            replies: summary.requests,
            errors: summary.errors,
            cpu_seconds,
            peers_per_reply,
            body_bytes: Some(body_bytes),
            resident_bytes: server.process.resident_bytes()?,
            filled,
        })
    }

    /// Sends each announce once over a few connections; false if there was not time for all.
    fn fill(&self, server: &Server) -> Result<bool> {
        let deadline = Instant::now() + FILL_LIMIT;
        let fill_part = &|targets: &[String]| -> Result<bool> {
            let mut client = Client::connect(server.address)?;
            for target in targets {
                if Instant::now() > deadline {
                    return Ok(false);
                }
                client.get(target)?;
            }
            Ok(true)
        };
        std::thread::scope(|scope| {
            let parts = self.announces.chunks(ANNOUNCES.div_ceil(FILLERS));
            let threads: Vec<_> = parts.map(|part| scope.spawn(move || fill_part(part))).collect();
            let ended = threads.into_iter().map(|thread| thread.join().expect("a filling thread does not panic"));
            ended.collect::<Result<Vec<_>>>().map(|filled| filled.into_iter().all(|filled| filled))
        })
        .context("filling the tracker failed")
    }

    /// Mean bytes of a body and mean peers in it.
    fn probe(&self, server: &Server) -> Result<(f64, f64)> {
        let mut client = Client::connect(server.address)?;
        let (mut bytes, mut peers) = (0, 0);
        for target in self.announces.iter().step_by(ANNOUNCES / PROBES) {
            let body = client.get(target)?;
            ensure!(
                !body.windows(14).any(|window| window == b"failure reason"),
                "the tracker refused an announce: {}",
                String::from_utf8_lossy(&body)
            );
            bytes += body.len();
            peers += http_client::peers_in(&body).unwrap_or(0);
        }
        Ok((bytes as f64 / PROBES as f64, peers as f64 / PROBES as f64))
    }
}
