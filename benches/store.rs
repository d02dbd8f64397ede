//! What the store costs by itself: no sockets, no actors, no parsing.

#![expect(clippy::disallowed_methods, reason = "a bench measures by the real clock")]

use std::hint::black_box;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use tidings::clock::Now;
use tidings::partition::Partitions;
use tidings::partition::anti_entropy::chunk::{MAX_CHUNK, chunk};
use tidings::partition::anti_entropy::digest::{DigestWalk, Window};
use tidings::partition::anti_entropy::scan::ScanScope;
use tidings::partition::merge::merge_chunk;
use tidings::swarm::{
    AddressFamily, Announce, Event, Hlc, HlcTime, InfoHash, KeyedHash, PartitionCount, PeerAddr, Quota, Second, Store,
    V4,
};

const SWARMS: u32 = 1_000_000;
const PEERS: u32 = 2_000_000;
const TTL: u16 = 2700;
/// Requests that one drain of a busy socket finds.
const BATCH: usize = 16;

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: u32) -> u32 {
        (self.next() % u64::from(limit)) as u32
    }

    /// Zipf with exponent 1, by inversion: as many between 1 and 10 as between 10 and 100.
    fn zipf(&mut self, limit: u32) -> u32 {
        let uniform = (self.next() >> 11) as f64 / (1u64 << 53) as f64;
        (f64::from(limit).powf(uniform) as u32 - 1).min(limit - 1)
    }
}

struct Tracker {
    store: Store<V4>,
    hash: KeyedHash,
    clock: Hlc,
    now: u64,
}

impl Tracker {
    fn new() -> Self {
        let hash = KeyedHash::new(b"sixteen  secrets");
        let quota = Arc::new(Quota::new(usize::MAX, usize::MAX, usize::MAX));
        Self { store: Store::new(hash, PartitionCount::new(256), TTL, quota), hash, clock: Hlc::default(), now: 0 }
    }

    /// A swarm with as many leechers.
    fn with_swarm(peers: u32) -> Self {
        let mut tracker = Self::new();
        (0..peers).for_each(|number| tracker.announce(&announce(0, number), 0, &mut Vec::new()));
        tracker
    }

    fn announce(&mut self, announce: &Announce, random: u64, out: &mut Vec<u8>) {
        let (now, time) = (Second::new(self.now), self.clock.tick(self.now * 1000));
        let hash = self.hash.info_hash(&announce.info_hash);
        let Some(key) = V4::key(announce.peer) else { return };
        let outcome = self.store.announce(hash, announce, key, now, time);
        self.store.select(&outcome, announce.num_want.into(), now, random, out);
        black_box(outcome.counts);
    }

    fn touch_peers(&self, announce: &Announce) {
        let hash = self.hash.info_hash(&announce.info_hash);
        if let Some(key) = V4::key(announce.peer) {
            self.store.touch_peers(hash, &announce.info_hash, key, 0);
        }
    }

    fn touch(&self, announce: &Announce) {
        self.store.touch_swarm(self.hash.info_hash(&announce.info_hash), &announce.info_hash);
    }
}

fn announce(swarm: u32, peer: u32) -> Announce {
    let mut info_hash = InfoHash([7; 20]);
    info_hash.0[..4].copy_from_slice(&swarm.to_be_bytes());
    let peer = PeerAddr::new(Ipv4Addr::from(0x0A00_0000 + peer).into(), 6881);
    Announce { info_hash, peer, event: Event::None, seeder: false, num_want: 50 }
}

/// The announces of peers that have all been seen once, in a random order.
fn million_swarms(swarm_of: impl Fn(&mut Random) -> u32) -> (Tracker, Vec<Announce>) {
    let (mut tracker, mut random) = (Tracker::new(), Random(1));
    let mut announces: Vec<_> = (0..PEERS).map(|peer| announce(swarm_of(&mut random), peer)).collect();
    let mut out = Vec::new();
    for announce in &announces {
        tracker.announce(announce, 0, &mut out);
        out.clear();
    }
    for at in (1..announces.len()).rev() {
        announces.swap(at, random.below(at as u32 + 1) as usize);
    }
    (tracker, announces)
}

fn known_peers(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("announce of a known peer, 1M swarms, 2M peers");
    for (name, swarm_of) in [("uniform", Random::below as fn(&mut Random, u32) -> u32), ("zipf", Random::zipf)] {
        let (mut tracker, announces) = million_swarms(|random| swarm_of(random, SWARMS));
        let mut out = Vec::with_capacity(50 * 6);
        let mut random = Random(2);
        let mut batches = announces.chunks_exact(BATCH).cycle();
        group.throughput(Throughput::Elements(BATCH as u64));
        for touch in [false, true] {
            let how = if touch { "touched first" } else { "one by one" };
            group.bench_function(format!("{name}, batch of {BATCH}, {how}"), |bencher| {
                bencher.iter(|| {
                    let Some(batch) = batches.next() else { return };
                    if touch {
                        batch.iter().for_each(|announce| tracker.touch(announce));
                        batch.iter().for_each(|announce| tracker.touch_peers(announce));
                    }
                    for announce in batch {
                        tracker.announce(announce, random.next(), &mut out);
                        out.clear();
                    }
                });
            });
        }
        println!("{name}: {} MB of heap", tracker.store.heap_bytes() / 1_000_000);
    }
    group.finish();
}

