//! Requests that were delayed because this node was paused. The node that sent one has asked another node long ago, and its
//! client may have announced something else since; applied now it would override that.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;

use crate::cluster::NodeId;
use crate::wire::peer::announces::Sent;

/// How much faster one node's clock may run than another's.
const DRIFT: u32 = 1000;

/// How long requests of each other node take, by the difference between two unrelated clocks that do not jump: the least
/// difference seen is that of a request that did not wait.
#[derive(Default)]
pub struct Lateness {
    nodes: Mutex<HashMap<NodeId, Pace>>,
}

struct Pace {
    incarnation: u64,
    /// The least difference in milliseconds, as of `at`.
    least: i64,
    at: Duration,
}

impl Lateness {
    /// Whether a request took longer than `limit` to get here.
    pub fn is_late(&self, from: &NodeId, sent: Sent, now: Duration, limit: Duration) -> bool {
        let millis = |time: Duration| i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
        let difference = millis(now).saturating_sub_unsigned(sent.millis);
        let mut nodes = self.nodes.lock();
        if let Some(pace) = nodes.get_mut(from).filter(|pace| pace.incarnation == sent.incarnation) {
            let drift = millis(now.saturating_sub(pace.at) / DRIFT);
            // Less than a millisecond of drift counts from the last time on.
            if drift > 0 || difference < pace.least {
                pace.least = difference.min(pace.least.saturating_add(drift));
                pace.at = now;
            }
            return difference.saturating_sub(pace.least) > millis(limit);
        }
        nodes.insert(from.clone(), Pace { incarnation: sent.incarnation, least: difference, at: now });
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_millis(250);

    fn late(lateness: &Lateness, sent: u64, now: u64) -> bool {
        lateness.is_late(&"a".into(), Sent { incarnation: 1, millis: sent }, Duration::from_millis(now), LIMIT)
    }

    #[test]
    fn what_waited_for_a_node_that_stood_still_is_late() {
        let lateness = Lateness::default();
        assert!(!late(&lateness, 1_000_000, 50_040));
        assert!(!late(&lateness, 1_000_100, 50_101));
        assert!(!late(&lateness, 1_000_200, 50_451));
        assert!(late(&lateness, 1_000_200, 50_452));
        assert!(late(&lateness, 1_001_000, 60_000));
        assert!(!late(&lateness, 1_010_000, 60_001), "new requests are not");
    }

    #[test]
    fn a_clock_that_runs_slower_is_followed() {
        let lateness = Lateness::default();
        assert!(!late(&lateness, 0, 0));
        // A hundredth of a second in a minute, for an hour.
        assert!((1..=60u64).all(|minute| !late(&lateness, minute * 60_000, minute * 60_010)));
        assert!(late(&lateness, 60 * 60_000, 60 * 60_010 + 300));
    }

    #[test]
    fn a_new_start_has_a_clock_of_its_own() {
        let lateness = Lateness::default();
        assert!(!late(&lateness, 1_000_000, 50_000));
        let restarted = Sent { incarnation: 2, millis: 5 };
        assert!(!lateness.is_late(&"a".into(), restarted, Duration::from_secs(60), LIMIT));
    }
}
