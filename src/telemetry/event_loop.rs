//! Measures event-loop lag: how late threads run their timers.

use std::time::Duration;

use tokio::time::{Instant, Interval, MissedTickBehavior, interval};

use super::histogram::Histogram;

/// The event loop of one thread.
#[derive(Debug)]
pub struct EventLoop {
    /// The name of the thread.
    pub name: String,
    /// How late timers fired. Timers are precise to a millisecond.
    pub lag: Histogram,
}

impl EventLoop {
    /// `name` is the name of the thread.
    pub fn new(name: String) -> Self {
        Self { name, lag: Histogram::default() }
    }

    /// Waits for the next tick and records how late it was.
    pub async fn tick(&self, ticks: &mut Interval) {
        let due = ticks.tick().await;
        self.lag.record(Instant::now().saturating_duration_since(due), 1);
    }

    /// Ticks forever, only to measure the lag.
    pub async fn watch(&self, every: Duration) {
        let mut ticks = Self::ticks(every);
        loop {
            self.tick(&mut ticks).await;
        }
    }

    /// An interval that does not catch up on missed ticks.
    pub fn ticks(every: Duration) -> Interval {
        let mut ticks = interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_blocked_thread_is_late() {
        let held_up = EventLoop::new("serve-0".into());
        let mut ticks = EventLoop::ticks(Duration::from_millis(1));
        held_up.tick(&mut ticks).await;
        std::thread::sleep(Duration::from_millis(60));
        held_up.tick(&mut ticks).await;
        let spread = held_up.lag.spread();
        // All but the first are later than 50 ms.
        assert_eq!((spread.count, spread.up_to[7]), (2, 1));
    }
}
