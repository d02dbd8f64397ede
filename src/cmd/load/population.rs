//! The peers and swarms of a run: who is in which swarm, at which address, and whether the tracker has acknowledged it.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering::Relaxed};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rand_distr::{Distribution, Zipf};

use super::job::{Job, PeerState};
use super::spec::{Spec, Spread};
use crate::client::AnnounceParams;
use crate::swarm::{Event, InfoHash};

/// The lowest port that a peer announces.
pub const FIRST_PORT: u16 = 1024;
/// One address has this many ports from [`FIRST_PORT`] on.
pub const MAX_PEERS_PER_ADDRESS: u32 = u16::MAX as u32 - FIRST_PORT as u32 + 1;
/// The observer of `--verify` requests as many peers as fit. It announces the port below those of all peers.
const OBSERVER_WANTS: i32 = 10_000;

/// All peers and swarms. The same seed gives the same population.
pub struct Population {
    seed: u64,
    swarms: u32,
    sources: u32,
    addresses: u32,
    seeders: f64,
    swarm_of: Vec<u32>,
    states: Vec<AtomicU8>,
    /// Peers that are waiting for an answer. A client does not announce again before it has one; if it did, there would be
    /// no telling which announce the tracker applied last.
    busy: Vec<AtomicBool>,
}

impl Population {
    /// Assigns every peer to a swarm: one peer to each swarm if there are enough, the others by the spread.
    pub fn new(spec: &Spec) -> Self {
        let mut rng = StdRng::seed_from_u64(spec.seed);
        let covered = if spec.peers >= spec.swarms { spec.swarms } else { 0 };
        let exponent = match spec.spread {
            (Spread::Uniform, _) => 0.0,
            (Spread::Zipf, exponent) => exponent,
        };
        let zipf = Zipf::new(f64::from(spec.swarms), exponent).ok();
        let draw = |rng: &mut StdRng| match &zipf {
            Some(zipf) => (zipf.sample(rng) as u32).clamp(1, spec.swarms) - 1,
            None => rng.random_range(0..spec.swarms),
        };
        Self {
            seed: spec.seed,
            swarms: spec.swarms,
            sources: spec.sources,
            addresses: if spec.many_addresses { spec.sources } else { 1 },
            seeders: spec.mix.seeders,
            swarm_of: (0..spec.peers).map(|peer| if peer < covered { peer } else { draw(&mut rng) }).collect(),
            states: (0..spec.peers).map(|_| AtomicU8::new(PeerState::Absent as u8)).collect(),
            busy: (0..spec.peers).map(|_| AtomicBool::new(false)).collect(),
        }
    }

    pub fn swarms(&self) -> u32 {
        self.swarms
    }

    pub fn peers(&self) -> u32 {
        self.swarm_of.len() as u32
    }

    pub fn sources(&self) -> u32 {
        self.sources
    }

    /// The info hash of a swarm.
    pub fn info_hash(&self, swarm: u32) -> InfoHash {
        let base = mix(self.seed ^ mix(u64::from(swarm)));
        let mut bytes = [0; 20];
        for (i, chunk) in bytes.chunks_mut(8).enumerate() {
            chunk.copy_from_slice(&mix(base + i as u64).to_be_bytes()[..chunk.len()]);
        }
        InfoHash(bytes)
    }

    /// The parameters of an announce; none for a scrape.
    pub fn params(&self, job: &Job, num_want: i32) -> Option<AnnounceParams> {
        const LACKS: i64 = 700_000_000;
        let (key, swarm, event, left, num_want, port) = match *job {
            Job::Announce { peer, event, next } => {
                let left = if next == PeerState::Seeder { 0 } else { LACKS };
                (peer, self.swarm_of(peer), event, left, num_want, self.port_of(peer))
            }
            Job::Observe { swarm, leave } => {
                let event = if leave { Event::Stopped } else { Event::Started };
                (u32::MAX, swarm, event, LACKS, OBSERVER_WANTS, FIRST_PORT - 1)
            }
            Job::Scrape { .. } => return None,
        };
        let mut peer_id = *b"-TL0001-000000000000";
        for (i, c) in (0..).zip(&mut peer_id[8..]) {
            *c = b'a' + (key.wrapping_shr(i * 3) & 7) as u8;
        }
        Some(AnnounceParams { info_hash: self.info_hash(swarm), peer_id, key, event, left, num_want, port })
    }

    /// The swarm of a peer.
    pub fn swarm_of(&self, peer: u32) -> u32 {
        self.swarm_of[peer as usize]
    }

    /// The port that a peer announces.
    pub fn port_of(&self, peer: u32) -> u16 {
        FIRST_PORT + (peer / self.addresses) as u16
    }

    /// The number of peers of a source; the k-th is `k * sources + source`.
    pub fn peers_of_source(&self, source: u32) -> u32 {
        (self.peers() - source).div_ceil(self.sources)
    }

    /// The address that a source binds if it has its own.
    pub fn address(source: u32) -> Ipv4Addr {
        Ipv4Addr::new(127, 1 + (source % 254) as u8, (source / 254) as u8, 1)
    }

