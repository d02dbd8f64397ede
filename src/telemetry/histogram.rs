//! A histogram of durations that many threads can record into.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// The upper bounds of the buckets, in microseconds; the last bucket has none. 100 ms and 250 ms are exact bounds
/// because the service objectives use them.
pub const BOUNDS_MICROS: [u64; 13] =
    [250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000];

/// Each duration is counted in the first bucket whose bound it does not exceed.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [AtomicU64; BOUNDS_MICROS.len() + 1],
    nanos: AtomicU64,
}

/// A snapshot of a [`Histogram`].
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Spread {
    /// Cumulative: durations up to each bound, including those of all earlier buckets.
    pub up_to: [u64; BOUNDS_MICROS.len()],
    /// Durations in total.
    pub count: u64,
    /// Their sum, in seconds.
    pub seconds: f64,
}

impl Histogram {
    /// Records a duration `times` times.
    pub fn record(&self, duration: Duration, times: u64) {
        let micros = duration.as_nanos().div_ceil(1000);
        let bucket = BOUNDS_MICROS.partition_point(|bound| u128::from(*bound) < micros);
        self.buckets[bucket].fetch_add(times, Relaxed);
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        // Wraps after 584 years in total, as counters may.
        self.nanos.fetch_add(nanos.wrapping_mul(times), Relaxed);
    }

    /// A snapshot of all buckets.
    pub fn spread(&self) -> Spread {
        let mut spread = Spread { seconds: self.nanos.load(Relaxed) as f64 / 1e9, ..Spread::default() };
        for (at, bucket) in self.buckets.iter().enumerate() {
            spread.count += bucket.load(Relaxed);
            if let Some(up_to) = spread.up_to.get_mut(at) {
                *up_to = spread.count;
            }
        }
        spread
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_in_the_first_bucket_whose_bound_it_does_not_exceed() {
        let histogram = Histogram::default();
        histogram.record(Duration::from_millis(100), 2);
        histogram.record(Duration::from_millis(100) + Duration::from_nanos(1), 1);
        histogram.record(Duration::from_millis(250), 1);
        histogram.record(Duration::from_secs(3600), 1);
        let spread = histogram.spread();
        assert_eq!(spread.up_to[7..10], [0, 2, 4]);
        assert_eq!((spread.up_to[12], spread.count), (4, 5));
        assert!((spread.seconds - 3600.55).abs() < 1e-6, "{}", spread.seconds);
    }

    #[test]
    fn bounds_are_ascending() {
        assert!(BOUNDS_MICROS.is_sorted_by(|a, b| a < b));
    }
}
