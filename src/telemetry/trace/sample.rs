//! Which announces are traced from their beginning, and how many afterwards.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Chooses a share of requests by counting down to the next: one subtraction for all others.
#[derive(Debug)]
pub struct Countdown {
    /// Requests before the next that is chosen.
    left: u64,
    ratio: f64,
    random: fn() -> u64,
}

impl Countdown {
    /// Chooses nothing, and asks for no random number.
    pub fn never() -> Self {
        Self { left: u64::MAX, ratio: 0.0, random: || 0 }
    }

    /// Chooses this share, each request as likely as any other. `random` is uniform over all of `u64`.
    pub fn new(ratio: f64, random: fn() -> u64) -> Self {
        let mut it = Self { left: 0, ratio, random };
        it.left = it.skip();
        it
    }

    /// Whether this request is chosen.
    #[inline]
    pub fn hit(&mut self) -> bool {
        if self.left > 0 {
            self.left -= 1;
            return false;
        }
        self.left = self.skip();
        self.ratio > 0.0
    }

    /// How many are passed over before one is chosen: distributed geometrically.
    fn skip(&self) -> u64 {
        if self.ratio <= 0.0 {
            return u64::MAX;
        }
        if self.ratio >= 1.0 {
            return 0;
        }
        // Above 0 and at most 1.
        let uniform = (((self.random)() >> 11) + 1) as f64 / (1u64 << 53) as f64;
        (uniform.ln() / (-self.ratio).ln_1p()) as u64
    }
}

/// Allows a number per second.
#[derive(Debug)]
pub struct Limiter {
    per_second: u32,
    /// The second in the upper half, and how many it has had in the lower.
    now: AtomicU64,
}

impl Limiter {
    /// Lets this many through in a second.
    pub fn new(per_second: u32) -> Self {
        Self { per_second, now: AtomicU64::new(0) }
    }

    /// Whether one more may pass at this uptime.
    pub fn allow(&self, uptime: Duration) -> bool {
        let second = (uptime.as_secs() & u64::from(u32::MAX)) << 32;
        let next = |now: u64| {
            let had = if now & !u64::from(u32::MAX) == second { now & u64::from(u32::MAX) } else { 0 };
            (had < u64::from(self.per_second)).then_some(second | (had + 1))
        };
        self.now.fetch_update(Relaxed, Relaxed, next).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_is_met() {
        for ratio in [1e-3, 0.01, 0.5] {
            let mut countdown = Countdown::new(ratio, rand::random);
            let requests = (2_000.0 / ratio) as usize;
            let hits = (0..requests).filter(|_| countdown.hit()).count();
            assert!((1_700..2_300).contains(&hits), "{hits} of {requests} at {ratio}");
        }
    }

    #[test]
    fn all_and_none_are_exact() {
        let mut all = Countdown::new(1.0, || unreachable!("no random number is needed"));
        assert!((0..1000).all(|_| all.hit()));
        for mut none in [Countdown::never(), Countdown::new(0.0, || unreachable!())] {
            assert!(!(0..1000).any(|_| none.hit()));
        }
    }

    #[test]
    fn the_extremes_of_chance_are_sound() {
        let mut soon = Countdown::new(0.01, || u64::MAX);
        assert!(soon.hit());
        let mut late = Countdown::new(0.01, || 0);
        assert_eq!((0..10_000).position(|_| late.hit()), Some(3655));
    }

    #[test]
    fn so_many_pass_in_a_second() {
        let limiter = Limiter::new(3);
        let passed = |at| (0..10).filter(|_| limiter.allow(Duration::from_millis(at))).count();
        assert_eq!([passed(900), passed(999), passed(1000), passed(5500)], [3, 0, 3, 3]);
        assert!(!Limiter::new(0).allow(Duration::ZERO));
    }
}
