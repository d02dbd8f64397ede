//! The requests of a phase, and what their outcome changes.

use rand::RngExt;
use rand::rngs::StdRng;

use super::answer::Answer;
use super::job::{Job, PeerState};
use super::population::Population;
use super::spec::Mix;
use crate::swarm::Event;

/// The most hashes in a scrape of the mixed load; real clients send one to a few.
const MAX_SCRAPE: u32 = 10;
/// The most peers that are checked to find one that is not waiting for an answer.
const MAX_BUSY: u32 = 64;

/// Generates the requests of one worker, and is notified of their outcome.
pub trait Workload {
    /// The next request from this source; `None` if it has nothing to send now.
    fn next(&mut self, source: u32) -> Option<Job>;
    /// The answer was correct.
    fn answered(&mut self, _source: u32, _job: Job, _answer: &Answer<'_>) {}
    /// There was no answer in time, or an error.
    fn failed(&mut self, _source: u32, _job: Job) {}
}

/// The mixed load: each peer goes through its states independently.
pub struct MixedLoad<'a> {
    population: &'a Population,
    mix: Mix,
    rng: StdRng,
}

impl<'a> MixedLoad<'a> {
    /// The load of one worker, with its own random numbers.
    pub fn new(population: &'a Population, mix: Mix, worker: u32) -> Self {
        Self { population, mix, rng: population.random_of(worker) }
    }

    fn step(&mut self, state: PeerState) -> (Event, PeerState) {
        let dice: f64 = self.rng.random();
        match state {
            PeerState::Absent if dice < self.mix.seeders => (Event::Started, PeerState::Seeder),
            PeerState::Absent => (Event::Started, PeerState::Leecher),
            _ if dice < self.mix.stops => (Event::Stopped, PeerState::Absent),
            PeerState::Leecher if dice < self.mix.stops + self.mix.completes => (Event::Completed, PeerState::Seeder),
            same => (Event::None, same),
        }
    }
}

impl Workload for MixedLoad<'_> {
    fn next(&mut self, source: u32) -> Option<Job> {
        let p = self.population;
        let peer = self.rng.random_range(0..p.peers_of_source(source)) * p.sources() + source;
        if self.mix.scrapes > 0.0 && self.rng.random_bool(self.mix.scrapes) {
            let count = self.rng.random_range(1..=MAX_SCRAPE.min(p.swarms()));
            let first = p.swarm_of(peer).min(p.swarms() - count);
            return Some(Job::Scrape { first, count: count as u8 });
        }
        // The next peer of the source that is not waiting for an answer, or this one if all are.
        let (count, first) = (p.peers_of_source(source), peer / p.sources());
        let mut peers = (0..count.min(MAX_BUSY)).map(|at| (first + at) % count * p.sources() + source);
        let peer = peers.find(|peer| !p.set_busy(*peer, true)).unwrap_or(peer);
        let (event, next) = self.step(p.state(peer));
        Some(Job::Announce { peer, event, next })
    }

    fn answered(&mut self, _source: u32, job: Job, _answer: &Answer<'_>) {
        if let Job::Announce { peer, next, .. } = job {
            self.population.set_state(peer, next);
            self.population.set_busy(peer, false);
        }
    }

    fn failed(&mut self, _source: u32, job: Job) {
        if let Job::Announce { peer, .. } = job {
            self.population.set_busy(peer, false);
        }
    }
}

/// `--fill`: every peer announces `started`; failed announces are repeated.
pub struct Fill<'a> {
    population: &'a Population,
    cursors: Vec<u32>,
    retries: Vec<Vec<u32>>,
}

impl<'a> Fill<'a> {
    pub fn new(population: &'a Population) -> Self {
        let sources = population.sources() as usize;
        Self { population, cursors: vec![0; sources], retries: vec![Vec::new(); sources] }
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
            self.retries[source as usize].pop()?
        };
        Some(Job::Announce { peer, event: Event::Started, next: p.first_state(peer) })
    }

    fn answered(&mut self, _source: u32, job: Job, _answer: &Answer<'_>) {
        if let Job::Announce { peer, next, .. } = job {
            self.population.set_state(peer, next);
        }
    }

    fn failed(&mut self, source: u32, job: Job) {
        if let Job::Announce { peer, .. } = job {
            self.retries[source as usize].push(peer);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::super::population::tests::{ZIPF, spec};
    use super::super::spec::Spec;
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_peers_and_requests() {
        let spec = spec(100, 1000, ZIPF, true);
        let run = |seed| {
            let population = Population::new(&Spec { seed, ..spec.clone() });
            let mut load = MixedLoad::new(&population, spec.mix, 0);
            let jobs: Vec<_> = (0..500).map(|i| load.next(i % 7).unwrap()).collect();
            let hashes: Vec<_> = (0..100).map(|swarm| population.info_hash(swarm)).collect();
            let swarms: Vec<_> = (0..1000).map(|peer| population.swarm_of(peer)).collect();
            (swarms, jobs, hashes)
        };
        assert_eq!(run(1), run(1));
        let ((swarms, jobs, hashes), (other_swarms, other_jobs, other_hashes)) = (run(1), run(2));
        assert!(swarms != other_swarms && jobs != other_jobs && hashes != other_hashes);
        assert_eq!(hashes.iter().collect::<HashSet<_>>().len(), 100);
    }

    #[test]
    fn fill_announces_every_peer_once_and_repeats_failures() {
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
    fn states_follow_the_protocol_and_only_acknowledged_changes_count() {
        let population = Population::new(&spec(10, 7, ZIPF, true));
        let mut load = MixedLoad::new(&population, Mix { scrapes: 0.0, ..spec(1, 7, ZIPF, true).mix }, 0);
        let mut events = HashSet::new();
        for step in 0..2000 {
            let before = population.state(0);
            let Some(Job::Announce { peer: 0, event, next }) = load.next(0) else { panic!() };
            let good = match (before, event) {
                (PeerState::Absent, Event::Started) => next != PeerState::Absent,
                (PeerState::Leecher, Event::Completed) => next == PeerState::Seeder,
                (PeerState::Leecher | PeerState::Seeder, Event::None) => next == before,
                (PeerState::Leecher | PeerState::Seeder, Event::Stopped) => next == PeerState::Absent,
                _ => false,
            };
            assert!(good, "{before:?} {event:?} {next:?}");
            events.insert(event as u8);
            let job = Job::Announce { peer: 0, event, next };
            if step % 2 == 0 {
                load.failed(0, job);
                assert_eq!(population.state(0), before);
            } else {
                load.answered(0, job, &Answer::Error("".into()));
                assert_eq!(population.state(0), next);
            }
        }
        assert_eq!(events.len(), 4);
    }
}
