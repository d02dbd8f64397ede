//! What is saved is restored, whatever happens to the file and to the clocks.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::copier::{MAX_STEP, OwnerCopier};
use super::format::{self, DataFrame, FrameReader};
use super::reader::{ReadReport, merge_swarms, read_snapshot};
use crate::clock::Now;
use crate::partition::Partitions;
use crate::swarm::{
    AddressFamily, Announce, Event, HlcTime, InfoHash, KeyedHash, PartitionCount, PeerAddr, Quota, Role, Second, Stamp,
    Store,
};

const TTL: u16 = 2_700;
const WALL: u64 = 1_700_000_000_000;

/// An owner's data, and the time there.
struct Tracker {
    partitions: Partitions,
    hash: KeyedHash,
    now: Now,
    announces: u64,
}

/// By swarm and peer: the stamp and the age.
type Records = BTreeMap<(InfoHash, PeerAddr), (Stamp, u16)>;
/// By family and swarm.
type Completed = BTreeMap<(bool, InfoHash), u32>;

impl Tracker {
    fn new(key: u8, partitions: PartitionCount, uptime: u64, wall_millis: u64) -> Self {
        let hash = KeyedHash::new(&[key; 16]);
        let quota = Arc::new(Quota::new(1 << 20, 1 << 20, 1 << 20));
        let now = Now { uptime: Duration::from_secs(uptime), wall_millis };
        Self { partitions: Partitions::new(hash, partitions, TTL, &quota), hash, now, announces: 0 }
    }

    fn pass(&mut self, seconds: u64) {
        self.now.uptime += Duration::from_secs(seconds);
        self.now.wall_millis += seconds * 1_000;
    }

    fn announce(&mut self, v6: bool, swarm: u32, peer: u32, event: Event, seeder: bool) {
        let ip = if v6 {
            (0x2001_0db8_u128 << 96 | u128::from(peer)).to_be_bytes().into()
        } else {
            peer.to_be_bytes().into()
        };
        let announce =
            Announce { info_hash: info_hash(swarm), peer: PeerAddr::new(ip, 80), event, seeder, num_want: 0 };
        self.announces += 1;
        let time = HlcTime::from_millis(self.now.wall_millis + self.announces % 1_000);
        let (hash, second) = (self.hash.info_hash(&announce.info_hash), Second::new(self.now.uptime.as_secs()));
        fn apply<F: AddressFamily>(store: &mut Store<F>, hash: u64, announce: &Announce, now: Second, time: HlcTime) {
            store.announce(hash, announce, F::key(announce.peer).unwrap(), now, time);
        }
        match v6 {
            false => apply(&mut self.partitions.v4, hash, &announce, second, time),
            true => apply(&mut self.partitions.v6, hash, &announce, second, time),
        }
    }

    /// A whole file, made in steps, with something happening between them.
    fn save(&mut self, budget: usize, mut between: impl FnMut(&mut Self)) -> Vec<u8> {
        let mut file = format::header("node-1", self.now.wall_millis);
        let (mut copier, mut frames, mut records) = (OwnerCopier::new(), 0, 0);
        loop {
            let step = copier.step(&self.partitions, self.now, budget);
            assert!(step.frame.records <= MAX_STEP);
            file.extend_from_slice(&format::frame_head(step.frame.bytes()));
            file.extend_from_slice(step.frame.bytes());
            frames += 1;
            records += step.frame.records as u64;
            if step.done {
                break;
            }
            between(self);
        }
        file.extend(format::footer(frames, records));
        file
    }

    /// Loads a file; returns how many records had expired.
    fn load(&mut self, file: &[u8]) -> u64 {
        let mut report = ReadReport::default();
        let (partitions, now) = (&mut self.partitions, self.now);
        read_snapshot(file, now.wall_millis, TTL, &mut report, |swarm| {
            assert_eq!(merge_swarms(&[swarm], partitions, now).refused, 0);
        })
        .unwrap();
        report.expired
    }

    fn contents(&self) -> (Records, Completed) {
        let mut records = Records::new();
        let mut completed = Completed::new();
        let second = Second::new(self.now.uptime.as_secs());
        collect(&self.partitions.v4, second, &mut records, &mut completed);
        collect(&self.partitions.v6, second, &mut records, &mut completed);
        (records, completed)
    }
}

fn collect<F: AddressFamily>(store: &Store<F>, now: Second, records: &mut Records, completed: &mut Completed) {
    for (info_hash, counts, swarm) in (0..store.len()).filter_map(|at| store.swarm(at)) {
        completed.insert((F::FAMILY.stride() > 6, info_hash), counts.completed);
        records.extend(swarm.iter().map(|it| ((info_hash, F::peer(it.key)), (it.stamp, it.seen.age(now)))));
    }
}

fn info_hash(swarm: u32) -> InfoHash {
    let mut bytes = [7; 20];
    bytes[..4].copy_from_slice(&swarm.to_be_bytes());
    InfoHash(bytes)
}

fn event() -> impl Strategy<Value = Event> {
    prop::sample::select(vec![Event::None, Event::Started, Event::Completed, Event::Stopped, Event::Paused])
}

