//! How a copy of a partition is made equal to another one: compare digests, then fetch the buckets that differ. That is
//! how a node joins, catches up after a restart, and repairs what deltas have missed.
//!
//! A pull goes one way: what the other copy lacks it gets when it pulls in its turn. It may run against a copy that
//! changes all the time; a bucket is in sync once it was equal in any comparison, as all that changed since comes as
//! deltas.

use std::time::Duration;

use futures_util::future::join;
use tracing::{Instrument, Span, field};

use crate::clock::Now;
use crate::faults;
use crate::partition::Partitions;
use crate::partition::anti_entropy::digest::{Digest, Window};
use crate::partition::anti_entropy::scan::{ScanCursor, ScannedSwarm, Visitor};
use crate::partition::merge::Taken;
use crate::partition::record_codec::RecordBatch;
use crate::swarm::{AddressFamily, Partition, Record, Second};
use crate::telemetry::trace::names;
use crate::wire::peer::Refusal;

/// Records of a chunk, swarms that have none counted as one: at most 256 KiB.
pub const MAX_CHUNK: usize = 4_096;
/// Chunks of a pull. More are no partition; every node holds far less.
const MAX_CHUNKS: u64 = 1 << 20;

/// A part of a partition on its way to another node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chunk {
    /// See [`crate::partition::record_codec`].
    pub pieces: Vec<u8>,
    /// Where to go on; empty at the end.
    pub next: Vec<u8>,
}

/// A cursor that no chunk has told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a cursor")]
pub struct BadCursor;

/// The chunk of a partition that begins at `cursor`, empty at first: those swarms whose bucket has its bit set, up to
/// `budget` records ([`MAX_CHUNK`] at most). One that has no pieces need not be the last.
///
/// # Errors
/// When the cursor makes no sense.
pub fn chunk(
    partitions: &Partitions,
    partition: Partition,
    buckets: u64,
    cursor: &[u8],
    budget: usize,
    now: Now,
) -> Result<Chunk, BadCursor> {
    let place = ScanCursor::from_bytes(cursor).ok_or(BadCursor)?;
    let now = Second::new(now.uptime.as_secs());
    let mut writer = Writer { pieces: RecordBatch::default(), now, ttl: partitions.v4.ttl() };
    let next = place.walk(partitions, partition, buckets, budget.min(MAX_CHUNK), &mut writer);
    Ok(Chunk { pieces: writer.pieces.into_bytes(), next: next.map(ScanCursor::to_bytes).unwrap_or_default() })
}

struct Writer {
    pieces: RecordBatch,
    now: Second,
    ttl: u16,
}

impl Visitor for Writer {
    fn visit<F: AddressFamily>(&mut self, ScannedSwarm { info_hash, completed, records, .. }: ScannedSwarm<'_, F>) {
        let expired = |record: &Record<F>| record.expired(self.now, self.ttl);
        let completed = completed.unwrap_or(0);
        if records.iter().any(expired) {
            let living: Vec<_> = records.iter().filter(|record| !expired(record)).copied().collect();
            self.pieces.push(&info_hash, completed, &living, self.now);
        } else if !records.is_empty() || completed > 0 {
            self.pieces.push(&info_hash, completed, records, self.now);
        }
    }
}

/// Why a pull has failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PullError {
    /// The other node does not answer in time, or not at all.
    #[error("the other node does not answer: {0}")]
    Unreachable(String),
    /// The other node says no.
    #[error("the other node refuses: {0}")]
    Refused(#[from] Refusal),
    /// The other node says what makes no sense.
    #[error("the other node's answer makes no sense")]
    Malformed,
    /// An owner of this node does not answer in time.
    #[error("an owner of this node is overloaded")]
    Overloaded,
}

impl PullError {
    /// In a word.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Unreachable(_) => "unreachable",
            Self::Refused(_) => "refused",
            Self::Malformed => "malformed",
            Self::Overloaded => "overloaded",
        }
    }
}

/// The copy that is pulled from, on another node. Every call has a deadline.
pub trait RemoteCopy: Sync {
    /// The digest of a partition over the stamps from `from` to before `to`.
    fn digest(
        &self,
        partition: Partition,
        from: u64,
        to: u64,
    ) -> impl Future<Output = Result<Vec<u64>, PullError>> + Send;

    /// The pieces of a chunk and the cursor of the next, see [`chunk`].
    fn fetch(
        &self,
        partition: Partition,
        buckets: u64,
        cursor: Vec<u8>,
    ) -> impl Future<Output = Result<(Vec<u8>, Vec<u8>), PullError>> + Send;
}

/// The copy that is made equal, on this node. Every call has a deadline.
pub trait LocalCopy: Sync {
    /// See [`RemoteCopy::digest`].
    fn digest(
        &self,
        partition: Partition,
        from: u64,
        to: u64,
    ) -> impl Future<Output = Result<Vec<u64>, PullError>> + Send;

    /// Merges pieces that were made `waited` seconds ago ([`crate::partition::merge::merge_chunk`]).
    fn merge(&self, pieces: Vec<u8>, waited: u32) -> impl Future<Output = Result<Taken, PullError>> + Send;

    /// The time.
    fn now(&self) -> Now;

    /// Lets time pass.
    fn pause(&self, time: Duration) -> impl Future<Output = ()> + Send;
}

