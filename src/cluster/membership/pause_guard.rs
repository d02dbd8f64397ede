//! Detects when this node itself was paused, because then it cannot judge whether others are alive.
//!
//! A process that was stopped for some seconds has received no heartbeats for as long when it wakes, and would mark
//! all nodes dead at once, before it reads what has arrived in the meantime.

use std::time::Duration;

/// From this delay on, a late wake-up counts as a pause.
const PAUSE: Duration = Duration::from_secs(1);
/// The least time that others are given after a pause.
const LEAST_HOLD: Duration = Duration::from_secs(3);

/// Measures how late a task that should wake up regularly is. Times are uptimes.
#[derive(Debug)]
pub struct PauseGuard {
    /// The longest time between two wake-ups when nothing is wrong.
    period: Duration,
    last: Duration,
    held_until: Duration,
    pauses: u64,
}

impl PauseGuard {
    /// Guards a task that wakes up at least once in `period`, and has done so `now`.
    pub fn new(period: Duration, now: Duration) -> Self {
        Self { period, last: now, held_until: now, pauses: 0 }
    }

    /// The task wakes up. If it is more than a second late, judgement is held back for three seconds or twice the delay,
    /// whichever is longer, and the delay is returned.
    pub fn wake(&mut self, now: Duration) -> Option<Duration> {
        let late = now.saturating_sub(self.last).saturating_sub(self.period);
        self.last = self.last.max(now);
        if late <= PAUSE {
            return None;
        }
        self.pauses += 1;
        self.hold(now, LEAST_HOLD.max(2 * late));
        Some(late)
    }

    /// The task has done something else up to `now`.
    pub fn restart(&mut self, now: Duration) {
        self.last = self.last.max(now);
    }

    /// Holds judgement back for some time.
    pub fn hold(&mut self, now: Duration, time: Duration) {
        self.held_until = self.held_until.max(now + time);
    }

    /// Whether nodes that seem dead must be given more time.
    pub fn holds(&self, now: Duration) -> bool {
        now < self.held_until
    }

    pub fn pauses(&self) -> u64 {
        self.pauses
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_that_wakes_in_time_judges() {
        let mut guard = PauseGuard::new(Duration::from_millis(250), Duration::ZERO);
        for at in (0..20_000).step_by(250).chain([21_000, 21_250]) {
            assert_eq!(guard.wake(Duration::from_millis(at)), None, "{at}");
            assert!(!guard.holds(Duration::from_millis(at)));
        }
        assert_eq!(guard.pauses(), 0);
    }

    #[test]
    fn after_a_pause_others_get_three_seconds_or_twice_as_long_as_it_was() {
        for (pause, hold) in [(1_001, 3_000), (1_500, 3_000), (1_600, 3_200), (60_000, 120_000)] {
            let mut guard = PauseGuard::new(Duration::from_millis(250), Duration::ZERO);
            let woken = Duration::from_millis(250 + pause);
            assert_eq!(guard.wake(woken), Some(Duration::from_millis(pause)));
            let end = woken + Duration::from_millis(hold);
            assert!(guard.holds(end - Duration::from_millis(1)), "{pause}");
            assert!(!guard.holds(end), "{pause}");
            assert_eq!(guard.pauses(), 1);
        }
    }

    #[test]
    fn a_short_pause_does_not_end_a_longer_hold() {
        let mut guard = PauseGuard::new(Duration::ZERO, Duration::ZERO);
        guard.wake(Duration::from_secs(10));
        guard.wake(Duration::from_secs(12));
        assert!(guard.holds(Duration::from_secs(29)));
        assert!(!guard.holds(Duration::from_secs(30)));
    }
}