proptest! {
    #[test]
    fn saved_records_are_restored_with_their_age(
        announces in prop::collection::vec((any::<bool>(), 0u32..6, 0u32..60, event(), any::<bool>(), 0u64..90), 0..250),
        budget in 1usize..200,
        gap_millis in 0u64..2_000_000,
        uptime in 0u64..100_000,
    ) {
        let mut before = Tracker::new(1, PartitionCount::new(16), 3, WALL);
        for (v6, swarm, peer, event, seeder, seconds) in announces {
            before.pass(seconds);
            before.announce(v6, swarm, peer, event, seeder);
        }
        let file = before.save(budget, |_| {});
        // Another key, another number of partitions, another clock.
        let mut after = Tracker::new(2, PartitionCount::new(64), uptime, before.now.wall_millis + gap_millis);
        after.load(&file);
        let (mut records, mut completed) = before.contents();
        let passed = gap_millis.div_ceil(1_000) as u16;
        records.retain(|_, (_, age)| *age + passed <= TTL);
        records.values_mut().for_each(|(_, age)| *age += passed);
        completed.retain(|(v6, swarm), _| {
            records.keys().any(|(held, peer)| held == swarm && *v6 == peer.ip().is_ipv6())
        });
        prop_assert_eq!(after.contents(), (records, completed));
    }

    #[test]
    fn arbitrary_content_does_not_panic(payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..4)) {
        let mut file = format::header("node-1", WALL);
        for mut payload in payloads {
            if let Some(kind) = payload.first_mut() {
                *kind %= 4;
            }
            file.extend_from_slice(&format::frame_head(&payload));
            file.extend(payload);
        }
        let (frames, fault) = read_all(&file);
        prop_assert!(frames.len() < 5 && fault);
    }
}

/// All whole frames, and whether there was a fault.
fn read_all(file: &[u8]) -> (Vec<DataFrame>, bool) {
    let Ok(mut reader) = FrameReader::open(file) else { return (Vec::new(), true) };
    let mut frames = Vec::new();
    loop {
        match reader.read() {
            Ok(Some(frame)) => frames.push(frame),
            Ok(None) => return (frames, false),
            Err(_) => return (frames, true),
        }
    }
}

fn small_file() -> Vec<u8> {
    let mut tracker = Tracker::new(1, PartitionCount::new(16), 3, WALL);
    for number in 0..12 {
        tracker.announce(number % 3 == 0, number % 4, number, Event::Started, number % 2 == 0);
        tracker.pass(1);
    }
    tracker.save(3, |_| {})
}

#[test]
fn a_file_cut_anywhere_gives_its_whole_frames_and_a_fault() {
    let file = small_file();
    let (all, fault) = read_all(&file);
    assert!(!fault && all.len() > 3);
    let mut most = 0;
    for end in 0..file.len() {
        let (frames, fault) = read_all(&file[..end]);
        assert!(fault && frames[..] == all[..frames.len()], "cut at {end}");
        assert!(frames.len() >= most, "cut at {end}");
        most = frames.len();
    }
    assert_eq!(most, all.len(), "only the footer is missing");
}

#[test]
fn a_file_with_any_bit_flipped_gives_the_frames_before_it_and_a_fault() {
    let file = small_file();
    let (all, _) = read_all(&file);
    for bit in 0..file.len() * 8 {
        let mut bad = file.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        let (frames, fault) = read_all(&bad);
        assert!(fault && frames[..] == all[..frames.len()], "bit {bit}");
    }
    let mut bad = file.clone();
    *bad.last_mut().unwrap() ^= 1;
    assert_eq!(read_all(&bad).0, all, "the last frame is the footer");
}

#[test]
fn a_file_that_ends_in_zeros_is_not_complete() {
    // As some file systems leave it after a power failure.
    let mut file = small_file();
    let (all, _) = read_all(&file);
    let end = file.len() - 25;
    file[end..].fill(0);
    file.extend([0; 100]);
    assert_eq!(read_all(&file), (all, true));
}

#[test]
fn the_bytes_of_version_1_stay_readable() {
    let mut tracker = Tracker::new(1, PartitionCount::new(16), 10, 0x0102);
    tracker.announce(false, 0x0102_0304, 0x0a00_0001, Event::Started, true);
    tracker.announces = 0;
    tracker.pass(2);
    let file = tracker.save(100, |_| {});
    let hash = [&[1, 2, 3, 4][..], &[7; 16]].concat();
    let stamp = Stamp::new(HlcTime::from_millis(0x0103), Role::Seeder, false).to_bits().to_le_bytes();
    let wall = (0x0102u64 + 2_000).to_le_bytes();
    let payload =
        [&[1][..], &wall, &[4], &hash, &[0; 4], &[1, 0, 0, 0], &stamp, &[2, 0], &[10, 0, 0, 1, 0, 80]].concat();
    let start = format::header("node-1", 0x0102 + 2_000);
    assert_eq!(start[..10], *b"TIDSNAP\n\x01\x00");
    assert_eq!(start[18..], [&[0][..], &wall, b"node-1"].concat());
    let length = (payload.len() as u32).to_le_bytes();
    let at = start.len();
    assert_eq!(file[at..at + 4], length);
    assert_eq!(file[at + 4..at + 8], crc32fast::hash(&[&length[..], &payload].concat()).to_le_bytes());
    assert_eq!(file[at + 8..at + 8 + payload.len()], payload);
}

