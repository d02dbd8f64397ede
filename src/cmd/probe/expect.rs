//! What an announce has to be answered with: the swarm is a new one, so who is in it is known.

use std::net::IpAddr;
use std::ops::RangeInclusive;

use super::reason::Reason;
use super::session::Reply;
use crate::client::is_near;
use crate::swarm::{Counts, PeerAddr};

/// Public checkers of trackers refuse what is outside; inside of 1 to 10800 s it is no failure.
const USUAL_INTERVAL: RangeInclusive<u32> = 300..=10_800;
/// What clients can make sense of, in seconds.
const INTERVAL: RangeInclusive<u32> = 1..=10_800;

/// The answer that an announce has to get.
#[derive(Clone, Debug)]
pub struct Expected {
    /// The port of the peer that announces, of which it must not be told.
    pub me: u16,
    /// The port of the peer that has to be told, and the address that it was announced from.
    pub must: Option<(u16, IpAddr)>,
    /// Ports of others that may be told.
    pub may: Vec<u16>,
    /// The seeders that there are. Trackers differ in whether they count whoever announces.
    pub seeders: RangeInclusive<u32>,
    /// The leechers that there are.
    pub leechers: RangeInclusive<u32>,
    /// A stale answer will do.
    pub allow_stale: bool,
}

impl Expected {
    /// Judges an answer. Returns the peer that had to be told.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn judge(&self, reply: &Reply) -> Result<Option<PeerAddr>, Reason> {
        if reply.stale && !self.allow_stale {
            return Err(Reason::Stale);
        }
        // A min interval of nothing is the same as none.
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
                        return Err(Reason::Address { told: *peer, ip });
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
        for (what, told, there) in
            [("seeders", reply.seeders, &self.seeders), ("leechers", reply.leechers, &self.leechers)]
        {
            if let Some(told) = told.filter(|told| !there.contains(told)) {
                return Err(Reason::Counts(format!("{told} {what} where there are {}", text(there))));
            }
        }
        Ok(found)
    }
}

/// Judges the counts of a scrape.
///
/// # Errors
/// [`Reason::Counts`].
pub fn judge_counts(told: &Counts, expected: &Counts) -> Result<(), Reason> {
    let numbers = |counts: &Counts| [counts.seeders, counts.leechers, counts.completed];
    if numbers(told) == numbers(expected) {
        return Ok(());
    }
    let text = |counts| {
        let [seeders, leechers, completed] = numbers(counts);
        format!("{seeders} seeders, {leechers} leechers and {completed} completed downloads")
    };
    Err(Reason::Counts(format!("{} where there are {}", text(told), text(expected))))
}

/// What is no failure, and yet not as it should be.
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

/// Whether a tracker may see a host that sends from `local` as `told`. Behind NAT, or near a tracker that tells an external
/// address for its neighbours, that is another address. A public address stays what it is, and nobody far away is seen as
/// something near.
fn may_be_seen_as(local: IpAddr, told: IpAddr) -> bool {
    told == local || (is_near(local) && !told.is_loopback() && !told.is_unspecified() && !told.is_multicast())
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
    fn a_scrape_has_to_tell_the_very_counts() {
        let there = Counts { seeders: 1, leechers: 1, ..Counts::default() };
        assert_eq!(judge_counts(&there, &there), Ok(()));
        for wrong in [Counts::default(), Counts { completed: 1, ..there }, Counts { leechers: 2, ..there }] {
            assert!(matches!(judge_counts(&wrong, &there), Err(Reason::Counts(_))));
        }
    }

    #[test]
    fn nat_may_change_an_address_and_nothing_else_may() {
        for (local, told, good) in [
            ("127.0.0.1", "127.0.0.1", true),
            ("127.0.0.1", "192.0.2.1", true),
            ("127.0.0.1", "127.0.0.2", false),
            ("192.168.1.2", "203.0.113.9", true),
            ("192.168.1.2", "0.0.0.0", false),
            ("203.0.113.9", "203.0.113.9", true),
            ("203.0.113.9", "10.0.0.1", false),
            ("::1", "2001:db8::1", true),
        ] {
            assert_eq!(may_be_seen_as(local.parse().unwrap(), told.parse().unwrap()), good, "{local} {told}");
        }
    }
}
