//! Who announces what: the peers, their swarms, their lives, and what they ask next.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering::Relaxed};

use clap::ValueEnum;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rand_distr::{Distribution, Zipf};

use super::answer::Answer;
use super::args::Spec;
use crate::client::AnnounceParams;
use crate::swarm::{Event, InfoHash};

/// The lowest port that a peer announces.
pub const FIRST_PORT: u16 = 1024;
/// One address has this many ports from [`FIRST_PORT`] on.
pub const MAX_PEERS_PER_ADDRESS: u32 = u16::MAX as u32 - FIRST_PORT as u32 + 1;
/// The observer of `--verify` wants all that fit. It announces the port below those of all peers.
const OBSERVER_WANTS: i32 = 10_000;
/// Hashes of one scrape of the mixed load are at most this many; real clients ask for one to a few.
const MAX_SCRAPE: u32 = 10;
/// Peers that are looked at to find one that waits for no answer.
const MAX_BUSY: u32 = 64;

/// How peers choose their swarm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Spread {
    /// All swarms alike.
    Uniform,
    /// The swarm of rank r with a weight of r^-exponent: a few large ones, many small ones, as in the wild.
    Zipf,
}

/// The shares of events, each between 0 and 1.
#[derive(Clone, Copy, Debug)]
pub struct Mix {
    /// Peers that are seeders when they start.
    pub seeders: f64,
    /// Announces of a leecher that say `completed`.
    pub completes: f64,
    /// Announces of a running peer that say `stopped`.
    pub stops: f64,
    /// Requests that are scrapes.
    pub scrapes: f64,
}

/// Where a peer is in its life, as far as the tracker has acknowledged it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Life {
    /// Not announced, or stopped.
    Absent,
    /// Present, `left` above zero.
    Leecher,
    /// Present, `left` zero.
    Seeder,
}

/// One request to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Job {
    /// A peer announces; `next` is its life once this is acknowledged.
    Announce {
        /// The peer.
        peer: u32,
        /// What it says.
        event: Event,
        /// What it then is.
        next: Life,
    },
    /// A scrape of `count` swarms from `first` on.
    Scrape {
        /// The first swarm.
        first: u32,
        /// How many.
        count: u8,
    },
    /// The observer of `--verify` looks at a swarm, or leaves it again.
    Observe {
        /// The swarm.
        swarm: u32,
        /// `stopped` instead of `started`.
        leave: bool,
    },
}

/// All peers and swarms. The same arguments give the same population.
pub struct Population {
    seed: u64,
    swarms: u32,
    sources: u32,
    addresses: u32,
    seeders: f64,
    swarm_of: Vec<u32>,
    lives: Vec<AtomicU8>,
    /// Peers that wait for an answer. A client does not announce again before it has one, and if it did, nobody could say
    /// which of the two announces was the last.
    busy: Vec<AtomicBool>,
}

