//! The configuration of a run: the checked command line.

use std::net::SocketAddr;
use std::time::Duration;

use clap::ValueEnum;

/// The gaps between the requests of an open loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Arrivals {
    /// Exponentially distributed, as from many independent clients.
    Poisson,
    /// All equal.
    Constant,
}

/// The transport of all targets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// BEP 15.
    Udp,
    /// BEP 3 over plain HTTP/1.1 with keep-alive.
    Http,
}

/// One tracker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The resolved address.
    pub addr: SocketAddr,
    /// The value of the HTTP `Host` header.
    pub host: String,
    /// The path of HTTP announces, `/announce` by default.
    pub path: String,
}

#[derive(Clone, Debug)]
pub struct Spec {
    /// UDP or HTTP, the same for all targets.
    pub transport: Transport,
    /// At least one; source `s` sends to target `s % targets`.
    pub targets: Vec<Target>,
    /// Whether the sources of a target that does not answer switch to the next one.
    pub failover: bool,
    /// The trackers to verify instead of the targets, each with its URL.
    pub verify_at: Vec<(String, Target)>,
    /// How long to wait before the verification.
    pub verify_after: Duration,
    /// Requests per second and their gaps; `None` for a closed loop.
    pub open: Option<(u32, Arrivals)>,
    /// Length of the mixed load.
    pub duration: Duration,
    pub swarms: u32,
    pub peers: u32,
    /// How peers choose their swarm, and the exponent if by Zipf.
    pub spread: (Spread, f64),
    /// Number of sockets (UDP), or of source addresses (HTTP).
    pub sources: u32,
    /// Whether each source has its own loopback address; otherwise all share one.
    pub many_addresses: bool,
    /// Requests in flight per source.
    pub window: u32,
    pub workers: u32,
    pub seed: u64,
    /// Whether to announce every peer first.
    pub fill: bool,
    /// Whether to compare the peers at the end.
    pub verify: bool,
    /// `numwant` of the announces.
    pub num_want: i32,
    pub mix: Mix,
    /// Whether to connect before every announce.
    pub connect_each: bool,
    /// When an unanswered request is lost.
    pub deadline: Duration,
}

/// How peers choose their swarm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Spread {
    /// All swarms are equally likely.
    Uniform,
    /// The swarm of rank r has the weight r^-exponent: a few large swarms and many small ones, as on real trackers.
    Zipf,
}

/// The shares of events, each between 0 and 1.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Mix {
    /// Share of the peers that are seeders when they start.
    #[arg(long, value_name = "SHARE", default_value = "0.5", value_parser = parse_share)]
    pub seeders: f64,
    /// Share of a leecher's announces that say it has completed.
    #[arg(long, value_name = "SHARE", default_value = "0.05", value_parser = parse_share)]
    pub completes: f64,
    /// Share of a running peer's announces that say it stops.
    #[arg(long, value_name = "SHARE", default_value = "0.05", value_parser = parse_share)]
    pub stops: f64,
    /// Share of the requests that are scrapes.
    #[arg(long, value_name = "SHARE", default_value = "0.02", value_parser = parse_share)]
    pub scrapes: f64,
}

fn parse_share(text: &str) -> Result<f64, &'static str> {
    let share = text.parse().ok().filter(|share| (0.0..=1.0).contains(share));
    share.ok_or("a share is a number between 0 and 1")
}
