//! How fast a round copies: evenly over its length, so that owners and disk never have much to do at once.

use std::time::Duration;

use super::copier::MAX_STEP;
use crate::swarm::Totals;

/// How long the last round of a node that stops may take.
pub const LAST_ROUND: Duration = Duration::from_secs(10);
/// The pause between two steps.
const STEP_PAUSE: Duration = Duration::from_millis(20);
/// The fewest swarms and records that a step copies.
const MIN_STEP: usize = 1_024;

/// The last round of a node that stops has taken [`LAST_ROUND`].
#[derive(Debug)]
pub struct OutOfTime;

/// A unit is a swarm or a record.
pub struct Pace {
    began: Duration,
    /// Zero for the last round, which goes as fast as it can.
    length: Duration,
    total: u64,
    copied: u64,
}

impl Pace {
    pub fn new(began: Duration, length: Duration, total: u64) -> Self {
        Self { began, length, total, copied: 0 }
    }

    pub fn is_last_round(&self) -> bool {
        self.length.is_zero()
    }

    pub fn add(&mut self, units: u64) {
        self.copied += units;
    }

    /// Units that the next step should copy.
    pub fn budget(&self, now: Duration) -> Result<usize, OutOfTime> {
        let elapsed = now.saturating_sub(self.began);
        if self.is_last_round() {
            return if elapsed < LAST_ROUND { Ok(MAX_STEP) } else { Err(OutOfTime) };
        }
        // Past the end only what was added during the round is left.
        if elapsed >= self.length {
            return Ok(MAX_STEP);
        }
        Ok((self.due(elapsed + STEP_PAUSE).saturating_sub(self.copied) as usize).clamp(MIN_STEP, MAX_STEP))
    }

    /// The pause before the next step.
    pub fn pause(&self, now: Duration) -> Duration {
        let is_behind = self.due(now.saturating_sub(self.began)) > self.copied;
        if is_behind { Duration::ZERO } else { STEP_PAUSE }
    }

    /// Units that should be copied by then.
    fn due(&self, elapsed: Duration) -> u64 {
        let share = elapsed.as_secs_f64() / self.length.as_secs_f64();
        (self.total as f64 * share.min(1.0)) as u64
    }
}

/// The units of an owner.
pub fn units(totals: Totals) -> u64 {
    let Totals { swarms, leechers, partial_seeds, seeders, stopped, .. } = totals;
    (swarms + leechers + partial_seeds + seeders + stopped) as u64
}
