//! The command line of `tidings probe`, and the checks that turn it into a [`Spec`].

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use rustls::ClientConfig;

use super::trust;
use crate::client::{Scheme, TrackerUrl};
use crate::swarm::Family;

/// The most targets of one run: each is checked against every other.
const MAX_TARGETS: usize = 16;

const HELP: &str = "\
Phases, for each target: connect, announce (a seeder), re-announce (a leecher, which must get that seeder and no other
peer), scrape, stopped. The info hash is random, so the right peers and counts are known, and every byte of each answer is
checked. With several targets of one address family, a peer that is announced to one must be returned by all others.

Examples:
  Does the tracker work?
    tidings probe --target udp://tracker.example.org:6969 --target https://tracker.example.org/announce

  Do two regions exchange peers, and how fast?
    tidings probe --target udp://eu.example.org:6969 --target udp://us.example.org:6969 --replication 2s

  A container's health check: prints nothing unless something is wrong
    tidings probe --target udp://127.0.0.1:6969 --quiet

  Every 30 seconds until Ctrl-C, one JSON object per line
    tidings probe --target udp://tracker.example.org:6969 --every 30s --json

HTTPS trusts the certificates in --ca, or else those in the file that SSL_CERT_FILE names, or else those of the system
(/etc/ssl/certs/ca-certificates.crt, /etc/pki/tls/certs/ca-bundle.crt, /etc/ssl/cert.pem).

Exit codes: 0 all probes passed, 1 any of them failed (with --every: in any round), or a signal ended the only round,
2 a wrong command line.";

/// Announce to a tracker as clients do, and check every byte of its answers.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = HELP)]
pub struct Args {
    /// A tracker: udp://HOST:PORT, http://HOST:PORT/announce or https://HOST/announce. Repeat it for several.
    #[arg(long, required = true, value_name = "URL")]
    target: Vec<String>,
    #[command(flatten)]
    limits: Limits,
    /// The targets are independent trackers: do not look for the peers of one at the others
    #[arg(long)]
    independent: bool,
    /// Accept answers that the tracker marks as out of date (HTTP only: over UDP there is no mark)
    #[arg(long)]
    allow_stale: bool,
    /// For HTTPS, trust the certificates in this file (PEM) instead of the system's
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// For HTTPS, trust any certificate
    #[arg(long, conflicts_with = "ca")]
    insecure: bool,
    /// Use IPv4 only
    #[arg(long, short = '4', conflicts_with = "ipv6")]
    ipv4: bool,
    /// Use IPv6 only
    #[arg(long, short = '6')]
    ipv6: bool,
    /// Request a trace (W3C traceparent, sampled) and print its id
    #[arg(long)]
    trace: bool,
    /// Repeat the probe until Ctrl-C and print one line per round
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    every: Option<Duration>,
    /// Stop after N rounds
    #[arg(long, value_name = "N", requires = "every")]
    count: Option<NonZeroU32>,
    /// Print one JSON object per round
    #[arg(long)]
    json: bool,
    /// Print only failures
    #[arg(long, short, conflicts_with = "json")]
    quiet: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// A table, or one line per round with `--every`.
    Text,
    /// One JSON object per round.
    Json,
    /// Only failures.
    Quiet,
}

#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Limits {
    /// The longest that each phase may take
    #[arg(long, value_name = "TIME", default_value = "3s", value_parser = humantime::parse_duration)]
    pub timeout: Duration,
    /// An answer that takes longer than this is late, which is a failure. A datagram is sent again after half of it.
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = humantime::parse_duration)]
    pub slow: Duration,
    /// How soon a peer announced to one target must be returned by the others
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = humantime::parse_duration)]
    pub replication: Duration,
}

/// The checked command line.
#[derive(Clone, Debug)]
pub struct Spec {
    /// At least one.
    pub targets: Vec<TrackerUrl>,
    pub limits: Limits,
    /// Whether not to check replication between the targets.
    pub independent: bool,
    pub allow_stale: bool,
    /// The only family to use, if any.
    pub family: Option<Family>,
    /// `Some` if any target uses HTTPS.
    pub tls: Option<Arc<ClientConfig>>,
    pub trace: bool,
    /// The time from one round to the next; `None` for a single round.
    pub every: Option<Duration>,
    /// The number of rounds; `None` for no limit.
    pub count: Option<NonZeroU32>,
    pub output: Output,
}

