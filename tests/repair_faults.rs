//! The planted mistakes of `tidings::faults` do harm; otherwise a simulation that turns them on would prove nothing. They
//! belong to the process, so these tests have one of their own.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tidings::clock::Now;
use tidings::faults;
use tidings::partition::Partitions;
use tidings::partition::anti_entropy::chunk::{Chunk, chunk};
use tidings::partition::anti_entropy::digest::{DigestWalk, Window};
use tidings::partition::anti_entropy::pull::{LocalCopy, PullError, PullOptions, Pulled, RemoteCopy, pull};
use tidings::partition::anti_entropy::scan::ScanScope;
use tidings::partition::merge::{MergeCounts, merge_chunk, merge_deltas};
use tidings::partition::record_codec::{CheckedBatch, RecordBatch};
use tidings::swarm::{
    AddressFamily, Announce, Event, Hlc, InfoHash, KeyedHash, Partition, PartitionCount, PeerAddr, Quota, Record, Role,
    Second, V4,
};

const TTL: u16 = 2_700;

struct Node {
    partitions: Mutex<Partitions>,
    clock: Mutex<Hlc>,
    now: Mutex<Now>,
}

impl Node {
    fn new() -> Self {
        let quota = Arc::new(Quota::new(1_000, 1_000, 1_000));
        let partitions = Partitions::new(KeyedHash::new(&[1; 16]), PartitionCount::new(1), TTL, &quota);
        let now = Now { uptime: Duration::from_secs(9), wall_millis: 1_700_000_000_000 };
        Self { partitions: Mutex::new(partitions), clock: Mutex::default(), now: Mutex::new(now) }
    }

    /// Applies an announce and returns its delta.
    fn announce(&self, number: u8, event: Event) -> Vec<u8> {
        let (now, mut partitions) = (*self.now.lock(), self.partitions.lock());
        let (info_hash, second) = (InfoHash([number; 20]), Second::new(now.uptime.as_secs()));
        let peer = PeerAddr::new([10, 0, 0, number].into(), 80);
        let announce = Announce { info_hash, peer, event, seeder: false, num_want: 0 };
        let (hash, time) = (partitions.v4.hash(&info_hash), self.clock.lock().tick(now.wall_millis));
        let outcome = partitions.v4.announce(hash, &announce, V4::key(peer).unwrap(), second, time);
        let mut pieces = RecordBatch::default();
        pieces.push_one(&info_hash, &outcome.change.unwrap(), second);
        pieces.into_bytes()
    }

    fn deliver(&self, delta: &[u8]) {
        let batch = CheckedBatch::new(delta).unwrap();
        merge_deltas(batch, 0, &mut self.partitions.lock(), *self.now.lock(), |_, _| {});
    }

    fn pass(&self, seconds: u64) {
        let mut now = self.now.lock();
        now.uptime += Duration::from_secs(seconds);
        now.wall_millis += seconds * 1_000;
    }

    fn record(&self, number: u8) -> Option<Record<V4>> {
        self.partitions.lock().v4.records(&InfoHash([number; 20])).first().copied()
    }
}

impl RemoteCopy for Node {
    async fn digest(&self, partition: Partition, window: Window) -> Result<Vec<u64>, PullError> {
        let mut walk = DigestWalk::new(partition, window);
        while !walk.step(&self.partitions.lock(), *self.now.lock(), 10) {}
        Ok(walk.digest().to_vec())
    }

    async fn fetch(&self, partition: Partition, buckets: u64, cursor: Vec<u8>) -> Result<Chunk, PullError> {
        let scope = ScanScope { partition, buckets, budget: 10 };
        chunk(&self.partitions.lock(), *self.now.lock(), &cursor, scope).map_err(|_| PullError::Malformed)
    }
}

impl LocalCopy for Node {
    async fn digest(&self, partition: Partition, window: Window) -> Result<Vec<u64>, PullError> {
        RemoteCopy::digest(self, partition, window).await
    }

    async fn merge(&self, pieces: Vec<u8>, waited: u32) -> Result<MergeCounts, PullError> {
        merge_chunk(&pieces, waited, &mut self.partitions.lock(), *self.now.lock()).map_err(|_| PullError::Malformed)
    }

    fn now(&self) -> Now {
        *self.now.lock()
    }

    async fn pause(&self, _: Duration) {}
}

fn pulled(from: &Node, to: &Node) -> Pulled {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(pull(from, to, Partition(0), PullOptions::new(TTL))).unwrap()
}

#[test]
fn each_planted_fault_does_harm_and_only_when_on() {
    for on in [false, true] {
        // A lost chunk goes unnoticed.
        let (a, b) = (Node::new(), Node::new());
        (0..50).for_each(|number| _ = a.announce(number, Event::Started));
        [&a, &b].into_iter().for_each(|node| node.pass(10));
        faults::LOSE_CHUNK.set(on);
        assert!(pulled(&a, &b).in_sync, "the pull reports success either way");
        assert_eq!(b.partitions.lock().v4.len() < 50, on);
        assert!(!faults::LOSE_CHUNK.is_on(), "one chunk only");
        assert!(pulled(&a, &b).in_sync);
        assert_eq!(b.partitions.lock().v4.len(), 50, "the next pull repairs it");

        // A peer that has stopped lives on.
        faults::DROP_TOMBSTONES_EARLY.set(on);
        b.deliver(&a.announce(1, Event::Stopped));
        a.announce(2, Event::Stopped);
        [&a, &b].into_iter().for_each(|node| node.pass(10));
        assert_eq!(pulled(&a, &b).buckets_left > 0, on);
        for number in [1, 2] {
            assert_eq!(b.record(number).map(|it| it.role()), Some(if on { Role::Leecher } else { Role::Stopped }));
        }
        faults::DROP_TOMBSTONES_EARLY.set(false);
        assert!(pulled(&a, &b).in_sync);

        // Changes in flight make copies look different.
        faults::DIGEST_UNSTABLE.set(on);
        a.announce(200, Event::Started);
        [&a, &b].into_iter().for_each(|node| node.pass(1));
        assert_eq!(pulled(&a, &b).buckets_differed > 0, on);
        faults::DIGEST_UNSTABLE.set(false);
    }
}
