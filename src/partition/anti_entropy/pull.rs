//! Driver side: how a node makes its copy of a partition equal to that of another node: compare digests, then fetch the buckets that differ. That is
//! how a node joins, catches up after a restart, and repairs what deltas have missed.
//!
//! A pull goes one way: the other copy gets what it lacks when it pulls in turn. The other copy may change all the time:
//! a bucket is in sync once it was equal in any comparison, as later changes come as deltas.

use std::time::Duration;

use futures_util::future::join;
use tracing::{Instrument, Span, field};

use crate::clock::Now;
use crate::faults;
use crate::partition::anti_entropy::chunk::Chunk;
use crate::partition::anti_entropy::digest::{Digest, Window};
use crate::partition::merge::MergeCounts;
use crate::swarm::Partition;
use crate::telemetry::trace::names;
use crate::wire::peer::Refusal;

/// Chunks of a pull. A partition never has more; every node holds far less.
const MAX_CHUNKS: u64 = 1 << 20;

/// Why a pull has failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PullError {
    #[error("the other node does not answer: {0}")]
    Unreachable(String),
    #[error("the other node refuses: {0}")]
    Refused(#[from] Refusal),
    #[error("the other node sent a malformed answer")]
    Malformed,
    #[error("an owner of this node is overloaded")]
    Overloaded,
    #[error("the pull took too long")]
    TimedOut,
}

impl PullError {
    /// For the attribute `error.type`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Unreachable(_) => "unreachable",
            Self::Refused(_) => "refused",
            Self::Malformed => "malformed",
            Self::Overloaded => "overloaded",
            Self::TimedOut => "timeout",
        }
    }
}

/// The copy that is pulled from, on another node. Every call has a deadline.
pub trait RemoteCopy: Sync {
    fn digest(&self, partition: Partition, window: Window) -> impl Future<Output = Result<Vec<u64>, PullError>> + Send;

    /// See [`chunk`](crate::partition::anti_entropy::chunk::chunk).
    fn fetch(
        &self,
        partition: Partition,
        buckets: u64,
        cursor: Vec<u8>,
    ) -> impl Future<Output = Result<Chunk, PullError>> + Send;
}

/// The copy that is made equal, on this node. Every call has a deadline.
pub trait LocalCopy: Sync {
    fn digest(&self, partition: Partition, window: Window) -> impl Future<Output = Result<Vec<u64>, PullError>> + Send;

    /// Merges a chunk that was made `waited` seconds ago ([`crate::partition::merge::merge_chunk`]).
    fn merge(&self, batch: Vec<u8>, waited: u32) -> impl Future<Output = Result<MergeCounts, PullError>> + Send;

    fn now(&self) -> Now;

    fn pause(&self, time: Duration) -> impl Future<Output = ()> + Send;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PullOptions {
    /// Lifetime of a peer, in seconds.
    pub peer_ttl: u16,
    /// See [`Window::at`].
    pub lag: Duration,
    /// See [`Window::at`].
    pub margin: Duration,
    /// The pause between two chunks, which bounds the rate.
    pub pause: Duration,
    /// The pause before buckets that differ are compared once more and then fetched.
    pub settle: Duration,
    /// The most often that buckets are fetched.
    pub rounds: u32,
    /// This node has never had the partition: the first comparison includes even the youngest records, as no deltas have
    /// brought it those.
    pub handoff: bool,
}

impl PullOptions {
    /// The defaults, for a comparison.
    pub fn new(peer_ttl: u16) -> Self {
        Self {
            peer_ttl,
            lag: Duration::from_secs(3),
            margin: Duration::from_secs(60).min(Duration::from_secs(peer_ttl.into()) / 10),
            pause: Duration::from_millis(5),
            settle: Duration::from_millis(500),
            rounds: 3,
            handoff: false,
        }
    }
}

/// The result of a pull.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pulled {
    /// This copy has everything that the other one had: every bucket was equal in some comparison, or came whole and
    /// contained nothing new.
    pub in_sync: bool,
    /// Buckets that were fetched in the first round.
    pub buckets_differed: u32,
    /// Buckets that were never equal. If `in_sync`, this copy has more in them, and the other node has to pull.
    pub buckets_left: u32,
    /// The outcome of the records that were fetched.
    pub merged: MergeCounts,
    /// Bytes of the chunks.
    pub bytes: u64,
    pub chunks: u64,
    /// How often buckets were fetched.
    pub rounds: u32,
}

/// Makes the local copy of a partition equal to the remote one, as far as the remote one has more.
///
/// # Errors
/// The first error of either copy. What was merged before stays.
pub async fn pull(
    remote: &impl RemoteCopy,
    local: &impl LocalCopy,
    partition: Partition,
    options: PullOptions,
) -> Result<Pulled, PullError> {
    Pull { remote, local, partition, options, pulled: Pulled::default() }.run().await
}

