//! Whether a peer that is announced to one target is returned by the others, and how soon.

use std::cell::Cell;
use std::net::IpAddr;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::sleep;

use super::args::Spec;
use super::expect::Expected;
use super::identity::Identities;
use super::reason::Reason;
use super::target::TargetProbe;
use crate::client::{AnnounceParams, TrackerUrl};
use crate::clock::Clock;
use crate::swarm::{Event, Family};

/// The time between two announces to one target.
const POLL: Duration = Duration::from_millis(100);

/// Whether a peer of one target reached another.
#[derive(Debug)]
pub struct Pair {
    /// The position of the target that it was announced to.
    pub from: usize,
    /// The position of the target that should return it.
    pub to: usize,
    /// The time from the acknowledgement of `from` to the answer of `to`.
    pub outcome: Result<Duration, Reason>,
}

/// What the checks of the other targets need to know of one.
struct Member<'a> {
    url: &'a TrackerUrl,
    identities: Identities,
    /// The family of its address; `None` if the target failed.
    family: Option<Family>,
    source: Cell<Source>,
}

impl<'a> Member<'a> {
    fn of(probe: &TargetProbe<'a>) -> Self {
        let family = probe.session.as_ref().filter(|_| probe.has_passed()).map(|session| session.family);
        let (url, identities) = (probe.url, probe.identities);
        Self { url, identities, family, source: Cell::new(Source::Waiting) }
    }
}

/// The peer of one target that all others should return.
#[derive(Clone, Copy)]
enum Source {
    /// Not announced yet.
    Waiting,
    /// Acknowledged at this uptime, and announced from this address.
    Announced(Duration, IpAddr),
    /// Not announced.
    Failed,
}

/// Looks at every target that passed so far for the peer of each other target of its family.
pub async fn replicate(spec: &Spec, clock: &dyn Clock, probes: &mut [TargetProbe<'_>]) -> Vec<Pair> {
    let members: Vec<_> = probes.iter().map(Member::of).collect();
    let visits = probes.iter_mut().enumerate().filter(|(at, _)| members[*at].family.is_some());
    let visits = visits.map(|(at, probe)| visit(spec, clock, &members, at, probe));
    let mut pairs: Vec<_> = join_all(visits).await.into_iter().flatten().collect();
    for (from, source) in members.iter().enumerate() {
        for (to, target) in members.iter().enumerate().filter(|(to, _)| *to != from) {
            let failed = [source, target].into_iter().find(|member| member.family.is_none());
            if let Some(failed) = failed {
                pairs.push(Pair { from, to, outcome: Err(Reason::NotTried(failed.url.to_string())) });
            }
        }
    }
    pairs.sort_by_key(|pair| (pair.from, pair.to));
    pairs
}

/// Announces to one target, then looks there for the peers of the others.
async fn visit(
    spec: &Spec,
    clock: &dyn Clock,
    members: &[Member<'_>],
    at: usize,
    probe: &mut TargetProbe<'_>,
) -> Vec<Pair> {
    let (me, most) = (&members[at], members.len() as u32);
    let mut wanted: Vec<usize> =
        (0..members.len()).filter(|other| *other != at && members[*other].family == me.family).collect();
    let TargetProbe { session: Some(session), report, .. } = probe else { return Vec::new() };
    if wanted.is_empty() {
        return Vec::new();
    }
    let expected = Expected {
        me: me.identities.source.port,
        must: None,
        may: members.iter().map(|member| member.identities.looker.port).collect(),
        seeders: 0..=1,
        leechers: 0..=most,
        allow_stale: spec.allow_stale,
    };
    let announced = report.announce(clock, "share", session, &me.identities.source, &expected).await;
    me.source.set(match announced {
        Some(()) => Source::Announced(clock.now().uptime, session.local_ip()),
        None => Source::Failed,
    });
    let (mut pairs, mut event) = (Vec::new(), Event::Started);
    loop {
        let mut waiting = Vec::new();
        for from in wanted {
            let source = &members[from];
            let (since, ip) = match source.source.get() {
                Source::Waiting => {
                    waiting.push(from);
                    continue;
                }
                Source::Failed => {
                    let outcome = Err(Reason::NotTried(source.url.to_string()));
                    pairs.push(Pair { from, to: at, outcome });
                    continue;
                }
                Source::Announced(since, ip) => (since, ip),
            };
            let (info_hash, port) = (source.identities.source.info_hash, source.identities.source.port);
            let params = AnnounceParams { info_hash, event, ..me.identities.looker };
            let expected = Expected { me: params.port, must: Some((port, ip)), ..expected.clone() };
            let found = session.announce(&params).await.and_then(|reply| expected.judge(&reply));
            let (took, within) = (clock.now().uptime.saturating_sub(since), spec.limits.replication);
            match found {
                Ok(_) if took <= within => pairs.push(Pair { from, to: at, outcome: Ok(took) }),
                Err(_) if took < within => waiting.push(from),
                found => {
                    let last = found.err().filter(|reason| !matches!(reason, Reason::Missing(_))).map(Box::new);
                    pairs.push(Pair { from, to: at, outcome: Err(Reason::NotReplicated { within, last }) });
                }
            }
        }
        if waiting.is_empty() {
            return pairs;
        }
        (wanted, event) = (waiting, Event::None);
        sleep(POLL).await;
    }
}