#[test]
fn a_large_swarm_is_copied_in_steps() {
    let mut before = Tracker::new(1, PartitionCount::new(16), 0, WALL);
    for peer in 0..50_000 {
        before.announce(false, peer % 50 / 49, peer, Event::Started, peer % 4 == 0);
    }
    let file = before.save(MAX_STEP, |_| {});
    let mut after = Tracker::new(1, PartitionCount::new(16), 0, WALL);
    after.load(&file);
    assert_eq!(after.contents(), before.contents());
}

#[test]
fn the_copy_of_a_changing_large_swarm_lacks_at_most_the_changed_peers() {
    let mut before = Tracker::new(1, PartitionCount::new(16), 0, WALL);
    for peer in 0..60_000 {
        before.announce(false, 0, peer, Event::Started, peer % 2 == 0);
    }
    let (old, _) = before.contents();
    let mut changes = 0;
    let file = before.save(MAX_STEP, |tracker| {
        for peer in 0..500 {
            // New leechers, and leechers that become seeders.
            tracker.announce(false, 0, 100_000 + changes, Event::Started, false);
            tracker.announce(false, 0, ((changes + peer * 50) % 60_000) | 1, Event::Completed, true);
            changes += 2;
        }
    });
    let mut after = Tracker::new(1, PartitionCount::new(16), 0, WALL);
    after.load(&file);
    let (held, _) = after.contents();
    let missing = old.keys().filter(|peer| !held.contains_key(peer)).count();
    assert!(changes >= 3_000 && missing <= changes as usize, "{missing} of {changes}");
}

#[test]
fn swarms_that_vanish_during_a_copy_hide_no_others() {
    let mut before = Tracker::new(1, PartitionCount::new(16), 0, WALL);
    (0..3_000).for_each(|swarm| before.announce(false, swarm, 1, Event::Started, false));
    before.pass(u64::from(TTL) - 10);
    (0..3_000).filter(|swarm| swarm % 3 > 0).for_each(|swarm| before.announce(false, swarm, 1, Event::None, false));
    before.pass(20);
    let file = before.save(100, |tracker| {
        let second = Second::new(tracker.now.uptime.as_secs());
        tracker.partitions.v4.sweep(150, second);
    });
    let mut after = Tracker::new(1, PartitionCount::new(16), 0, before.now.wall_millis);
    after.load(&file);
    assert_eq!(after.contents().0.len(), 2_000);
}

#[test]
fn after_a_clock_went_back_an_hour_nothing_is_lost_and_announces_win() {
    let mut before = Tracker::new(1, PartitionCount::new(16), 0, WALL);
    before.announce(false, 1, 1, Event::Started, false);
    before.announce(false, 1, 2, Event::Started, true);
    before.pass(100);
    before.announce(true, 1, 1, Event::Started, false);
    before.announce(true, 1, 1, Event::Stopped, false);
    let file = before.save(100, |_| {});
    let mut after = Tracker::new(1, PartitionCount::new(16), 50_000, before.now.wall_millis - 3_600_000);
    after.load(&file);
    let ((old, _), (new, _)) = (before.contents(), after.contents());
    assert!(old.keys().eq(new.keys()));
    for ((stamp, age), (old_stamp, old_age)) in new.values().zip(old.values()) {
        assert_eq!((age, stamp.role()), (old_age, old_stamp.role()));
        assert_eq!(stamp.time().millis(), after.now.wall_millis - u64::from(*age) * 1_000);
    }
    // And a copy from another node, made after the restart, wins.
    after.pass(1);
    let mut other = Tracker::new(1, PartitionCount::new(16), 0, after.now.wall_millis);
    other.announce(false, 1, 1, Event::Completed, true);
    let newer = other.save(100, |_| {});
    after.load(&newer);
    let seeders = after.contents().0.values().filter(|(stamp, _)| stamp.role() == Role::Seeder).count();
    assert_eq!(seeders, 2);
}

#[test]
fn a_stamp_slightly_ahead_is_kept() {
    let mut before = Tracker::new(1, PartitionCount::new(16), 0, WALL);
    before.announce(false, 1, 1, Event::Started, false);
    let file = before.save(100, |_| {});
    let mut after = Tracker::new(1, PartitionCount::new(16), 0, WALL - 50_000);
    after.load(&file);
    assert_eq!(after.contents(), before.contents());
}

#[test]
fn an_old_snapshot_expires_completely() {
    let mut before = Tracker::new(1, PartitionCount::new(16), 0, WALL);
    (0..100).for_each(|peer| before.announce(false, 1, peer, Event::Started, false));
    let file = before.save(100, |_| {});
    // Ages that no two bytes can hold.
    let mut after = Tracker::new(1, PartitionCount::new(16), 0, WALL + 400_000_000_000);
    assert_eq!(after.load(&file), 100);
    assert_eq!(after.contents(), Default::default());
}
