//! Digests of a partition: 512 bytes that show whether two copies are equal, and where they differ.
//!
//! A swarm lies in one of [`BUCKETS`] buckets by its keyed hash, which all nodes of a cluster share. A bucket's value is
//! the sum of a 64-bit mix for each record of the two families, over swarm, peer and stamp, and of one for each completed
//! count. Sums need no order and can be made in steps. Ages are not in them: copies of a record may differ in age by up
//! to a quarter of the lifetime ([`Record::renewal_due`]).
//!
//! Only records in a [`Window`] of stamps count. Those that are younger may be on their way to the other node, and those
//! that are older may be expired there already. The window is of absolute time and the same for both sides, so it does
//! not matter that their clocks differ, only that changes travel faster than its lag.

use std::time::Duration;

use crate::clock::Now;
use crate::faults;
use crate::partition::Partitions;
use crate::partition::anti_entropy::scan::{ScanCursor, ScanScope, ScannedSwarm, Visitor, bucket};
use crate::swarm::{AddressFamily, InfoHash, Partition, Record, Second};
pub use crate::wire::peer::BUCKETS;

/// The stamps that count, from `from` to before `to`, in milliseconds of the hybrid logical clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    pub from: u64,
    pub to: u64,
}

impl Window {
    /// What is compared at `wall_millis`: stamps older than `lag`, within which changes reach all copies, and younger than
    /// the lifetime of a peer minus `margin`, within which copies may expire at different times.
    pub fn at(wall_millis: u64, peer_ttl: u16, lag: Duration, margin: Duration) -> Self {
        let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let lag = if faults::DIGEST_UNSTABLE.is_on() { 0 } else { millis(lag) };
        let lifetime = (u64::from(peer_ttl) * 1_000).saturating_sub(millis(margin));
        Self { from: wall_millis.saturating_sub(lifetime), to: wall_millis.saturating_sub(lag) }
    }

    fn contains<F: AddressFamily>(&self, record: &Record<F>) -> bool {
        (self.from..self.to).contains(&record.stamp.time().millis())
    }
}

/// The value of each bucket.
pub type Digest = [u64; BUCKETS];

/// Makes a digest in steps. Each is one visit to the owner, whose store may change between them.
#[derive(Debug)]
pub struct DigestWalk {
    partition: Partition,
    cursor: Option<ScanCursor>,
    sums: Sums,
}

#[derive(Debug)]
struct Sums {
    window: Window,
    digest: Digest,
    now: Second,
    ttl: u16,
    /// A large swarm, of which an earlier slice had a record in the window.
    begun: Option<InfoHash>,
}

impl DigestWalk {
    /// Records and swarms of a step, which takes half a millisecond.
    pub const STEP: usize = 2_048;

    pub fn new(partition: Partition, window: Window) -> Self {
        let sums = Sums { window, digest: [0; BUCKETS], now: Second::default(), ttl: 0, begun: None };
        Self { partition, cursor: Some(ScanCursor::START), sums }
    }

    /// Adds up to `budget` records and swarms. Returns true after the last step.
    pub fn step(&mut self, partitions: &Partitions, now: Now, budget: usize) -> bool {
        self.sums.now = Second::new(now.uptime.as_secs());
        self.sums.ttl = partitions.v4.ttl();
        let scope = ScanScope { partition: self.partition, buckets: u64::MAX, budget };
        self.cursor = self.cursor.take().and_then(|cursor| cursor.scan(partitions, scope, &mut self.sums));
        self.cursor.is_none()
    }

    /// The digest, complete after the last step.
    pub fn digest(&self) -> &Digest {
        &self.sums.digest
    }
}

impl Visitor for Sums {
    fn visit<F: AddressFamily>(&mut self, ScannedSwarm { hash, info_hash, completed, records }: ScannedSwarm<'_, F>) {
        let swarm = mix(hash ^ F::FAMILY.stride() as u64);
        let (mut sum, mut any) = (0u64, self.begun == Some(info_hash));
        for record in records {
            if self.window.contains(record) && !record.expired(self.now, self.ttl) {
                sum = sum.wrapping_add(value(swarm, record.key.as_ref(), record.stamp.to_bits()));
                any = true;
            }
        }
        match completed {
            Some(completed) if any && completed > 0 => sum = sum.wrapping_add(value(swarm, &[], completed.into())),
            _ => {}
        }
        self.begun = (any && completed.is_none()).then_some(info_hash);
        self.digest[bucket(hash)] = self.digest[bucket(hash)].wrapping_add(sum);
    }
}

/// What one record adds. Clients choose keys, but they do not know the hash of the swarm, on which every value depends.
fn value(swarm: u64, key: &[u8], last: u64) -> u64 {
    let mut value = swarm;
    for part in key.chunks(8) {
        let mut bytes = [0; 8];
        bytes[..part.len()].copy_from_slice(part);
        value = mix(value ^ u64::from_le_bytes(bytes));
    }
    mix(value.wrapping_add(last))
}

/// The finalizer of MurmurHash3 with the constants of Stafford's variant 13.
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests;
