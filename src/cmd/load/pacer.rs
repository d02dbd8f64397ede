//! The schedule of an open loop: requests are due at times that do not depend on the answers.

use rand::SeedableRng;
use rand::rngs::StdRng;
use rand_distr::{Distribution, Exp1};

use super::args::Arrivals;
use super::flights::Nanos;

/// A send later than this after its due time counts as late: the generator, not the tracker, was too slow.
pub const LATE: Nanos = 1_000_000;

/// The due times of one worker.
pub struct Pacer {
    gap: f64,
    arrivals: Arrivals,
    next: f64,
    end: Nanos,
    rng: StdRng,
}

impl Pacer {
    /// `rate` requests per second from `start` to `end`.
    pub fn new(rate: f64, arrivals: Arrivals, start: Nanos, end: Nanos, seed: u64) -> Self {
        let mut pacer = Self { gap: 1e9 / rate, arrivals, next: start as f64, end, rng: StdRng::seed_from_u64(seed) };
        pacer.advance();
        pacer
    }

    fn advance(&mut self) {
        self.next += match self.arrivals {
            Arrivals::Constant => self.gap,
            Arrivals::Poisson => self.gap * <Exp1 as Distribution<f64>>::sample(&Exp1, &mut self.rng),
        };
    }

    /// The due time of the next request, if it has come. A generator that falls behind gets all that it missed, each
    /// with its own due time.
    pub fn due(&mut self, now: Nanos) -> Option<Nanos> {
        let due = self.next()?;
        if due > now {
            return None;
        }
        self.advance();
        Some(due)
    }

    /// The due time of the next request; none after the end.
    pub fn next(&self) -> Option<Nanos> {
        let next = self.next as Nanos;
        (next < self.end).then_some(next)
    }
}
