//! Time, which comes in from outside so that a simulation can drive a node.

use std::time::{Duration, Instant, SystemTime};

/// One reading of both clocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Time since the node's start; never goes back.
    pub uptime: Duration,
    /// Milliseconds since the Unix epoch; may jump.
    pub wall_millis: u64,
}

impl Now {
    /// Seconds since the Unix epoch, modulo 2^32.
    pub fn wall_seconds(self) -> u32 {
        (self.wall_millis / 1000) as u32
    }
}

/// A source of time.
pub trait Clock: Send + Sync + 'static {
    /// Reads both clocks.
    fn now(&self) -> Now;

    /// What the wall clock would have shown when the uptime was zero, as precisely as can be computed now.
    fn started(&self) -> SystemTime {
        let now = self.now();
        let wall = SystemTime::UNIX_EPOCH + Duration::from_millis(now.wall_millis);
        wall.checked_sub(now.uptime).unwrap_or(SystemTime::UNIX_EPOCH)
    }
}

/// The system's clocks.
#[derive(Debug)]
pub struct SystemClock {
    start: Instant,
}

impl SystemClock {
    /// A clock whose uptime starts now.
    #[expect(clippy::disallowed_methods, reason = "the one place where real time comes in")]
    pub fn start() -> Self {
        Self { start: Instant::now() }
    }
}

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place where real time comes in")]
    fn now(&self) -> Now {
        let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Now { uptime: self.start.elapsed(), wall_millis: u64::try_from(wall.as_millis()).unwrap_or(u64::MAX) }
    }

    #[expect(clippy::disallowed_methods, reason = "the one place where real time comes in")]
    fn started(&self) -> SystemTime {
        SystemTime::now().checked_sub(self.start.elapsed()).unwrap_or(SystemTime::UNIX_EPOCH)
    }
}
