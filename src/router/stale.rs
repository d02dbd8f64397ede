//! The last answers of other nodes, for when none of them answers.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use lru::LruCache;
use parking_lot::Mutex;

use crate::swarm::{Counts, Family};

/// The age from which an answer is replaced by a newer one. Popular swarms are answered many times a second, and storing
/// each answer would be a waste.
const FRESH: Duration = Duration::from_secs(1);

/// A bounded cache of answers, which drops the least recently used.
pub struct StaleCache {
    entries: Option<Mutex<LruCache<(u64, Family), Entry>>>,
    ttl: Duration,
    /// Answers given from it, since the start.
    pub served: AtomicU64,
}

struct Entry {
    at: Duration,
    counts: Counts,
    peers: Box<[u8]>,
}

impl StaleCache {
    /// An empty cache of up to `swarms` answers, none of them older than `ttl`, the lifetime of a peer.
    pub fn new(swarms: usize, ttl: Duration) -> Self {
        let entries = NonZeroUsize::new(swarms).map(|swarms| {
            // Grows as it is filled: most nodes never need all of it.
            let mut entries = LruCache::unbounded();
            entries.resize(swarms);
            Mutex::new(entries)
        });
        Self { entries, ttl, served: AtomicU64::new(0) }
    }

    /// Stores an answer for the swarm with this keyed hash.
    pub fn put(&self, hash: u64, family: Family, counts: &Counts, peers: &[u8], now: Duration) {
        let Some(entries) = &self.entries else { return };
        // An empty list helps no client.
        if peers.is_empty() {
            return;
        }
        let mut entries = entries.lock();
        let fresh = entries.peek(&(hash, family)).is_some_and(|entry| now.saturating_sub(entry.at) < FRESH);
        if !fresh {
            entries.put((hash, family), Entry { at: now, counts: *counts, peers: peers.into() });
        }
    }

    /// The last answer for a swarm: its counts and up to `want` peers, in the compact form of the family.
    pub fn get(&self, hash: u64, family: Family, want: u16, now: Duration) -> Option<(Counts, Vec<u8>)> {
        let mut entries = self.entries.as_ref()?.lock();
        let entry = entries.get(&(hash, family)).filter(|entry| now.saturating_sub(entry.at) <= self.ttl)?;
        let bytes = entry.peers.len().min(usize::from(want) * family.stride());
        self.served.fetch_add(1, Relaxed);
        Some((entry.counts, entry.peers[..bytes].to_vec()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn it_keeps_the_last_answer_for_as_long_as_its_peers_live() {
        let cache = StaleCache::new(2, 60 * SECOND);
        let counts = Counts { seeders: 1, ..Counts::default() };
        cache.put(1, Family::V4, &counts, &[1; 12], SECOND);
        assert_eq!(cache.get(1, Family::V4, 50, 61 * SECOND), Some((counts, vec![1; 12])));
        assert_eq!(cache.get(1, Family::V4, 1, 61 * SECOND), Some((counts, vec![1; 6])));
        assert_eq!(cache.get(1, Family::V6, 1, SECOND), None);
        assert_eq!(cache.get(1, Family::V4, 50, 62 * SECOND), None);
        cache.put(1, Family::V4, &counts, &[2; 6], 3 * SECOND);
        assert_eq!(cache.get(1, Family::V4, 50, 3 * SECOND).unwrap().1, [2; 6]);
        assert_eq!(cache.served.load(Relaxed), 3);
    }

    #[test]
    fn it_is_bounded_and_can_be_off() {
        let cache = StaleCache::new(2, SECOND);
        (0..3).for_each(|hash| cache.put(hash, Family::V4, &Counts::default(), &[0; 6], SECOND));
        let held: Vec<_> = (0..3).filter(|hash| cache.get(*hash, Family::V4, 1, SECOND).is_some()).collect();
        assert_eq!(held, [1, 2]);
        let off = StaleCache::new(0, SECOND);
        off.put(0, Family::V4, &Counts::default(), &[0; 6], SECOND);
        assert_eq!(off.get(0, Family::V4, 1, SECOND), None);
    }
}