/// How a pull is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PullOptions {
    /// Lifetime of a peer, in seconds.
    pub peer_ttl: u16,
    /// See [`Window::at`].
    pub lag: Duration,
    /// See [`Window::at`].
    pub margin: Duration,
    /// The time between two chunks, which bounds the rate.
    pub pause: Duration,
    /// The time after which buckets that differ are compared once more before they are fetched.
    pub settle: Duration,
    /// How often buckets are fetched, at the most.
    pub rounds: u32,
    /// The target has never had the partition: at first all records count, the youngest too, as nobody has told it those.
    pub handoff: bool,
}

impl PullOptions {
    /// The usual ones.
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

/// What a pull has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pulled {
    /// This copy has all that the other one had: every bucket was equal in some comparison, or came as a whole and
    /// brought nothing new.
    pub in_sync: bool,
    /// Buckets that were fetched in the first round.
    pub buckets_differed: u32,
    /// Buckets that were never equal. If `in_sync`, this copy has more in them, and the other one has to pull.
    pub buckets_left: u32,
    /// Records that came, and what became of them.
    pub taken: Taken,
    /// Bytes of pieces that came.
    pub bytes: u64,
    /// Chunks that came.
    pub chunks: u64,
    /// How often buckets were fetched.
    pub rounds: u32,
}

/// Makes the copy of a partition in `target` equal to that in `source`, as far as `source` has more.
///
/// # Errors
/// The first error of either. What was merged before it stays.
pub async fn pull(
    source: &impl RemoteCopy,
    target: &impl LocalCopy,
    partition: Partition,
    options: PullOptions,
) -> Result<Pulled, PullError> {
    let mut pulled = Pulled::default();
    // Buckets that were not equal yet.
    let mut open = u64::MAX;
    loop {
        let all = options.handoff && pulled.rounds == 0;
        open &= differing(source, target, partition, &options, all).await?;
        if open != 0 && !all {
            // A record that changes between the two digests makes them differ; another bucket the next time.
            target.pause(options.settle).await;
            open &= differing(source, target, partition, &options, false).await?;
        }
        pulled.buckets_left = open.count_ones();
        if open == 0 || pulled.rounds == options.rounds {
            return Ok(Pulled { in_sync: open == 0, ..pulled });
        }
        if pulled.rounds == 0 {
            pulled.buckets_differed = open.count_ones();
        }
        pulled.rounds += 1;
        let before = pulled.taken;
        let span = if options.handoff {
            Span::none()
        } else {
            let buckets = open.count_ones();
            tracing::info_span!(
                target: names::TARGET,
                names::span::REPAIR,
                partition = partition.0,
                buckets,
                records = field::Empty,
                "error.type" = field::Empty,
            )
        };
        let fetched = fetch(source, target, partition, open, options.pause, &mut pulled).instrument(span.clone()).await;
        span.record("records", pulled.taken.kept - before.kept);
        let all = fetched.inspect_err(|error| _ = span.record("error.type", error.kind()))?;
        // Whatever differs then is ours. A joiner whose last announces had not left when it died must not wait for the
        // others to hear of them.
        let nothing_new = pulled.taken.changed == before.changed && pulled.taken.refused == before.refused;
        if nothing_new || !all {
            return Ok(Pulled { in_sync: true, ..pulled });
        }
    }
}

/// A bit for each bucket that differs now; `all` counts the youngest records, too.
async fn differing(
    source: &impl RemoteCopy,
    target: &impl LocalCopy,
    partition: Partition,
    options: &PullOptions,
    all: bool,
) -> Result<u64, PullError> {
    let mut window = Window::at(target.now().wall_millis, options.peer_ttl, options.lag, options.margin);
    if all {
        // Whatever the clock of the source says.
        window.to = u64::MAX;
    }
    let Window { from, to } = window;
    let (theirs, ours) = join(source.digest(partition, from, to), target.digest(partition, from, to)).await;
    let [theirs, ours] = [theirs?, ours?].map(|digest| Digest::try_from(digest).map_err(|_| PullError::Malformed));
    let pairs = theirs?.into_iter().zip(ours?).enumerate();
    Ok(pairs.filter(|(_, (theirs, ours))| theirs != ours).fold(0, |bits, (at, _)| bits | 1 << at))
}

/// Fetches some buckets, one chunk after the other. False if a chunk was lost on purpose ([`faults::LOSE_CHUNK`]).
async fn fetch(
    source: &impl RemoteCopy,
    target: &impl LocalCopy,
    partition: Partition,
    buckets: u64,
    pause: Duration,
    pulled: &mut Pulled,
) -> Result<bool, PullError> {
    let (mut cursor, mut all) = (Vec::new(), true);
    for _ in 0..MAX_CHUNKS {
        let asked = target.now().uptime;
        let (pieces, next) = source.fetch(partition, buckets, cursor.clone()).await?;
        pulled.chunks += 1;
        pulled.bytes += pieces.len() as u64;
        // Not rounded up, or every pull would make records a second older that did not change. So a copy is younger than
        // what it was made of by less than a second, and not again when it is merged back.
        let waited = target.now().uptime.saturating_sub(asked).as_secs().try_into().unwrap_or(u32::MAX);
        if faults::LOSE_CHUNK.take() {
            all = false;
        } else if !pieces.is_empty() {
            pulled.taken += target.merge(pieces, waited).await?;
        }
        if next.is_empty() {
            return Ok(all);
        }
        if next == cursor {
            break;
        }
        cursor = next;
        target.pause(pause).await;
    }
    Err(PullError::Malformed)
}

#[cfg(test)]
mod tests;