/// A pull in progress.
struct Pull<'a, R, L> {
    remote: &'a R,
    local: &'a L,
    partition: Partition,
    options: PullOptions,
    pulled: Pulled,
}

impl<R: RemoteCopy, L: LocalCopy> Pull<'_, R, L> {
    async fn run(mut self) -> Result<Pulled, PullError> {
        // Buckets that were not equal yet.
        let mut open = u64::MAX;
        loop {
            open = self.compare(open).await?;
            self.pulled.buckets_left = open.count_ones();
            if open == 0 || self.pulled.rounds == self.options.rounds {
                return Ok(Pulled { in_sync: open == 0, ..self.pulled });
            }
            if self.pulled.rounds == 0 {
                self.pulled.buckets_differed = open.count_ones();
            }
            self.pulled.rounds += 1;

            let before = self.pulled.merged;
            let span = self.repair_span(open);
            let fetched = self.fetch(open).instrument(span.clone()).await;
            let merged = self.pulled.merged;
            span.record("records", merged.kept - before.kept);
            if let Err(error) = &fetched {
                span.record("error.type", error.kind());
            }

            // Whatever still differs is ours. A joiner whose last announces had not left when it died must not wait until
            // the other nodes receive them.
            let complete = fetched?;
            let nothing_new = merged.changed == before.changed && merged.refused == before.refused;
            if nothing_new || !complete {
                return Ok(Pulled { in_sync: true, ..self.pulled });
            }
        }
    }

    /// Those of the `open` buckets that still differ.
    async fn compare(&self, open: u64) -> Result<u64, PullError> {
        if self.options.handoff && self.pulled.rounds == 0 {
            let window = Window { to: u64::MAX, ..self.window() };
            return Ok(open & self.differing(window).await?);
        }
        let open = open & self.differing(self.window()).await?;
        if open == 0 {
            return Ok(0);
        }
        // A record that changes between the two digests makes them differ; the next time it is another bucket.
        self.local.pause(self.options.settle).await;
        Ok(open & self.differing(self.window()).await?)
    }

    fn window(&self) -> Window {
        let PullOptions { peer_ttl, lag, margin, .. } = self.options;
        Window::at(self.local.now().wall_millis, peer_ttl, lag, margin)
    }

    /// A bit for each bucket that differs now.
    async fn differing(&self, window: Window) -> Result<u64, PullError> {
        let digests = join(self.remote.digest(self.partition, window), self.local.digest(self.partition, window));
        let (theirs, ours) = digests.await;
        let [theirs, ours] = [theirs?, ours?].map(|digest| Digest::try_from(digest).map_err(|_| PullError::Malformed));
        let pairs = theirs?.into_iter().zip(ours?).enumerate();
        Ok(pairs.filter(|(_, (theirs, ours))| theirs != ours).fold(0, |bits, (at, _)| bits | 1 << at))
    }

    /// The span of one round of a comparison. A handoff has a span as a whole.
    fn repair_span(&self, buckets: u64) -> Span {
        if self.options.handoff {
            return Span::none();
        }
        tracing::info_span!(
            target: names::TARGET,
            names::span::REPAIR,
            partition = self.partition.0,
            buckets = buckets.count_ones(),
            records = field::Empty,
            "error.type" = field::Empty,
        )
    }

    /// Fetches some buckets, one chunk after the other. False if a chunk was lost on purpose ([`faults::LOSE_CHUNK`]).
    async fn fetch(&mut self, buckets: u64) -> Result<bool, PullError> {
        let mut cursor = Vec::new();
        let mut complete = true;
        for _ in 0..MAX_CHUNKS {
            let requested = self.local.now().uptime;
            let Chunk { batch, next } = self.remote.fetch(self.partition, buckets, cursor.clone()).await?;
            self.pulled.chunks += 1;
            self.pulled.bytes += batch.len() as u64;

            // Not rounded up, or every pull would make records that did not change a second older. So a copy is younger
            // than its source by less than a second, and not by more when it is merged back.
            let waited = self.local.now().uptime.saturating_sub(requested).as_secs().try_into().unwrap_or(u32::MAX);
            if faults::LOSE_CHUNK.take() {
                complete = false;
            } else if !batch.is_empty() {
                self.pulled.merged += self.local.merge(batch, waited).await?;
            }

            if next.is_empty() {
                return Ok(complete);
            }
            if next == cursor {
                break;
            }
            cursor = next;
            self.local.pause(self.options.pause).await;
        }
        Err(PullError::Malformed)
    }
}

#[cfg(test)]
mod tests;
