//! `--verify`: which of the announced peers does the tracker know?

use std::collections::HashSet;
use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use serde_json::{Value, json};

use super::answer::Answer;
use super::job::{Job, PeerState};
use super::population::{FIRST_PORT, Population};
use super::workload::Workload;

/// Swarms per scrape: what every UDP tracker can answer in one datagram.
const SCRAPE: u32 = 70;
/// Swarms that an observer joins.
const SAMPLE: u32 = 1000;

/// The findings of all workers.
pub struct Findings<'a> {
    population: &'a Population,
    expected: Vec<u32>,
    /// Whether the observer joins every swarm instead of a sample.
    every: bool,
    scraped: Vec<AtomicU32>,
    looks: Mutex<Vec<Look>>,
}

/// An announce reply to the observer.
#[derive(Clone, Copy, Debug)]
struct Look {
    swarm: u32,
    members: u32,
    /// Of these, peers that have not stopped.
    alive: u32,
    strangers: u32,
}

/// The result of the comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recall {
    /// Peers that were announced and are still expected.
    pub expected: u64,
    /// Of these, peers that the scrape counts include.
    pub known: u64,
    /// Peers in the scrape counts beyond what is expected.
    pub extra: u64,
    /// Swarms that the observer joined.
    pub sampled_swarms: u64,
    /// Peers that should have been returned there, given the longest list that it got.
    pub sample_expected: u64,
    /// Distinct members of the swarm that were returned.
    pub sample_known: u64,
    /// Returned peers that were never announced in that swarm.
    pub strangers: u64,
    /// Peers that were not returned although the list had room for them.
    pub missing: u64,
    /// Returned peers that had stopped.
    pub risen: u64,
}

impl Recall {
    /// Known of expected peers, in percent.
    pub fn percent(&self) -> f64 {
        percent(self.known, self.expected)
    }

    /// The result as a JSON object.
    pub fn json(&self) -> Value {
        json!({
            "known": self.known,
            "expected": self.expected,
            "percent": self.percent(),
            "extra": self.extra,
            "sample": {
                "swarms": self.sampled_swarms,
                "known": self.sample_known,
                "expected": self.sample_expected,
                "percent": percent(self.sample_known, self.sample_expected),
                "strangers": self.strangers,
                "missing": self.missing,
                "risen": self.risen,
            },
        })
    }
}

fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 { 100.0 } else { part as f64 * 100.0 / whole as f64 }
}

impl fmt::Display for Recall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "known {} of {} ({:.1} %), {} too many; returned in {} sampled swarms: {} of {} ({:.1} %), {} strangers, \
             {} missing, {} risen",
            self.known,
            self.expected,
            self.percent(),
            self.extra,
            self.sampled_swarms,
            self.sample_known,
            self.sample_expected,
            percent(self.sample_known, self.sample_expected),
            self.strangers,
            self.missing,
            self.risen,
        )
    }
}

impl<'a> Findings<'a> {
    /// Expects the current state of the population, in every swarm or in a sample.
    pub fn new(population: &'a Population, every: bool) -> Self {
        Self {
            population,
            every,
            expected: population.expected(),
            scraped: (0..population.swarms()).map(|_| AtomicU32::new(0)).collect(),
            looks: Mutex::new(Vec::new()),
        }
    }

    /// Compares the findings with the expectation.
    pub fn recall(&self) -> Recall {
        let (mut known, mut extra) = (0, 0);
        for (expected, scraped) in self.expected.iter().zip(&self.scraped) {
            let scraped = scraped.load(Relaxed);
            known += u64::from(scraped.min(*expected));
            extra += u64::from(scraped.saturating_sub(*expected));
        }
        let looks = self.looks.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        // The longest reply shows the tracker's limit; no reply can be expected to hold more.
        let limit = looks.iter().map(|look| look.members + look.strangers).max().unwrap_or(0);
        let sum = |value: &dyn Fn(&Look) -> u32| looks.iter().map(|look| u64::from(value(look))).sum();
        Recall {
            expected: self.expected.iter().map(|e| u64::from(*e)).sum(),
            known,
            extra,
            sampled_swarms: looks.len() as u64,
            sample_expected: sum(&|look| self.expected[look.swarm as usize].min(limit)),
            sample_known: sum(&|look| look.members),
            strangers: sum(&|look| look.strangers),
            missing: sum(&|look| {
                let missing = self.expected[look.swarm as usize].saturating_sub(look.alive);
                if look.members + look.strangers < limit { missing } else { 0 }
            }),
            risen: sum(&|look| look.members - look.alive),
        }
    }
}