    /// The peer behind an address and port that a tracker returned, if it is one of this population.
    pub fn peer_at(&self, ip: IpAddr, port: u16) -> Option<u32> {
        let slot = u32::from(port.checked_sub(FIRST_PORT)?);
        let peer = match ip {
            IpAddr::V4(ip) if self.addresses > 1 => {
                let [net, a, b, c] = ip.octets();
                let source = (u32::from(a)).checked_sub(1)? + 254 * u32::from(b);
                if net != 127 || c != 1 || source >= self.sources {
                    return None;
                }
                slot * self.sources + source
            }
            _ => slot,
        };
        (peer < self.peers()).then_some(peer)
    }

    /// The last state of a peer that the tracker has acknowledged.
    pub fn state(&self, peer: u32) -> PeerState {
        match self.states[peer as usize].load(Relaxed) {
            0 => PeerState::Absent,
            1 => PeerState::Leecher,
            _ => PeerState::Seeder,
        }
    }

    /// The random numbers of one worker.
    pub fn random_of(&self, worker: u32) -> StdRng {
        StdRng::seed_from_u64(mix(self.seed.wrapping_add(2) ^ mix(u64::from(worker))))
    }

    /// Records what the tracker has acknowledged.
    pub fn set_state(&self, peer: u32, state: PeerState) {
        self.states[peer as usize].store(state as u8, Relaxed);
    }

    /// Marks whether the peer waits for an answer, and returns whether it did before.
    pub fn set_busy(&self, peer: u32, busy: bool) -> bool {
        self.busy[peer as usize].swap(busy, Relaxed)
    }

    /// The state in which `--fill` announces a peer.
    pub fn first_state(&self, peer: u32) -> PeerState {
        let uniform = mix(self.seed.wrapping_add(1) ^ mix(u64::from(peer))) as f64 / u64::MAX as f64;
        if uniform < self.seeders { PeerState::Seeder } else { PeerState::Leecher }
    }

    /// Assumes that all peers were announced by an earlier `--fill`.
    pub fn assume_filled(&self) {
        (0..self.peers()).for_each(|peer| self.set_state(peer, self.first_state(peer)));
    }

    /// The expected number of peers in each swarm.
    pub fn expected(&self) -> Vec<u32> {
        let mut expected = vec![0; self.swarms as usize];
        for peer in 0..self.peers() {
            if self.state(peer) != PeerState::Absent {
                expected[self.swarm_of(peer) as usize] += 1;
            }
        }
        expected
    }
}

/// SplitMix64: a bijection that leaves no pattern.
fn mix(x: u64) -> u64 {
    let x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
pub mod tests {
    use std::collections::HashSet;
    use std::time::Duration;

    use super::super::spec::{Mix, Spread, Target, Transport};
    use super::*;

    pub fn spec(swarms: u32, peers: u32, spread: (Spread, f64), many_addresses: bool) -> Spec {
        let addr = "127.0.0.1:6969".parse().unwrap();
        Spec {
            transport: Transport::Udp,
            targets: vec![Target { addr, host: "127.0.0.1:6969".into(), path: "/announce".into() }],
            failover: false,
            verify_at: Vec::new(),
            verify_after: Duration::ZERO,
            open: None,
            duration: Duration::ZERO,
            swarms,
            peers,
            spread,
            sources: 7,
            many_addresses,
            window: 1,
            workers: 1,
            seed: 42,
            fill: false,
            verify: false,
            num_want: 50,
            mix: Mix { seeders: 0.5, completes: 0.1, stops: 0.1, scrapes: 0.1 },
            connect_each: false,
            deadline: Duration::from_secs(2),
        }
    }

    pub const ZIPF: (Spread, f64) = (Spread::Zipf, 1.0);

    #[test]
    fn zipf_draws_follow_the_distribution() {
        let population = Population::new(&spec(1000, 201_000, ZIPF, true));
        population.assume_filled();
        let sizes = population.expected();
        assert!(sizes.iter().all(|size| *size >= 1), "every swarm has its first peer");
        // 200,000 draws over a harmonic sum of 7.485: 26,719 for the first rank, a tenth of it for the tenth.
        let (first, tenth) = (f64::from(sizes[0]), f64::from(sizes[9]));
        assert!((first / 26_719.0 - 1.0).abs() < 0.05, "{first}");
        assert!((first / tenth - 10.0).abs() < 1.5, "{first} / {tenth}");
        let uniform = Population::new(&spec(1000, 201_000, (Spread::Uniform, 1.0), true));
        uniform.assume_filled();
        assert!(uniform.expected().iter().all(|size| (100..320).contains(size)));
    }

    #[test]
    fn peers_have_distinct_addresses_that_identify_them() {
        for many_addresses in [true, false] {
            let population = Population::new(&spec(10, 1000, ZIPF, many_addresses));
            let mut seen = HashSet::new();
            for peer in 0..1000 {
                let ip = if many_addresses { Population::address(peer % 7) } else { Ipv4Addr::new(10, 0, 0, 1) };
                let port = population.port_of(peer);
                assert!(seen.insert((ip, port)));
                assert_eq!(population.peer_at(ip.into(), port), Some(peer));
            }
        }
        let addresses: HashSet<_> = (0..4096).map(Population::address).collect();
        assert!(addresses.len() == 4096 && addresses.iter().all(Ipv4Addr::is_loopback));
        let population = Population::new(&spec(10, 1000, ZIPF, true));
        assert_eq!(population.peer_at(Ipv4Addr::new(127, 9, 0, 1).into(), 2000), None);
        assert_eq!(population.peer_at(Ipv4Addr::new(127, 1, 0, 1).into(), 1023), None, "the observer");
    }
}
