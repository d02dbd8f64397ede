//! How late the event loops of a node are.

use std::time::Duration;

use tokio::time::{Instant, Interval, MissedTickBehavior, interval};

use super::histogram::Histogram;

/// The event loop of one thread.
#[derive(Debug)]
pub struct EventLoop {
    /// The name of its thread.
    pub name: String,
    /// How long after its time the thread ran what was due then. Timers are precise to a millisecond.
    pub lag: Histogram,
}

impl EventLoop {
    /// That of the thread with this name.
    pub fn new(name: String) -> Self {
        Self { name, lag: Histogram::default() }
    }

    /// Waits until it is time; counts how much later it has become.
    pub async fn tick(&self, ticks: &mut Interval) {
        let due = ticks.tick().await;
        self.lag.record(Instant::now().saturating_duration_since(due), 1);
    }

    /// Ticks for nothing else, for ever.
    pub async fn watch(&self, every: Duration) {
        let mut ticks = Self::ticks(every);
        loop {
            self.tick(&mut ticks).await;
        }
    }

    /// Ticks of which none is made up for.
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
    async fn a_thread_that_is_held_up_is_late() {
        let held_up = EventLoop::new("serve-0".into());
        let mut ticks = EventLoop::ticks(Duration::from_millis(1));
        held_up.tick(&mut ticks).await;
        std::thread::sleep(Duration::from_millis(60));
        held_up.tick(&mut ticks).await;
        let spread = held_up.lag.spread();
        // Later than 50 ms, but for the first.
        assert_eq!((spread.count, spread.up_to[7]), (2, 1));
    }
}
