//! UDP load by `aquatic_udp_load_test` with its default mix, of which only the server address is changed.
//!
//! Its two million peers announce in turn, so a tracker knows all of them once it has answered as many announces. The
//! window opens then, which gives a fast and a slow tracker the same swarms, and it opens and closes with a report of
//! the load tester, so that replies and CPU time are those of the same seconds.

use std::io::{BufRead, BufReader};
use std::process::{ChildStdout, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::install::Tools;
use crate::report::Sample;
use crate::servers::{self, Server};
use tidings::testkit::pinned::{LOAD_CORE, Pinned};

/// `announce_peers_wanted` of the default mix.
pub const PEERS_WANTED: usize = 30;

/// The load tester reports every 5 s, later only if it gets no CPU, and needs a few seconds to make its peers.
const REPORT_LIMIT: Duration = Duration::from_secs(60);
/// A tracker that has not answered for every peer by then is measured as it is, and the sample says so.
const FILL_LIMIT: Duration = Duration::from_secs(120);

/// The load of one run.
#[derive(Debug)]
pub struct UdpLoad<'a> {
    /// Where to find the load tester.
    pub tools: &'a Tools,
    /// Least length of the measured window.
    pub seconds: u64,
}

impl UdpLoad<'_> {
    /// Fills `server`, then measures it.
    pub fn run(&self, server: &Server) -> Result<Sample> {
        let program = self.tools.peer("aquatic_udp_load_test")?;
        let mut config = servers::default_config(&program)?;
        let peers = config
            .get("requests")
            .and_then(|requests| requests.get("number_of_peers")?.as_integer())
            .context("the load tester's configuration has no number of peers")? as f64;
        config.insert("server_address".to_owned(), server.address.to_string().into());
        let path = self.tools.work.join("aquatic_udp_load_test.toml");
        servers::write_config(&path, &config)?;

        let args = [String::from("-c"), path.display().to_string()];
        let mut load = Pinned::spawn(LOAD_CORE, "udp-load", &self.tools.work, &program, args, Stdio::piped())?;
        let stdout = load.stdout().context("the load tester has no output")?;
        let mut reports = Reports { lines: read_lines(stdout), last: Instant::now() };

        // A responder that remembers nothing is only warmed up, by one report.
        let wanted = if server.subject.is_bare() { 1.0 } else { peers };
        let start = Instant::now();
        let mut known = 0.0;
        while known < wanted && start.elapsed() < FILL_LIMIT {
            known += reports.next()?.announces;
        }
        let cpu = server.process.cpu_seconds()?;
        let mut window = Interval::default();
        // A report comes a moment after its 5 s are over; the half second keeps a window of 10 s at two reports.
        while window.seconds + 0.5 < self.seconds as f64 {
            window.add(&reports.next()?);
        }
        Ok(Sample {
            seconds: window.seconds,
            replies: window.connects + window.announces + window.scrapes,
            errors: window.errors,
            cpu_seconds: server.process.cpu_seconds()? - cpu,
            peers_per_reply: window.peers / window.announces,
            body_bytes: None,
            resident_bytes: server.process.resident_bytes()?,
            filled: known >= wanted,
        })
    }
}

/// What the load tester counted between two of its reports.
#[derive(Debug, Default)]
struct Interval {
    seconds: f64,
    connects: f64,
    announces: f64,
    scrapes: f64,
    errors: f64,
    peers: f64,
}

impl Interval {
    fn add(&mut self, other: &Self) {
        self.seconds += other.seconds;
        self.connects += other.connects;
        self.announces += other.announces;
        self.scrapes += other.scrapes;
        self.errors += other.errors;
        self.peers += other.peers;
    }
}

struct Reports {
    lines: Receiver<String>,
    last: Instant,
}

impl Reports {
    /// Waits for the next report. Its rates become counts by the time between the reports.
    fn next(&mut self) -> Result<Interval> {
        let deadline = Instant::now() + REPORT_LIMIT;
        let mut rates = Interval::default();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(line) = self.lines.recv_timeout(left) else {
                bail!("the load tester has not reported for {REPORT_LIMIT:?} or has ended")
            };
            let Some((key, value)) = line.trim_start_matches([' ', '-']).split_once(':') else { continue };
            let Ok(value) = value.trim().trim_end_matches("/second").parse::<f64>() else { continue };
            match key {
                "Connect responses" => rates.connects = value,
                "Announce responses" => rates.announces = value,
                "Scrape responses" => rates.scrapes = value,
                "Error responses" => rates.errors = value,
                // The last line that every report has; not a number while nothing is answered.
                "Peers per announce response" => {
                    let now = Instant::now();
                    let seconds = now.duration_since(self.last).as_secs_f64();
                    self.last = now;
                    let announces = rates.announces * seconds;
                    return Ok(Interval {
                        seconds,
                        connects: rates.connects * seconds,
                        announces,
                        scrapes: rates.scrapes * seconds,
                        errors: rates.errors * seconds,
                        peers: if value.is_finite() { value * announces } else { 0.0 },
                    });
                }
                _ => {}
            }
        }
    }
}

/// Lines of a child, so that waiting for one can have a limit. The thread ends with the child's output.
fn read_lines(stdout: ChildStdout) -> Receiver<String> {
    let (sender, receiver) = mpsc::sync_channel(1024);
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    receiver
}