impl Args {
    /// Checks what clap cannot.
    ///
    /// # Errors
    /// One sentence that names the flag to change.
    pub fn check(&self) -> anyhow::Result<Spec> {
        let parse = |text: &String| text.parse().with_context(|| format!("--target {text}"));
        let targets = self.target.iter().map(parse).collect::<anyhow::Result<Vec<TrackerUrl>>>()?;
        ensure!(targets.len() <= MAX_TARGETS, "--target can be given at most {MAX_TARGETS} times");
        let range = |flag, value: Duration, least, most| {
            let (least, most) = (Duration::from_millis(least), Duration::from_secs(most));
            let text = humantime::format_duration;
            ensure!((least..=most).contains(&value), "{flag} is between {} and {}", text(least), text(most));
            Ok(())
        };
        range("--timeout", self.limits.timeout, 10, 60)?;
        range("--slow", self.limits.slow, 1, 60)?;
        range("--replication", self.limits.replication, 10, 600)?;
        if let Some(every) = self.every {
            range("--every", every, 1000, 86_400)?;
        }
        let any_https = targets.iter().any(|target| target.scheme == Scheme::Https);
        ensure!(any_https || (self.ca.is_none() && !self.insecure), "--ca and --insecure are for https:// targets");
        let output = match (self.json, self.quiet) {
            (true, _) => Output::Json,
            (_, true) => Output::Quiet,
            _ => Output::Text,
        };
        // With a timeout below `--slow` no answer could ever be late.
        let limits = Limits { slow: self.limits.slow.min(self.limits.timeout), ..self.limits };
        Ok(Spec {
            targets,
            limits,
            independent: self.independent,
            allow_stale: self.allow_stale,
            family: if self.ipv4 { Some(Family::V4) } else { self.ipv6.then_some(Family::V6) },
            tls: if any_https { Some(trust::client_config(self.ca.as_deref(), self.insecure)?) } else { None },
            trace: self.trace,
            every: self.every,
            count: self.count,
            output,
        })
    }
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
        let line = std::iter::once("probe").chain(line.split_whitespace());
        let cli = Cli::try_parse_from(line).map_err(|error| error.to_string())?;
        cli.args.check().map_err(|error| format!("{error:#}"))
    }

    #[test]
    fn defaults() {
        let spec = check("--target udp://127.0.0.1:6969").unwrap();
        let Limits { timeout, slow, replication } = spec.limits;
        assert_eq!([timeout, slow, replication].map(|time| time.as_secs()), [3, 1, 5]);
        assert_eq!((spec.output, spec.every, spec.family), (Output::Text, None, None));
        assert!(spec.tls.is_none());
        assert_eq!(check("--target udp://h:1 --timeout 200ms").unwrap().limits.slow, Duration::from_millis(200));
    }

    #[test]
    fn errors_name_the_flag() {
        let many = "--target udp://127.0.0.1:1 ".repeat(17);
        for (line, flag) in [
            ("", "--target"),
            ("--target 127.0.0.1:1", "udp://HOST:PORT"),
            ("--target udp://127.0.0.1", "port is missing"),
            ("--target udp://127.0.0.1:1 --timeout 2m", "--timeout"),
            ("--target udp://127.0.0.1:1 --slow 0s", "--slow"),
            ("--target udp://127.0.0.1:1 --replication 1h", "--replication"),
            ("--target udp://127.0.0.1:1 --every 1ms", "--every"),
            ("--target udp://127.0.0.1:1 --every soon", "--every"),
            ("--target udp://127.0.0.1:1 --count 3", "--every"),
            ("--target udp://127.0.0.1:1 --insecure", "--insecure"),
            ("--target https://127.0.0.1 --ca /nonexistent.pem", "/nonexistent.pem"),
            ("--target udp://127.0.0.1:1 -4 -6", "--ipv"),
            ("--target udp://127.0.0.1:1 --json --quiet", "--json"),
            (&many, "16 times"),
        ] {
            let error = check(line).unwrap_err();
            assert!(error.contains(flag), "{line}: {error}");
        }
    }
}