impl Population {
    /// Gives every peer its swarm: the first peers go one to each swarm if there are enough, the others by the spread.
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
            lives: (0..spec.peers).map(|_| AtomicU8::new(Life::Absent as u8)).collect(),
            busy: (0..spec.peers).map(|_| AtomicBool::new(false)).collect(),
        }
    }

    /// Number of swarms.
    pub fn swarms(&self) -> u32 {
        self.swarms
    }

    /// Number of peers.
    pub fn peers(&self) -> u32 {
        self.swarm_of.len() as u32
    }

    /// Number of sources.
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

    /// What an announcing job says; none for a scrape.
    pub fn words(&self, job: &Job, num_want: i32) -> Option<AnnounceParams> {
        const LACKS: i64 = 700_000_000;
        let (key, swarm, event, left, num_want, port) = match *job {
            Job::Announce { peer, event, next } => {
                let left = if next == Life::Seeder { 0 } else { LACKS };
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

    /// How many peers a source has; its k-th is `k * sources + source`.
    pub fn peers_of_source(&self, source: u32) -> u32 {
        (self.peers() - source).div_ceil(self.sources)
    }

    /// The address that a source binds when it has one of its own.
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

    /// What the tracker has last acknowledged of a peer.
    pub fn life(&self, peer: u32) -> Life {
        match self.lives[peer as usize].load(Relaxed) {
            0 => Life::Absent,
            1 => Life::Leecher,
            _ => Life::Seeder,
        }
    }

    /// Notes what the tracker has acknowledged.
    pub fn set_life(&self, peer: u32, life: Life) {
        self.lives[peer as usize].store(life as u8, Relaxed);
    }

    /// Whether the peer waited for an answer before it was said to wait, or not to.
    fn set_busy(&self, peer: u32, busy: bool) -> bool {
        self.busy[peer as usize].swap(busy, Relaxed)
    }

    /// The life in which `--fill` announces a peer.
    pub fn first_life(&self, peer: u32) -> Life {
        let uniform = mix(self.seed.wrapping_add(1) ^ mix(u64::from(peer))) as f64 / u64::MAX as f64;
        if uniform < self.seeders { Life::Seeder } else { Life::Leecher }
    }

    /// Notes the state that a completed `--fill` leaves.
    pub fn assume_filled(&self) {
        (0..self.peers()).for_each(|peer| self.set_life(peer, self.first_life(peer)));
    }

    /// Peers that are present, per swarm.
    pub fn expected(&self) -> Vec<u32> {
        let mut expected = vec![0; self.swarms as usize];
        for peer in 0..self.peers() {
            if self.life(peer) != Life::Absent {
                expected[self.swarm_of(peer) as usize] += 1;
            }
        }
        expected
    }
}

/// The source of requests of one worker, and the listener to their fates.
pub trait Workload {
    /// The next request from this source; none if it has nothing to send now.
    fn next(&mut self, source: u32) -> Option<Job>;
    /// The answer was good.
    fn answered(&mut self, _source: u32, _job: Job, _answer: &Answer<'_>) {}
    /// No answer came in time, or an error.
    fn failed(&mut self, _source: u32, _job: Job) {}
}

/// The mixed load: peers live on, each for itself.
pub struct Living<'a> {
    population: &'a Population,
    mix: Mix,
    rng: StdRng,
}

impl<'a> Living<'a> {
    /// The mix of one worker, with a sequence of its own.
    pub fn new(population: &'a Population, mix: Mix, worker: u32) -> Self {
        let rng = StdRng::seed_from_u64(self::mix(population.seed.wrapping_add(2) ^ self::mix(u64::from(worker))));
        Self { population, mix, rng }
    }

    fn step(&mut self, life: Life) -> (Event, Life) {
        let dice: f64 = self.rng.random();
        match life {
            Life::Absent if dice < self.mix.seeders => (Event::Started, Life::Seeder),
            Life::Absent => (Event::Started, Life::Leecher),
            _ if dice < self.mix.stops => (Event::Stopped, Life::Absent),
            Life::Leecher if dice < self.mix.stops + self.mix.completes => (Event::Completed, Life::Seeder),
            same => (Event::None, same),
        }
    }
}

impl Workload for Living<'_> {
    fn next(&mut self, source: u32) -> Option<Job> {
        let p = self.population;
        let peer = self.rng.random_range(0..p.peers_of_source(source)) * p.sources() + source;
        if self.mix.scrapes > 0.0 && self.rng.random_bool(self.mix.scrapes) {
            let count = self.rng.random_range(1..=MAX_SCRAPE.min(p.swarms()));
            let first = p.swarm_of(peer).min(p.swarms() - count);
            return Some(Job::Scrape { first, count: count as u8 });
        }
        // The next of the source that waits for nothing; if all do, this one has to be enough.
        let (count, first) = (p.peers_of_source(source), peer / p.sources());
        let mut peers = (0..count.min(MAX_BUSY)).map(|at| (first + at) % count * p.sources() + source);
        let peer = peers.find(|peer| !p.set_busy(*peer, true)).unwrap_or(peer);
        let (event, next) = self.step(p.life(peer));
        Some(Job::Announce { peer, event, next })
    }

    fn answered(&mut self, _source: u32, job: Job, _answer: &Answer<'_>) {
        if let Job::Announce { peer, next, .. } = job {
            self.population.set_life(peer, next);
            self.population.set_busy(peer, false);
        }
    }

    fn failed(&mut self, _source: u32, job: Job) {
        if let Job::Announce { peer, .. } = job {
            self.population.set_busy(peer, false);
        }
    }
}

/// `--fill`: every peer announces `started`; what fails is announced again.
pub struct Fill<'a> {
    population: &'a Population,
    cursors: Vec<u32>,
    again: Vec<Vec<u32>>,
}