fn select(criterion: &mut Criterion) {
    let mut tracker = Tracker::with_swarm(10_000);
    let asker = announce(0, 7);
    let key = V4::key(asker.peer).unwrap();
    let hash = tracker.hash.info_hash(&asker.info_hash);
    let outcome = tracker.store.announce(hash, &asker, key, Second::new(0), tracker.clock.tick(0));
    let (mut out, mut random) = (Vec::with_capacity(50 * 6), Random(3));
    criterion.bench_function("select 50 of 10,000 peers", |bencher| {
        bencher.iter(|| {
            out.clear();
            tracker.store.select(&outcome, 50, Second::new(1), random.next(), &mut out);
            black_box(out.len())
        });
    });
}

fn sweep(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("sweep of 1,000 records");
    group.throughput(Throughput::Elements(1_000));
    let (mut tracker, _) = million_swarms(|random| random.below(SWARMS));
    group.bench_function("nothing expired, 1M swarms", |bencher| {
        bencher.iter(|| tracker.store.sweep(1_000, Second::new(0)));
    });
    let expired = Second::new(u64::from(TTL) + 1);
    group.bench_function("all expired, one swarm", |bencher| {
        bencher.iter_batched_ref(
            || Tracker::with_swarm(20_000),
            |tracker| tracker.store.sweep(1_000, expired),
            BatchSize::LargeInput,
        );
    });
    group.finish();
}

/// Not a mean but a maximum: the longest that one announce, or one step of the sweep, holds up all that wait behind it
/// while a swarm grows to a million peers and ends.
fn stalls(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("longest stall, one swarm of 1M peers");
    group.sample_size(10);
    for (name, of_sweep) in [("announce while it grows", false), ("step of the sweep while it ends", true)] {
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|rounds| (0..rounds).map(|_| longest_stall(of_sweep)).sum());
        });
    }
    group.finish();
}

fn longest_stall(of_sweep: bool) -> Duration {
    let mut tracker = Tracker::new();
    let (mut longest, mut out) = (Duration::ZERO, Vec::new());
    for number in 0..1_000_000 {
        let announce = Announce { num_want: 0, ..announce(0, number) };
        let start = Instant::now();
        tracker.announce(&announce, 0, &mut out);
        longest = longest.max(start.elapsed());
    }
    if of_sweep {
        longest = Duration::ZERO;
        let mut done = false;
        while !done {
            let start = Instant::now();
            done = tracker.store.sweep(256, Second::new(u64::from(TTL) + 1));
            longest = longest.max(start.elapsed());
        }
    }
    longest
}

/// What one visit takes from an owner while another node compares or copies a partition.
fn copies(criterion: &mut Criterion) {
    let hash = KeyedHash::new(b"sixteen  secrets");
    let mut group = criterion.benchmark_group("one visit, digests of 2,048 and chunks of 4,096 records");
    for (name, swarms) in [("swarms of two", PEERS / 2 / 16), ("one swarm", 1)] {
        let quota = Arc::new(Quota::new(usize::MAX, usize::MAX, usize::MAX));
        let mut partitions = Partitions::new(hash, PartitionCount::new(16), TTL, &quota);
        let mut random = Random(1);
        // A sixteenth of the swarms in each of 16 partitions, or one large swarm in one of them.
        for peer in 0..PEERS / 4 {
            let announce = announce(if swarms == 1 { 0 } else { random.below(PEERS / 8) }, peer);
            let (hash, Some(key)) = (hash.info_hash(&announce.info_hash), V4::key(announce.peer)) else { return };
            partitions.v4.announce(hash, &announce, key, Second::new(0), HlcTime::from_millis(5_000));
        }
        let partition = PartitionCount::new(16).partition(hash.info_hash(&announce(0, 0).info_hash));
        let window = Window { from: 0, to: u64::MAX };
        let mut walk = DigestWalk::new(partition, window);
        group.bench_function(format!("digest, {name}"), |bencher| {
            bencher.iter(|| {
                if walk.step(&partitions, Now::default(), DigestWalk::STEP) {
                    walk = DigestWalk::new(partition, window);
                }
            });
        });
        let scope = ScanScope { partition, buckets: u64::MAX, budget: MAX_CHUNK };
        let mut cursor = Vec::new();
        group.bench_function(format!("chunk, {name}"), |bencher| {
            bencher.iter(|| {
                let chunk = chunk(&partitions, Now::default(), &cursor, scope);
                cursor = chunk.map(|it| it.next).unwrap_or_default();
            });
        });
        let batch = chunk(&partitions, Now::default(), &[], scope).unwrap_or_default().batch;
        group.bench_function(format!("merge of a chunk, {name}"), |bencher| {
            bencher.iter(|| black_box(merge_chunk(&batch, 0, &mut partitions, Now::default())));
        });
    }
    group.finish();
}

criterion_group!(benches, known_peers, select, sweep, stalls, copies);
criterion_main!(benches);
