//! The command line of `tidings load`, and the checks that turn it into a [`Spec`].

use std::num::NonZeroU32;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use clap::ValueEnum;

use super::population::{FIRST_PORT, MAX_PEERS_PER_ADDRESS};
use super::spec::{Arrivals, Mix, Spec, Spread, Target, Transport};
use crate::client::{Scheme, TrackerUrl, is_near};

const EXAMPLES: &str = "\
Examples:
  Saturate a tracker on this machine for ten seconds:
    tidings load --target udp://127.0.0.1:6969

  Latency at a fixed rate, measured from when each request was due (no coordinated omission):
    tidings load --target udp://127.0.0.1:6969 --mode open --rate 50000 --duration 30s

  Fill a tracker with two million distinct peers in a million swarms, and send nothing else:
    tidings load --target udp://127.0.0.1:6969 --fill --duration 0s --swarms 1000000 --peers 2000000

  Does a restarted tracker still know what that fill announced?
    tidings load --target udp://127.0.0.1:6969 --verify --swarms 1000000 --peers 2000000

  Load on two nodes of a cluster, and is every acknowledged peer known to a third one?
    tidings load --target udp://10.0.0.1:6969 --target udp://10.0.0.2:6969 --failover --duration 30s \
      --verify-at udp://10.0.0.3:6969

  HTTP over 64 keep-alive connections:
    tidings load --target http://127.0.0.1:6969/announce --sources 64 --window 1

Exit codes: 0 all answers were correct, 1 an error, a malformed answer, or too much loss (--max-loss, --min-known),
2 a wrong command line.";

/// Put a realistic load on a tracker and measure its answers.
///
/// A peer is a pair of source address and announced port. Peers announce from many loopback addresses (127.x.y.1), each
/// with its own socket. Towards ::1 or another host there is only one address, and only the ports distinguish peers.
#[derive(Clone, Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Args {
    /// Where to send: udp://HOST:PORT or http://HOST:PORT/announce. Repeat it to spread the sources over several.
    #[arg(long, required = true, value_name = "URL")]
    pub target: Vec<String>,
    /// closed: send a request as soon as an answer makes room. open: send at a fixed --rate, whatever the tracker does.
    #[arg(long, value_enum, default_value_t = Mode::Closed)]
    pub mode: Mode,
    /// Requests per second over all workers (open mode).
    #[arg(long, value_name = "N")]
    pub rate: Option<NonZeroU32>,
    /// Gaps between the requests of the open mode.
    #[arg(long, value_enum, default_value_t = Arrivals::Poisson)]
    pub arrivals: Arrivals,
    /// How long the mixed load runs, at most 24h [default: 10s, or 0s with --verify and --verify-at].
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub duration: Option<Duration>,
    /// Number of swarms.
    #[arg(long, value_name = "N", default_value = "10000")]
    pub swarms: NonZeroU32,
    /// Number of distinct peers.
    #[arg(long, value_name = "N", default_value = "100000")]
    pub peers: NonZeroU32,
    /// How peers choose their swarm. Each swarm gets one peer first when there are enough.
    #[arg(long, value_enum, default_value_t = Spread::Zipf)]
    pub spread: Spread,
    /// Exponent of the Zipf distribution.
    #[arg(long, value_name = "X", default_value_t = 1.0)]
    pub exponent: f64,
    /// Source addresses, each with its own socket. One address has room for 64,512 peers.
    #[arg(long, visible_alias = "sockets", value_name = "N", default_value = "64")]
    pub sources: NonZeroU32,
    /// Requests in flight per source; over HTTP, connections per source [default: 4 for UDP, 1 for HTTP].
    #[arg(long, visible_alias = "connections", value_name = "N")]
    pub window: Option<NonZeroU32>,
    /// Threads that send and receive.
    #[arg(long, value_name = "N", default_value = "1")]
    pub workers: NonZeroU32,
    /// Seed of all random choices: the same seed gives the same swarms and peers.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// Announce every peer exactly once before the mixed load; lost announces are repeated.
    #[arg(long)]
    pub fill: bool,
    /// Compare the tracker's peers with the announced ones; without --fill and load, with those that --fill would announce.
    #[arg(long)]
    pub verify: bool,
    /// Send the requests of --verify to this tracker instead of the targets, for every swarm. Repeat it for several trackers,
    /// one after the other.
    #[arg(long, value_name = "URL")]
    pub verify_at: Vec<String>,
    /// Time to wait before --verify: changes reach other regions a little later than they are acknowledged.
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = humantime::parse_duration)]
    pub verify_after: Duration,
    /// Send an unanswered request to the next target, as clients do with the next tracker of a torrent, and count it as lost
    /// only when none has answered.
    #[arg(long)]
    pub failover: bool,
    /// The least share of known peers in --verify, in percent. Below it the exit code is 1.
    #[arg(long, value_name = "PERCENT", default_value_t = 100.0)]
    pub min_known: f64,
    /// The largest share of lost requests, in percent. Above it the exit code is 1 [default: any but total loss is accepted].
    #[arg(long, value_name = "PERCENT")]
    pub max_loss: Option<f64>,
    /// Peers to request (numwant); -1 leaves the number to the tracker.
    #[arg(long, value_name = "N", default_value_t = 50, allow_negative_numbers = true)]
    pub numwant: i32,
    #[command(flatten)]
    pub mix: Mix,
    /// Connect before every announce, as short-lived UDP clients do, instead of once per minute and source.
    #[arg(long)]
    pub connect_each: bool,
    /// An unanswered request is lost after this time [default: 2s, or 1s for each target with --failover].
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub deadline: Option<Duration>,
    /// Print one JSON object instead of the table.
    #[arg(long)]
    pub json: bool,
    /// No progress bar.
    #[arg(long, short)]
    pub quiet: bool,
    /// Allow a target that is neither on this machine nor in a private network.
    #[arg(long)]
    pub i_own_the_target: bool,
}

