//! One round: check every target by itself, then look at each for the peers of the others, and stop all peers.

use std::time::Duration;

use futures_util::future::join_all;
use rand::RngExt;
use rand::rngs::StdRng;

use super::args::Spec;
use super::expect::Expected;
use super::identity::{Identities, Trace, identities};
use super::replication::{self, Pair};
use super::session::Reply;
use super::target::{Report, TargetProbe};
use crate::client::AnnounceParams;
use crate::clock::Clock;
use crate::wire::udp::TransactionId;

/// A round and its results so far.
pub struct Round<'a> {
    spec: &'a Spec,
    clock: &'a dyn Clock,
    began: Duration,
    /// Milliseconds since the Unix epoch.
    pub at_millis: u64,
    pub took: Duration,
    /// The trace that the requests ask for.
    pub trace: Option<Trace>,
    /// The targets, in the order of the command line.
    pub probes: Vec<TargetProbe<'a>>,
    /// The outcome of replication.
    pub pairs: Vec<Pair>,
}

impl<'a> Round<'a> {
    /// A round with its own swarms and peers.
    pub fn new(spec: &'a Spec, clock: &'a dyn Clock, random: &mut StdRng) -> Self {
        let trace = spec.trace.then(|| Trace::new(random));
        let identities = identities(spec.targets.len(), random);
        let probes = spec.targets.iter().zip(identities).map(|(url, identities)| TargetProbe {
            url,
            identities,
            session: None,
            report: Report::default(),
            first: TransactionId(random.random()),
        });
        let (probes, now) = (probes.collect(), clock.now());
        let (began, at_millis) = (now.uptime, now.wall_millis);
        Self { spec, clock, began, at_millis, took: Duration::ZERO, trace, probes, pairs: Vec::new() }
    }

    /// Runs all phases but the last. The future may be dropped at any time; [`Round::stop`] cleans up.
    pub async fn run(&mut self) {
        let (spec, clock, trace) = (self.spec, self.clock, self.trace.as_ref());
        join_all(self.probes.iter_mut().map(|probe| probe.check(spec, clock, trace))).await;
        if !spec.independent {
            self.pairs = replication::replicate(spec, clock, &mut self.probes).await;
        }
    }

    /// Announces `stopped` for every peer that may have been announced. If `hurried`, it waits at most `--slow` for each.
    pub async fn stop(&mut self, hurried: bool) {
        let peers = |it: &Identities| [it.seeder, it.leecher, it.source, it.looker];
        let ports: Vec<u16> =
            self.probes.iter().flat_map(|probe| peers(&probe.identities)).map(|params| params.port).collect();
        let most = self.probes.len() as u32;
        let (clock, allow_stale) = (self.clock, self.spec.allow_stale);
        let judge = |params: &AnnounceParams, reply: &Reply| {
            let (seeders, leechers) = (0..=1, 0..=most);
            let may = ports.clone();
            Expected { me: params.port, must: None, may, seeders, leechers, allow_stale }.judge(reply).map(|_| ())
        };
        let stops = self.probes.iter_mut().filter_map(|TargetProbe { session, report, .. }| {
            let session = session.as_mut().filter(|session| session.is_live())?;
            if hurried {
                session.lose_patience();
            }
            Some(async move { report.phase(clock, "stopped", session.stop_all(judge)).await })
        });
        join_all(stops).await;
        self.took = self.clock.now().uptime.saturating_sub(self.began);
    }
}
