//! The expected answers: the swarm is new, so its members are known.

use std::net::IpAddr;
use std::ops::RangeInclusive;

use super::reason::Reason;
use super::session::Reply;
use crate::client::is_near;
use crate::swarm::{Counts, PeerAddr};

/// Public tracker checkers reject intervals outside this range; within [`INTERVAL`] they are only a warning here.
const USUAL_INTERVAL: RangeInclusive<u32> = 300..=10_800;
/// The intervals that clients accept, in seconds.
const INTERVAL: RangeInclusive<u32> = 1..=10_800;

/// The expected answer to an announce.
#[derive(Clone, Debug)]
pub struct Expected {
    /// The port of the announcing peer, which must not be returned.
    pub me: u16,
    /// The port of the peer that must be returned, and the address that it was announced from.
    pub must: Option<(u16, IpAddr)>,
    /// Ports of other peers that may be returned.
    pub may: Vec<u16>,
    /// The valid seeder counts. Trackers differ in whether they count the announcing peer.
    pub seeders: RangeInclusive<u32>,
    /// The valid leecher counts.
    pub leechers: RangeInclusive<u32>,
    /// Whether a stale answer is accepted.
    pub allow_stale: bool,
}

impl Expected {
    /// Judges an answer and returns the peer that it had to contain.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn judge(&self, reply: &Reply) -> Result<Option<PeerAddr>, Reason> {
        if reply.stale && !self.allow_stale {
            return Err(Reason::Stale);
        }
        // A min interval of zero is the same as none.
        for interval in std::iter::once(reply.interval).chain(reply.min_interval.filter(|min| *min > 0)) {
            if !INTERVAL.contains(&interval) {
                return Err(Reason::Interval(interval));
            }
        }
        let mut found = None;
        for (at, peer) in reply.peers.iter().enumerate() {
            if peer.port() == self.me {
                return Err(Reason::Own(*peer));
            }
            if reply.peers[..at].contains(peer) {
                return Err(Reason::Repeated(*peer));
            }
            match self.must {
                Some((port, ip)) if port == peer.port() => {
                    if !may_be_seen_as(ip, peer.ip()) {
                        return Err(Reason::Address { returned: *peer, ip });
                    }
                    found = Some(*peer);
                }
                _ if self.may.contains(&peer.port()) => {}
                _ => return Err(Reason::Unexpected(*peer)),
            }
        }
        if let (Some((port, _)), None) = (self.must, found) {
            return Err(Reason::Missing(port));
        }
        for (what, count, expected) in
            [("seeders", reply.seeders, &self.seeders), ("leechers", reply.leechers, &self.leechers)]
        {
            if let Some(count) = count.filter(|count| !expected.contains(count)) {
                return Err(Reason::Counts(format!("{count} {what} instead of {}", text(expected))));
            }
        }
        Ok(found)
    }
}

/// Judges the counts of a scrape.
///
/// # Errors
/// [`Reason::Counts`].
pub fn judge_counts(counts: &Counts, expected: &Counts) -> Result<(), Reason> {
    let numbers = |counts: &Counts| [counts.seeders, counts.leechers, counts.completed];
    if numbers(counts) == numbers(expected) {
        return Ok(());
    }
    let text = |counts| {
        let [seeders, leechers, completed] = numbers(counts);
        format!("{seeders} seeders, {leechers} leechers and {completed} completed downloads")
    };
    Err(Reason::Counts(format!("{} instead of {}", text(counts), text(expected))))
}

/// Oddities that are not failures.
pub fn warnings(reply: &Reply) -> Vec<String> {
    let mut warnings = Vec::new();
    if !USUAL_INTERVAL.contains(&reply.interval) {
        warnings.push(format!("the interval is {} s, and clients expect 300 to 10800 s", reply.interval));
    }
    if let Some(min) = reply.min_interval.filter(|min| *min > reply.interval) {
        warnings.push(format!("the min interval of {min} s is longer than the interval of {} s", reply.interval));
    }
    if let Some(text) = &reply.warning {
        warnings.push(format!("the tracker says: {text}"));
    }
    if reply.stale {
        warnings.push("the tracker says that its answer may be out of date".into());
    }
    warnings
}

/// Whether a tracker may see a host that sends from `local` at the address `seen`. NAT changes private addresses, and so
/// does a tracker that gives out an external address for its neighbours. Public addresses do not change.
fn may_be_seen_as(local: IpAddr, seen: IpAddr) -> bool {
    seen == local || (is_near(local) && !seen.is_loopback() && !seen.is_unspecified() && !seen.is_multicast())
}

