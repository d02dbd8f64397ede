//! How the announces of this node's clients are answered: from which source, and how soon.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Clock;
use crate::swarm::{Family, Source};
use crate::telemetry::histogram::Histogram;
use crate::telemetry::trace::Transport;

/// Latencies of announces, of all threads, since the start.
pub struct Answers {
    clock: Arc<dyn Clock>,
    /// By transport, family and source.
    durations: [[[Histogram; Source::ALL.len()]; 2]; 2],
}

/// The answered announces of one batch.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally([[u32; Source::ALL.len()]; 2]);

impl Tally {
    /// Adds one.
    #[inline]
    pub fn add(&mut self, family: Family, source: Source) {
        self.0[family as usize][source as usize] += 1;
    }
}

impl Answers {
    /// None yet, measured by this clock.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, durations: Default::default() }
    }

    /// The uptime now.
    pub fn now(&self) -> Duration {
        self.clock.now().uptime
    }

    /// Counts a batch of UDP announces that was received at one uptime and is answered at another.
    pub fn udp(&self, batch: &Tally, received: Duration, answered: Duration) {
        for (durations, counts) in self.durations[Transport::Udp as usize].iter().zip(batch.0) {
            for (duration, count) in durations.iter().zip(counts).filter(|(_, count)| *count > 0) {
                duration.record(answered.saturating_sub(received), count.into());
            }
        }
    }

    /// Counts an HTTP announce that was received at this uptime and is answered now.
    pub fn http(&self, family: Family, source: Source, received: Duration) {
        let duration = self.now().saturating_sub(received);
        self.durations[Transport::Http as usize][family as usize][source as usize].record(duration, 1);
    }

    /// How long announces took until they were answered.
    pub fn durations(&self, transport: Transport, family: Family, source: Source) -> &Histogram {
        &self.durations[transport as usize][family as usize][source as usize]
    }
}
