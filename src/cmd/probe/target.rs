//! One target of a round: its phases up to the scrape, and their outcome.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::time::timeout;

use super::args::Spec;
use super::expect::{Expected, judge_counts, warnings};
use super::identity::{Identities, Trace};
use super::reason::Reason;
use super::session::Session;
use crate::client::{AnnounceParams, TrackerUrl};
use crate::clock::Clock;
use crate::swarm::{Counts, Family};
use crate::wire::udp::TransactionId;

/// One target and its state in the round.
pub struct TargetProbe<'a> {
    pub url: &'a TrackerUrl,
    /// The peers that are announced to it.
    pub identities: Identities,
    /// `Some` once it has an address.
    pub session: Option<Session<'a>>,
    pub report: Report,
    /// The first transaction id of its session.
    pub first: TransactionId,
}

/// The results of one target.
#[derive(Debug, Default)]
pub struct Report {
    /// The address that was used.
    pub addr: Option<SocketAddr>,
    /// The number of other addresses of the same name.
    pub others: usize,
    /// The address at which the tracker sees this host.
    pub seen_as: Option<IpAddr>,
    /// The phases that were started.
    pub phases: Vec<Phase>,
    /// Oddities that are not failures.
    pub warnings: Vec<String>,
}

/// The outcome of a phase.
#[derive(Debug)]
pub struct Phase {
    pub name: &'static str,
    pub took: Duration,
    /// `None` if it passed.
    pub failed: Option<Reason>,
}

impl<'a> TargetProbe<'a> {
    /// Whether no phase has failed so far.
    pub fn has_passed(&self) -> bool {
        self.report.phases.iter().all(|phase| phase.failed.is_none())
    }

    /// Runs the phases up to the scrape, until one fails.
    pub async fn check(&mut self, spec: &'a Spec, clock: &'a dyn Clock, trace: Option<&Trace>) -> Option<()> {
        let (url, report) = (self.url, &mut self.report);
        let Identities { seeder, leecher, .. } = self.identities;
        let addrs = report.phase(clock, "resolve", resolve(url, spec)).await?;
        if url.host.parse::<IpAddr>().is_ok() {
            // There was nothing to resolve.
            report.phases.clear();
        }
        let addr = *addrs.first()?;
        (report.addr, report.others) = (Some(addr), addrs.len() - 1);
        let connect = async {
            let mut session = Session::new(spec, clock, url, addr, trace, self.first).await?;
            session.connect().await?;
            Ok(session)
        };
        let session = self.session.insert(report.phase(clock, "connect", connect).await?);
        session.identify_node().await;

        let (allow_stale, local) = (spec.allow_stale, session.local_ip());
        let alone =
            Expected { me: seeder.port, must: None, may: Vec::new(), seeders: 0..=1, leechers: 0..=0, allow_stale };
        report.announce(clock, "announce", session, &seeder, &alone).await?;
        let two =
            Expected { me: leecher.port, must: Some((seeder.port, local)), seeders: 1..=1, leechers: 0..=1, ..alone };
        report.announce(clock, "re-announce", session, &leecher, &two).await?;
        let scrape = async {
            let counts = session.scrape(seeder.info_hash).await?;
            judge_counts(&counts, &Counts { seeders: 1, leechers: 1, ..Counts::default() })
        };
        report.phase(clock, "scrape", scrape).await
    }
}

impl Report {
    /// Runs a phase and records its outcome; `None` if it fails.
    pub async fn phase<T>(
        &mut self,
        clock: &dyn Clock,
        name: &'static str,
        work: impl Future<Output = Result<T, Reason>>,
    ) -> Option<T> {
        let began = clock.now().uptime;
        let result = work.await;
        let took = clock.now().uptime.saturating_sub(began);
        let (done, failed) = match result {
            Ok(done) => (Some(done), None),
            Err(reason) => (None, Some(reason)),
        };
        self.phases.push(Phase { name, took, failed });
        done
    }

    /// Runs a phase of one announce.
    pub async fn announce(
        &mut self,
        clock: &dyn Clock,
        name: &'static str,
        session: &mut Session<'_>,
        params: &AnnounceParams,
        expected: &Expected,
    ) -> Option<()> {
        let announce = async {
            let reply = session.announce(params).await?;
            let found = expected.judge(&reply)?;
            Ok((reply, found))
        };
        let (reply, found) = self.phase(clock, name, announce).await?;
        for warning in warnings(&reply) {
            if !self.warnings.contains(&warning) {
                self.warnings.push(warning);
            }
        }
        self.seen_as = found.map(|peer| peer.ip()).or(self.seen_as);
        Some(())
    }
}

/// The addresses of a target, of the requested family.
async fn resolve(url: &TrackerUrl, spec: &Spec) -> Result<Vec<SocketAddr>, Reason> {
    let lookup = timeout(spec.limits.timeout, tokio::net::lookup_host((url.host.as_str(), url.port)));
    let found = lookup.await.map_err(|_| Reason::NoAnswer(spec.limits.timeout))?;
    let found = found.map_err(|error| Reason::Unreachable(format!("cannot resolve {}: {error}", url.host)))?;
    let is_wanted = |addr: &SocketAddr| spec.family.is_none_or(|family| (family == Family::V4) == addr.is_ipv4());
    let wanted: Vec<_> = found.filter(is_wanted).collect();
    if wanted.is_empty() {
        return Err(Reason::Unreachable(format!("{} has no address of the requested family", url.host)));
    }
    Ok(wanted)
}