/// When requests are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// Closed loop: a fixed number of requests is in flight.
    Closed,
    /// Open loop: requests are sent at a fixed rate.
    Open,
}

impl Args {
    /// Checks what clap cannot.
    ///
    /// # Errors
    /// One sentence that names the flag to change.
    pub fn check(&self) -> anyhow::Result<Spec> {
        self.check_ranges()?;
        let (transport, targets, verify_at) = self.targets()?;
        let window = self.window.map_or(if transport == Transport::Udp { 4 } else { 1 }, NonZeroU32::get);
        ensure!(transport == Transport::Udp || !self.connect_each, "--connect-each is for UDP targets");
        let many_addresses = targets.iter().chain(&verify_at).all(|t| t.addr.ip().is_loopback() && t.addr.is_ipv4());
        self.check_sources(targets.len(), window, many_addresses)?;

        let verify = self.verify || !verify_at.is_empty();
        Ok(Spec {
            transport,
            targets,
            failover: self.failover,
            verify_at: self.verify_at.iter().cloned().zip(verify_at).collect(),
            verify_after: self.verify_after,
            open: self.open_loop()?,
            duration: self.duration.unwrap_or(Duration::from_secs(if verify { 0 } else { 10 })),
            swarms: self.swarms.get(),
            peers: self.peers.get(),
            spread: (self.spread, self.exponent),
            sources: self.sources.get(),
            many_addresses,
            window,
            workers: self.workers.get(),
            seed: self.seed,
            fill: self.fill,
            verify,
            num_want: self.numwant,
            mix: self.mix,
            connect_each: self.connect_each,
            deadline: self.deadline.unwrap_or(Duration::from_secs(if self.failover { 1 } else { 2 })),
        })
    }

    fn check_ranges(&self) -> anyhow::Result<()> {
        ensure!(self.duration.is_none_or(|it| it <= Duration::from_secs(86_400)), "--duration is at most 24h");
        ensure!(self.verify_after <= Duration::from_secs(3600), "--verify-after is at most 1h");
        let deadlines = Duration::from_millis(1)..=Duration::from_secs(60);
        ensure!(self.deadline.is_none_or(|it| deadlines.contains(&it)), "--deadline is between 1ms and 60s");
        ensure!(self.mix.completes + self.mix.stops <= 1.0, "--completes and --stops together are at most 1");
        for (flag, percent) in [("--min-known", Some(self.min_known)), ("--max-loss", self.max_loss)] {
            ensure!(percent.is_none_or(|it| (0.0..=100.0).contains(&it)), "{flag} is between 0 and 100 percent");
        }
        ensure!((0.0..=10.0).contains(&self.exponent), "--exponent is between 0 and 10");
        ensure!(self.numwant >= -1, "--numwant is -1 or more");
        Ok(())
    }

    /// The transport of all targets, the targets, and those of `--verify-at`.
    fn targets(&self) -> anyhow::Result<(Transport, Vec<Target>, Vec<Target>)> {
        let parse = |urls: &[String]| urls.iter().map(|url| parse_target(url)).collect::<anyhow::Result<Vec<_>>>();
        let (targets, verify_at) = (parse(&self.target)?, parse(&self.verify_at)?);
        let transport = targets.first().context("--target is missing: name a tracker, as udp://127.0.0.1:6969")?.0;
        for (other, target) in targets.iter().chain(&verify_at) {
            ensure!(*other == transport, "all --target and --verify-at must be UDP, or all HTTP");
            ensure!(
                self.i_own_the_target || is_near(target.addr.ip()),
                "{} is neither on this machine nor in a private network: a load test of a tracker that is not yours is an \
                 attack; add --i-own-the-target if it is yours",
                target.addr
            );
        }
        ensure!(!self.failover || targets.len() > 1, "--failover needs a second --target");
        let only_targets = |parsed: Vec<(Transport, Target)>| parsed.into_iter().map(|(_, target)| target).collect();
        Ok((transport, only_targets(targets), only_targets(verify_at)))
    }

    fn open_loop(&self) -> anyhow::Result<Option<(u32, Arrivals)>> {
        match (self.mode, self.rate) {
            (Mode::Open, Some(rate)) => Ok(Some((rate.get(), self.arrivals))),
            (Mode::Open, None) => bail!("--mode open needs --rate N, the requests per second"),
            (Mode::Closed, Some(_)) => bail!("--rate needs --mode open: a closed loop sends as fast as it is answered"),
            (Mode::Closed, None) => Ok(None),
        }
    }

