//! Owners in memory, as nodes that exchange records in tests.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Now;
use crate::partition::Partitions;
use crate::partition::anti_entropy::digest::{DigestWalk, Window};
use crate::partition::merge::{AnyRecord, MergeCounts, StoredFamily};
use crate::partition::record_codec::{self, CheckedBatch, RecordBatch};
use crate::swarm::*;
use crate::swarm::{Partition, PartitionCount};

pub const TTL: u16 = 2_700;
pub const WALL: u64 = 1_700_000_000_000;

pub fn info_hash(swarm: u32) -> InfoHash {
    let mut bytes = [7; 20];
    bytes[..4].copy_from_slice(&swarm.to_be_bytes());
    InfoHash(bytes)
}

pub fn peer(v6: bool, number: u32) -> PeerAddr {
    let ip = if v6 {
        (0x2001_0db8_u128 << 96 | u128::from(number)).to_be_bytes().into()
    } else {
        number.to_be_bytes().into()
    };
    PeerAddr::new(ip, 80)
}

/// Stamps by swarm and peer.
pub type Records = BTreeMap<(InfoHash, PeerAddr), Stamp>;
/// Completed counts by family (true is IPv6) and swarm.
pub type Completed = BTreeMap<(bool, InfoHash), u32>;

/// An owner's data, and the time there.
pub struct Node {
    pub partitions: Partitions,
    pub hash: KeyedHash,
    pub now: Now,
    clock: Hlc,
}

impl Node {
    pub fn new(partitions: PartitionCount, uptime: u64, wall_millis: u64) -> Self {
        let hash = KeyedHash::new(&[1; 16]);
        let quota = Arc::new(Quota::new(1 << 20, 1 << 21, 1 << 21));
        let now = Now { uptime: Duration::from_secs(uptime), wall_millis };
        Self { partitions: Partitions::new(hash, partitions, TTL, &quota), hash, now, clock: Hlc::default() }
    }

    pub fn second(&self) -> Second {
        Second::new(self.now.uptime.as_secs())
    }

    pub fn pass(&mut self, millis: u64) {
        self.now.uptime += Duration::from_millis(millis);
        self.now.wall_millis += millis;
    }

    /// Applies an announce, and returns its delta, if it has one.
    pub fn announce(&mut self, v6: bool, swarm: u32, number: u32, event: Event, seeder: bool) -> Option<Vec<u8>> {
        let (info_hash, peer) = (info_hash(swarm), peer(v6, number));
        let announce = Announce { info_hash, peer, event, seeder, num_want: 0 };
        let time = self.clock.tick(self.now.wall_millis);
        let (hash, second) = (self.hash.info_hash(&info_hash), self.second());
        fn apply<F: StoredFamily>(
            it: &mut Partitions,
            hash: u64,
            announce: &Announce,
            now: Second,
            time: HlcTime,
        ) -> Option<AnyRecord> {
            let key = F::key(announce.peer).unwrap();
            F::store_mut(it).announce(hash, announce, key, now, time).change.map(F::any)
        }
        let it = &mut self.partitions;
        let change = match v6 {
            false => apply::<V4>(it, hash, &announce, second, time),
            true => apply::<V6>(it, hash, &announce, second, time),
        };
        let mut batch = RecordBatch::default();
        match change? {
            AnyRecord::V4(record) => batch.push_one(&info_hash, &record, second),
            AnyRecord::V6(record) => batch.push_one(&info_hash, &record, second),
        }
        Some(batch.into_bytes())
    }

    /// Lets the clock follow records of another node, as an owner's clock does.
    fn observe(&mut self, bytes: &[u8]) {
        for part in record_codec::swarms(bytes).map(Result::unwrap) {
            let (v4, v6) = (part.records::<V4>().map(|it| it.stamp), part.records::<V6>().map(|it| it.stamp));
            v4.chain(v6).for_each(|stamp| _ = self.clock.observe(stamp.time(), self.now.wall_millis));
        }
    }

    pub fn merge_deltas(&mut self, bytes: &[u8], waited: u32) -> Vec<InfoHash> {
        self.observe(bytes);
        let mut changed = Vec::new();
        let note = |info_hash: &InfoHash, _| changed.push(*info_hash);
        let batch = CheckedBatch::new(bytes).unwrap();
        crate::partition::merge::merge_deltas(batch, waited, &mut self.partitions, self.now, note);
        changed
    }

    pub fn merge_chunk(&mut self, bytes: &[u8], waited: u32) -> MergeCounts {
        self.observe(bytes);
        crate::partition::merge::merge_chunk(bytes, waited, &mut self.partitions, self.now).unwrap()
    }

    pub fn digest(&self, partition: Partition, window: Window, budget: usize) -> Vec<u64> {
        let mut walk = DigestWalk::new(partition, window);
        while !walk.step(&self.partitions, self.now, budget) {}
        walk.digest().to_vec()
    }

    /// All records with stamps in the window that are not expired, and the counts of their swarms.
    pub fn contents(&self, window: Window) -> (Records, Completed) {
        fn collect<F: StoredFamily>(node: &Node, window: Window, records: &mut Records, completed: &mut Completed) {
            let store = F::store(&node.partitions);
            for (info_hash, counts, swarm) in (0..store.len()).filter_map(|at| store.swarm(at)) {
                for record in swarm {
                    let millis = record.stamp.time().millis();
                    if millis >= window.from && millis < window.to && !record.expired(node.second(), TTL) {
                        records.insert((info_hash, F::peer(record.key)), record.stamp);
                        completed.insert((F::FAMILY == Family::V6, info_hash), counts.completed);
                    }
                }
            }
        }
        let mut records = Records::new();
        let mut completed = Completed::new();
        collect::<V4>(self, window, &mut records, &mut completed);
        collect::<V6>(self, window, &mut records, &mut completed);
        (records, completed)
    }

    pub fn counts(&self, swarm: u32) -> Counts {
        let info_hash = info_hash(swarm);
        self.partitions.counts(Family::V4, &self.hash.swarm_key(info_hash))
    }
}