fn text(range: &RangeInclusive<u32>) -> String {
    if range.start() == range.end() {
        range.start().to_string()
    } else {
        format!("{} to {}", range.start(), range.end())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCAL: &str = "127.0.0.1";

    fn peer(text: &str) -> PeerAddr {
        let addr: std::net::SocketAddr = text.parse().unwrap();
        PeerAddr::new(addr.ip(), addr.port())
    }

    fn reply(peers: &[&str]) -> Reply {
        let peers = peers.iter().map(|text| peer(text)).collect();
        let (seeders, leechers) = (Some(1), Some(1));
        Reply { interval: 1800, min_interval: None, seeders, leechers, peers, warning: None, stale: false }
    }

    fn expected() -> Expected {
        Expected {
            me: 2,
            must: Some((1, LOCAL.parse().unwrap())),
            may: vec![3],
            seeders: 1..=1,
            leechers: 0..=1,
            allow_stale: false,
        }
    }

    #[test]
    fn the_swarm_is_known_exactly() {
        let judge = |peers: &[&str]| expected().judge(&reply(peers)).map_err(|reason| reason.word());
        assert_eq!(judge(&["127.0.0.1:1"]), Ok(Some(peer("127.0.0.1:1"))));
        assert_eq!(judge(&["127.0.0.1:3", "127.0.0.1:1"]), Ok(Some(peer("127.0.0.1:1"))));
        assert_eq!(judge(&[]), Err("missing_peer"));
        assert_eq!(judge(&["127.0.0.1:3"]), Err("missing_peer"));
        assert_eq!(judge(&["127.0.0.1:1", "127.0.0.1:2"]), Err("own_address"));
        assert_eq!(judge(&["127.0.0.1:1", "127.0.0.1:4"]), Err("unexpected_peer"));
        assert_eq!(judge(&["127.0.0.1:1", "127.0.0.1:1"]), Err("repeated_peer"));
        assert_eq!(judge(&["127.0.0.2:1"]), Err("wrong_address"));
    }

    #[test]
    fn numbers_are_checked() {
        let judge = |change: fn(&mut Reply)| {
            let mut reply = reply(&["127.0.0.1:1"]);
            change(&mut reply);
            expected().judge(&reply).map(|_| warnings(&reply).len()).map_err(|reason| reason.word())
        };
        assert_eq!(judge(|_| {}), Ok(0));
        assert_eq!(judge(|reply| reply.seeders = Some(0)), Err("counts"));
        assert_eq!(judge(|reply| reply.leechers = Some(2)), Err("counts"));
        assert_eq!(judge(|reply| (reply.seeders, reply.leechers) = (None, None)), Ok(0));
        assert_eq!(judge(|reply| reply.interval = 0), Err("interval"));
        assert_eq!(judge(|reply| reply.interval = 10_801), Err("interval"));
        assert_eq!(judge(|reply| reply.min_interval = Some(20_000)), Err("interval"));
        assert_eq!(judge(|reply| reply.min_interval = Some(0)), Ok(0));
        assert_eq!(judge(|reply| reply.min_interval = Some(1801)), Ok(1));
        assert_eq!(judge(|reply| reply.interval = 299), Ok(1));
        assert_eq!(judge(|reply| reply.warning = Some("old".into())), Ok(1));
        assert_eq!(judge(|reply| reply.stale = true), Err("stale"));
        let allowed = Expected { allow_stale: true, ..expected() };
        assert!(allowed.judge(&Reply { stale: true, ..reply(&["127.0.0.1:1"]) }).is_ok());
    }

    #[test]
    fn a_scrape_must_return_exact_counts() {
        let there = Counts { seeders: 1, leechers: 1, ..Counts::default() };
        assert_eq!(judge_counts(&there, &there), Ok(()));
        for wrong in [Counts::default(), Counts { completed: 1, ..there }, Counts { leechers: 2, ..there }] {
            assert!(matches!(judge_counts(&wrong, &there), Err(Reason::Counts(_))));
        }
    }

    #[test]
    fn only_nat_may_change_an_address() {
        for (local, seen, valid) in [
            ("127.0.0.1", "127.0.0.1", true),
            ("127.0.0.1", "192.0.2.1", true),
            ("127.0.0.1", "127.0.0.2", false),
            ("192.168.1.2", "203.0.113.9", true),
            ("192.168.1.2", "0.0.0.0", false),
            ("203.0.113.9", "203.0.113.9", true),
            ("203.0.113.9", "10.0.0.1", false),
            ("::1", "2001:db8::1", true),
        ] {
            assert_eq!(may_be_seen_as(local.parse().unwrap(), seen.parse().unwrap()), valid, "{local} {seen}");
        }
    }
}
