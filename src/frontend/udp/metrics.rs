//! What the UDP frontends count.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// What became of a datagram. Each is counted once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Outcome {
    /// A connect request, answered.
    Connect,
    /// An announce, handed to its owner.
    Announce,
    /// A scrape, answered.
    Scrape,
    /// Announce or scrape with a connection id that is old, foreign or made up; answered with an error.
    BadConnectionId,
    /// Malformed; answered with an error if its connection id is valid, and else dropped.
    Malformed,
    /// Refused by the access list; answered with an error.
    Forbidden,
    /// Dropped because its owner, or the scrapes in flight, are at their limit.
    Shed,
    /// Dropped because it cannot be answered: its source port is 0, or it is longer than any request.
    Unanswerable,
}

impl Outcome {
    /// Every outcome, with the values of its metric labels `action` and `outcome`.
    pub const ALL: [(Self, &'static str, &'static str); 8] = [
        (Self::Connect, "connect", "ok"),
        (Self::Announce, "announce", "ok"),
        (Self::Scrape, "scrape", "ok"),
        (Self::BadConnectionId, "unknown", "bad_connection_id"),
        (Self::Malformed, "unknown", "malformed"),
        (Self::Forbidden, "announce", "forbidden"),
        (Self::Shed, "unknown", "shed"),
        (Self::Unanswerable, "unknown", "unanswerable"),
    ];
}

/// Counts of one family's datagrams by outcome, since the start.
#[derive(Debug, Default)]
pub struct UdpMetrics {
    counts: [AtomicU64; Outcome::ALL.len()],
}

/// Counts of one batch, to be added to [`UdpMetrics`] at once.
#[derive(Debug, Default)]
pub struct BatchCounts([u64; Outcome::ALL.len()]);

impl UdpMetrics {
    /// Datagrams with this outcome.
    pub fn get(&self, outcome: Outcome) -> u64 {
        self.counts[outcome as usize].load(Relaxed)
    }

    /// Adds a batch.
    pub fn add(&self, batch: &BatchCounts) {
        for (count, more) in self.counts.iter().zip(batch.0) {
            if more > 0 {
                count.fetch_add(more, Relaxed);
            }
        }
    }
}

impl BatchCounts {
    /// Counts `more` datagrams.
    pub fn count(&mut self, outcome: Outcome, more: usize) {
        self.0[outcome as usize] += more as u64;
    }

    /// Corrects the outcome of announces of this batch that their owner could not take.
    pub fn shed(&mut self, announces: usize) {
        self.0[Outcome::Announce as usize] -= announces as u64;
        self.0[Outcome::Shed as usize] += announces as u64;
    }
}