    fn check_sources(&self, targets: usize, window: u32, many_addresses: bool) -> anyhow::Result<()> {
        let (sources, workers, peers) = (self.sources.get(), self.workers.get(), self.peers.get());
        ensure!(sources <= 4096, "--sources is at most 4096");
        ensure!(workers <= sources && workers <= 256, "--workers is at most --sources, and at most 256");
        ensure!(targets <= sources as usize, "--sources is at least the number of targets");
        ensure!(peers >= sources, "--peers is at least --sources, so that every source has a peer to announce");
        ensure!(u64::from(window) * u64::from(sources) <= 1 << 16, "--window times --sources is at most 65536");
        let room = MAX_PEERS_PER_ADDRESS * if many_addresses { sources } else { 1 };
        let remedy = if many_addresses {
            "raise --sources"
        } else {
            "only IPv4 loopback targets offer more than one; lower --peers"
        };
        ensure!(
            peers <= room,
            "{peers} peers need more source addresses, as ports start at {FIRST_PORT} and there is room for {room}: \
             {remedy}"
        );
        Ok(())
    }
}

fn parse_target(text: &str) -> anyhow::Result<(Transport, Target)> {
    let url: TrackerUrl = text.parse().with_context(|| format!("--target {text}"))?;
    let transport = match url.scheme {
        Scheme::Udp => Transport::Udp,
        Scheme::Http => Transport::Http,
        Scheme::Https => bail!("--target {text}: write udp://HOST:PORT or http://HOST:PORT/announce"),
    };
    ensure!(!url.path.contains('?'), "--target {text}: the path has a query");
    let resolved = url.resolve().with_context(|| format!("--target {text}: cannot resolve {}", url.host))?;
    let addr = *resolved.first().with_context(|| format!("--target {text}: {} has no address", url.host))?;
    Ok((transport, Target { addr, host: url.authority(), path: url.path }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        args: Args,
    }

    fn check(line: &str) -> Result<Spec, String> {
        let cli =
            Cli::try_parse_from(std::iter::once("load").chain(line.split_whitespace())).map_err(|e| e.to_string())?;
        cli.args.check().map_err(|e| format!("{e:#}"))
    }

    #[test]
    fn defaults_are_a_bounded_closed_loop() {
        let spec = check("--target udp://127.0.0.1:6969").unwrap();
        assert_eq!((spec.transport, spec.open, spec.duration), (Transport::Udp, None, Duration::from_secs(10)));
        assert!(spec.many_addresses);
        assert_eq!(check("--target udp://127.0.0.1:1 --verify").unwrap().duration, Duration::ZERO);
    }

    #[test]
    fn public_targets_need_a_confirmation() {
        for near in ["127.0.0.1:1", "10.0.0.1:1", "192.168.1.1:1", "[::1]:1", "[fd00::1]:1"] {
            assert!(check(&format!("--target udp://{near} --peers 1000")).is_ok(), "{near}");
        }
        assert!(check("--target udp://8.8.8.8:1 --peers 1000").unwrap_err().contains("--i-own-the-target"));
        assert!(check("--target udp://[2001:db8::1]:1 --peers 1000").unwrap_err().contains("--i-own-the-target"));
        assert!(check("--target udp://8.8.8.8:1 --peers 1000 --i-own-the-target").is_ok());
    }

    #[test]
    fn errors_name_the_flag() {
        for (line, flag) in [
            ("--target 127.0.0.1:1", "udp://HOST:PORT"),
            ("--target https://127.0.0.1:1/announce", "http://HOST:PORT"),
            ("--target udp://127.0.0.1", "HOST:PORT"),
            ("--target udp://127.0.0.1:1 --target http://127.0.0.1:1", "all --target"),
            ("--target udp://127.0.0.1:1 --mode open", "--rate"),
            ("--target udp://127.0.0.1:1 --rate 5", "--mode open"),
            ("--target udp://127.0.0.1:1 --duration 25h", "--duration"),
            ("--target udp://127.0.0.1:1 --peers 2000000 --sources 31", "--sources"),
            ("--target udp://[::1]:1 --peers 100000", "--peers"),
            ("--target udp://127.0.0.1:1 --stops 1.5", "--stops"),
            ("--target udp://127.0.0.1:1 --stops nan", "--stops"),
            ("--target udp://127.0.0.1:1 --workers 65", "--workers"),
            ("--target http://127.0.0.1:1 --connect-each", "--connect-each"),
            ("--target udp://127.0.0.1:1 --failover", "--failover"),
            ("--target udp://127.0.0.1:1 --verify-at http://127.0.0.1:1", "--verify-at"),
            ("--target udp://127.0.0.1:1 --swarms 0", "--swarms"),
        ] {
            let error = check(line).unwrap_err();
            assert!(error.contains(flag), "{line}: {error}");
        }
        assert!(check("--target udp://127.0.0.1:1 --peers 2000000 --sources 32").is_ok());
    }
}