impl<'a> Fill<'a> {
    /// Each worker asks only for its own sources.
    pub fn new(population: &'a Population) -> Self {
        let sources = population.sources() as usize;
        Self { population, cursors: vec![0; sources], again: vec![Vec::new(); sources] }
    }
}

impl Workload for Fill<'_> {
    fn next(&mut self, source: u32) -> Option<Job> {
        let p = self.population;
        let cursor = &mut self.cursors[source as usize];
        let peer = if *cursor < p.peers_of_source(source) {
            *cursor += 1;
            (*cursor - 1) * p.sources() + source
        } else {
            self.again[source as usize].pop()?
        };
        Some(Job::Announce { peer, event: Event::Started, next: p.first_life(peer) })
    }

    fn answered(&mut self, _source: u32, job: Job, _answer: &Answer<'_>) {
        if let Job::Announce { peer, next, .. } = job {
            self.population.set_life(peer, next);
        }
    }

    fn failed(&mut self, source: u32, job: Job) {
        if let Job::Announce { peer, .. } = job {
            self.again[source as usize].push(peer);
        }
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

    use super::super::args::{Target, Transport};
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
    fn the_same_seed_gives_the_same_peers_and_requests() {
        let spec = spec(100, 1000, ZIPF, true);
        let run = |seed| {
            let population = Population::new(&Spec { seed, ..spec.clone() });
            let mut living = Living::new(&population, spec.mix, 0);
            let jobs: Vec<_> = (0..500).map(|i| living.next(i % 7).unwrap()).collect();
            let hashes: Vec<_> = (0..100).map(|swarm| population.info_hash(swarm)).collect();
            (population.swarm_of.clone(), jobs, hashes)
        };
        assert_eq!(run(1), run(1));
        let ((swarms, jobs, hashes), (other_swarms, other_jobs, other_hashes)) = (run(1), run(2));
        assert!(swarms != other_swarms && jobs != other_jobs && hashes != other_hashes);
        assert_eq!(hashes.iter().collect::<HashSet<_>>().len(), 100);
    }

    #[test]
    fn zipf_has_the_shape_of_its_name() {
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
    fn peers_have_distinct_addresses_that_lead_back_to_them() {
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

    #[test]
    fn fill_visits_every_peer_once_and_the_failed_again() {
        let population = Population::new(&spec(10, 1000, ZIPF, true));
        let mut fill = Fill::new(&population);
        let mut seen = HashSet::new();
        let mut failed = None;
        for source in 0..7 {
            while let Some(job) = fill.next(source) {
                let Job::Announce { peer, event: Event::Started, .. } = job else { panic!("{job:?}") };
                assert_eq!(peer % 7, source, "from its own source");
                if failed.is_none() {
                    failed = Some(peer);
                    fill.failed(source, job);
                } else {
                    assert!(seen.insert(peer));
                }
            }
        }
        assert_eq!(seen.len(), 1000);
    }

    #[test]
    fn lives_follow_the_protocol_and_only_acknowledged_changes_count() {
        let population = Population::new(&spec(10, 7, ZIPF, true));
        let mut living = Living::new(&population, Mix { scrapes: 0.0, ..spec(1, 7, ZIPF, true).mix }, 0);
        let mut events = HashSet::new();
        for step in 0..2000 {
            let before = population.life(0);
            let Some(Job::Announce { peer: 0, event, next }) = living.next(0) else { panic!() };
            let good = match (before, event) {
                (Life::Absent, Event::Started) => next != Life::Absent,
                (Life::Leecher, Event::Completed) => next == Life::Seeder,
                (Life::Leecher | Life::Seeder, Event::None) => next == before,
                (Life::Leecher | Life::Seeder, Event::Stopped) => next == Life::Absent,
                _ => false,
            };
            assert!(good, "{before:?} {event:?} {next:?}");
            events.insert(event as u8);
            let job = Job::Announce { peer: 0, event, next };
            if step % 2 == 0 {
                living.failed(0, job);
                assert_eq!(population.life(0), before);
            } else {
                living.answered(0, job, &Answer::Error("".into()));
                assert_eq!(population.life(0), next);
            }
        }
        assert_eq!(events.len(), 4);
    }
}
