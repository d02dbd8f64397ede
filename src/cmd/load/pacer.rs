//! The schedule of an open loop: requests are due at times that do not depend on the answers.

use rand::SeedableRng;
use rand::rngs::StdRng;
use rand_distr::{Distribution, Exp1};

use super::flights::Nanos;
use super::spec::Arrivals;

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

    /// The due time of the next request, if it is due. A generator that falls behind gets all missed requests, each with its
    /// own due time.
    pub fn due(&mut self, now: Nanos) -> Option<Nanos> {
        let due = self.next()?;
        if due > now {
            return None;
        }
        self.advance();
        Some(due)
    }

    /// The due time of the next request; `None` after the end.
    pub fn next(&self) -> Option<Nanos> {
        let next = self.next as Nanos;
        (next < self.end).then_some(next)
    }
}

#[cfg(test)]
mod tests {
    use hdrhistogram::Histogram;

    use super::super::flights::{Flight, Flights};
    use super::*;

    const MS: Nanos = 1_000_000;

    fn all(arrivals: Arrivals, seed: u64) -> Vec<Nanos> {
        let mut pacer = Pacer::new(1000.0, arrivals, 5 * MS, 10_005 * MS, seed);
        std::iter::from_fn(|| pacer.due(Nanos::MAX)).collect()
    }

    #[test]
    fn both_arrivals_keep_the_rate_and_end_in_time() {
        let constant = all(Arrivals::Constant, 1);
        assert!((9_999..=10_000).contains(&constant.len()), "{}", constant.len());
        assert!(constant.windows(2).all(|pair| (pair[1] - pair[0]).abs_diff(MS) <= 1));
        let poisson = all(Arrivals::Poisson, 1);
        assert!((9_600..10_400).contains(&poisson.len()), "{}", poisson.len());
        assert!(poisson.is_sorted() && *poisson.last().unwrap() < 10_005 * MS);
        // Of exponential gaps, 1 - 1/e are shorter than the mean.
        let short = poisson.windows(2).filter(|pair| pair[1] - pair[0] < MS).count() as f64 / poisson.len() as f64;
        assert!((short - 0.632).abs() < 0.03, "{short}");
        assert_eq!(poisson, all(Arrivals::Poisson, 1));
        assert_ne!(poisson, all(Arrivals::Poisson, 2));
    }

    #[test]
    fn nothing_is_due_before_its_time() {
        let mut pacer = Pacer::new(1000.0, Arrivals::Constant, 0, 10 * MS, 1);
        assert_eq!((pacer.due(MS - 1), pacer.next()), (None, Some(MS)));
        assert_eq!((pacer.due(MS), pacer.due(MS)), (Some(MS), None));
        assert_eq!((pacer.due(4 * MS), pacer.due(4 * MS)), (Some(2 * MS), Some(3 * MS)), "what was missed comes after");
    }

    /// A server that answers in 1 ms, but does nothing between 1 s and 2 s, under 1,000 requests per second for 10 s
    /// from a generator that sleeps as well. Of the 10,000 requests, 10 % wait for half a second on average. A
    /// generator that counts from the actual send would see one slow answer.
    #[test]
    fn a_stall_is_seen_by_all_requests_that_were_due_in_it() {
        let mut pacer = Pacer::new(1000.0, Arrivals::Constant, 0, 10_000 * MS, 1);
        let mut flights = Flights::new(64, 5_000 * MS);
        let mut latencies = Histogram::<u64>::new(3).unwrap();
        let mut now = 0;
        while now < 10_000 * MS {
            now += if now == 1_000 * MS { 1_000 * MS } else { MS / 2 };
            while let Some(intended) = pacer.due(now) {
                let id = flights.begin(Flight { job: (), source: 0, intended, sent: now }).unwrap();
                let answered = now + MS;
                latencies.record(answered - flights.finish(id).unwrap().intended).unwrap();
            }
        }
        assert!(latencies.len() >= 9_999);
        assert!(latencies.value_at_quantile(0.89) <= 2 * MS);
        assert!((450 * MS..550 * MS).contains(&latencies.value_at_quantile(0.95)));
        assert!((990 * MS..1_010 * MS).contains(&latencies.max()));
    }
}