/// The passes of `--verify`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    /// Scrapes all swarms.
    Scrape,
    /// Announces as an observer in a sample of them. This follows all scrapes, as they would count the observer.
    Look,
}

/// One pass of `--verify`. Every source takes its share.
pub struct Verify<'a> {
    findings: &'a Findings<'a>,
    pass: Pass,
    cursors: Vec<u32>,
    retries: Vec<Vec<Job>>,
}

impl<'a> Verify<'a> {
    /// The share of one worker.
    pub fn new(findings: &'a Findings<'a>, pass: Pass) -> Self {
        let sources = findings.population.sources();
        Self { findings, pass, cursors: (0..sources).collect(), retries: vec![Vec::new(); sources as usize] }
    }

    fn fresh(&mut self, source: u32) -> Option<Job> {
        let p = self.findings.population;
        let cursor = &mut self.cursors[source as usize];
        let at = *cursor;
        *cursor = at.saturating_add(p.sources());
        match self.pass {
            Pass::Scrape => (at < p.swarms().div_ceil(SCRAPE)).then(|| {
                let first = at * SCRAPE;
                Job::Scrape { first, count: SCRAPE.min(p.swarms() - first) as u8 }
            }),
            Pass::Look => {
                // Half of the sample are the largest swarms, half are spread over all.
                let sample = if self.findings.every { p.swarms() } else { SAMPLE.min(p.swarms()) };
                let spread = (u64::from(at) * u64::from(p.swarms()) / u64::from(sample)) as u32;
                let swarm = if at < sample / 2 || self.findings.every { at } else { spread };
                (at < sample).then_some(Job::Observe { swarm, leave: false })
            }
        }
    }
}

impl Workload for Verify<'_> {
    fn next(&mut self, source: u32) -> Option<Job> {
        self.retries[source as usize].pop().or_else(|| self.fresh(source))
    }

    fn answered(&mut self, source: u32, job: Job, answer: &Answer<'_>) {
        let population = self.findings.population;
        match (job, answer) {
            (Job::Scrape { first, .. }, Answer::Scrape(counts)) => {
                for (swarm, counts) in (first..).zip(counts.iter()) {
                    let peers = counts.seeders.saturating_add(counts.leechers);
                    self.findings.scraped[swarm as usize].store(peers, Relaxed);
                }
            }
            (Job::Observe { swarm, leave: false }, Answer::Announce(peers)) => {
                let distinct: HashSet<_> = peers.iter().collect();
                let belongs = |peer: u32| population.swarm_of(peer) == swarm;
                let peers = distinct.iter().filter_map(|p| population.peer_at(p.ip(), p.port()));
                let members: Vec<_> = peers.filter(|peer| belongs(*peer)).collect();
                let alive = members.iter().filter(|peer| population.state(**peer) != PeerState::Absent).count() as u32;
                let members = members.len() as u32;
                // Observers of other targets have stopped, but this may not have been replicated yet.
                let peers = distinct.iter().filter(|peer| peer.port() >= FIRST_PORT).count() as u32;
                let look = Look { swarm, members, alive, strangers: peers - members };
                self.findings.looks.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push(look);
                self.retries[source as usize].push(Job::Observe { swarm, leave: true });
            }
            _ => {}
        }
    }

    fn failed(&mut self, source: u32, job: Job) {
        self.retries[source as usize].push(job);
    }
}
