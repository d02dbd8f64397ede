//! The store as its users see it, against a naive model and the laws that replication builds on.

mod bounds;
mod merging;
mod model;
mod replication;
mod selection;
mod sequences;
mod traps;

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use super::*;

/// The lifetime of a peer in these tests, in seconds.
const TTL: u16 = 2700;

fn keyed_hash() -> KeyedHash {
    KeyedHash::new(b"sixteen  secrets")
}

fn unlimited() -> Arc<Quota> {
    Arc::new(Quota::new(usize::MAX, usize::MAX, usize::MAX))
}

fn store<F: AddressFamily>() -> Store<F> {
    Store::new(keyed_hash(), PartitionCount::new(4), TTL, unlimited())
}

fn info_hash(number: u32) -> InfoHash {
    let mut bytes = [7; 20];
    bytes[..4].copy_from_slice(&number.to_be_bytes());
    InfoHash(bytes)
}

/// The peer of a number, in the family at hand.
fn peer<F: AddressFamily>(number: u32) -> PeerAddr {
    let [_, a, b, c] = number.to_be_bytes();
    let ip: IpAddr = match F::FAMILY {
        Family::V4 => Ipv4Addr::new(10, a, b, c).into(),
        Family::V6 => Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, a.into(), u16::from_be_bytes([b, c])).into(),
    };
    PeerAddr::new(ip, 6881)
}

fn key<F: AddressFamily>(number: u32) -> F::Key {
    F::key(peer::<F>(number)).unwrap()
}

/// A store with a clock: what a test of single announces needs.
struct Tracker<F: AddressFamily> {
    store: Store<F>,
    clock: Hlc,
    /// The clock's reading at the latest announce.
    last: HlcTime,
    /// What the latest announce has to replicate to other nodes.
    change: Option<Record<F>>,
    /// Seconds since the start.
    now: u64,
    random: u64,
}

impl<F: AddressFamily> Tracker<F> {
    fn new() -> Self {
        Self::with_quota(unlimited())
    }

    fn with_quota(quota: Arc<Quota>) -> Self {
        let store = Store::new(keyed_hash(), PartitionCount::new(4), TTL, quota);
        Self { store, clock: Hlc::default(), last: HlcTime::default(), change: None, now: 65_000, random: 1 }
    }

    fn now(&self) -> Second {
        Second::new(self.now)
    }

    /// Announces a peer and returns the counts and the peers returned to it.
    fn announce(
        &mut self,
        swarm: u32,
        number: u32,
        event: Event,
        seeder: bool,
        num_want: u16,
    ) -> (Counts, Vec<F::Key>) {
        let info_hash = info_hash(swarm);
        let announce = Announce { info_hash, peer: peer::<F>(number), event, seeder, num_want };
        let (hash, time) = (keyed_hash().info_hash(&info_hash), self.clock.tick(self.now * 1000));
        self.last = time;
        self.store.touch_swarm(hash, &info_hash);
        self.store.touch_peers(hash, &info_hash, key::<F>(number), self.random);
        let outcome = self.store.announce(hash, &announce, key::<F>(number), self.now(), time);
        self.change = outcome.change;
        self.random = random(self.random);
        let mut compact = Vec::new();
        self.store.select(&outcome, num_want.into(), self.now(), self.random, &mut compact);
        (outcome.counts, keys::<F>(&compact))
    }

    fn leecher(&mut self, swarm: u32, number: u32) -> (Counts, Vec<F::Key>) {
        self.announce(swarm, number, Event::None, false, 50)
    }

    fn seeder(&mut self, swarm: u32, number: u32) -> (Counts, Vec<F::Key>) {
        self.announce(swarm, number, Event::None, true, 50)
    }

    fn stop(&mut self, swarm: u32, number: u32) -> (Counts, Vec<F::Key>) {
        self.announce(swarm, number, Event::Stopped, false, 50)
    }

    fn counts(&self, swarm: u32) -> Counts {
        let info_hash = info_hash(swarm);
        self.store.counts(keyed_hash().info_hash(&info_hash), &info_hash)
    }

    fn sweep_all(&mut self) {
        sweep_all(&mut self.store, Second::new(self.now));
    }
}

/// Finishes the pass that may be under way, and one more, in steps of an odd size.
fn sweep_all<F: AddressFamily>(store: &mut Store<F>, now: Second) {
    for _ in 0..2 {
        while !store.sweep(37, now) {}
    }
}

/// The peers of a compact list, which must be whole and all different.
fn keys<F: AddressFamily>(compact: &[u8]) -> Vec<F::Key> {
    assert_eq!(compact.len() % F::FAMILY.stride(), 0);
    let keys: Vec<_> = compact.chunks(F::FAMILY.stride()).map(|bytes| F::key_from(bytes).unwrap()).collect();
    let distinct: BTreeSet<&[u8]> = keys.iter().map(AsRef::as_ref).collect();
    assert_eq!(distinct.len(), keys.len(), "a peer is in the list twice");
    keys
}

/// The number after this one in a fixed sequence (SplitMix64).
fn random(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
