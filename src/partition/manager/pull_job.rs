//! The driver side of one pull: connects [`anti_entropy::pull`](crate::partition::anti_entropy::pull) to a link and to the
//! owners of this node. The receiver side, on the node that is pulled from, is
//! [`serving`](crate::partition::serving).
//!
//! Invariants:
//! * Every step has a deadline, and so has the whole pull: a job always ends, and reports back.
//! * A job changes the data of its own partition only, and only by the merge law.

use std::sync::Arc;
use std::time::Duration;

use tracing::{Instrument, Span, field};

use crate::clock::{Clock, Now};
use crate::link::{Class, Completion, Link, LinkError};
use crate::partition::anti_entropy::chunk::Chunk;
use crate::partition::anti_entropy::digest::Window;
use crate::partition::anti_entropy::pull::{self, LocalCopy, PullError, PullOptions, Pulled, RemoteCopy};
use crate::partition::merge::{self, MergeCounts};
use crate::partition::owner::Owners;
use crate::partition::serving;
use crate::swarm::Partition;
use crate::telemetry::trace::names;
use crate::wire::peer::{Reply, Request};

/// How long the other node may take for one step.
const STEP_DEADLINE: Duration = Duration::from_secs(5);
/// How long a whole pull may take.
const PULL_DEADLINE: Duration = Duration::from_secs(600);
/// Swarms that one step drops.
const DROP_STEP: usize = 1024;

pub struct PullJob {
    pub partition: Partition,
    /// The partition comes to this node; otherwise two copies are compared.
    pub handoff: bool,
    /// The link to the node that is pulled from.
    pub link: Arc<Link>,
    pub owners: Arc<Owners>,
    pub clock: Arc<dyn Clock>,
    /// Lifetime of a peer, in seconds.
    pub peer_ttl: u16,
}

impl PullJob {
    /// Runs the pull; `None` if it failed.
    pub async fn run(self) -> Option<Pulled> {
        let Self { partition, handoff, .. } = self;
        let from = self.link.target().id.clone();
        if handoff {
            tracing::debug!(event = "pull_started", %partition, %from, "pulling a partition");
        } else {
            tracing::debug!(event = "comparison_started", %partition, with = %from, "comparing a partition");
        }

        let span = self.span();
        let remote = LinkedCopy(self.link);
        let local = OwnedCopy { partition, owners: self.owners, clock: self.clock };
        let options = PullOptions { handoff, ..PullOptions::new(self.peer_ttl) };
        let pull = pull::pull(&remote, &local, partition, options).instrument(span.clone());
        let pulled = tokio::time::timeout(PULL_DEADLINE, pull).await.unwrap_or(Err(PullError::TimedOut));

        match pulled {
            Ok(pulled) => {
                span.record("records", pulled.merged.kept);
                span.record("bytes", pulled.bytes);
                span.record("in_sync", pulled.in_sync);
                let Pulled { in_sync, buckets_differed, bytes, .. } = pulled;
                let event = if handoff { "pull_finished" } else { "comparison_finished" };
                tracing::debug!(event, %partition, %from, in_sync, buckets_differed, bytes, "pulled from another copy");
                Some(pulled)
            }
            Err(error) => {
                span.record("error.type", error.kind());
                let event = if handoff { "pull_failed" } else { "comparison_failed" };
                tracing::debug!(event, %partition, %from, %error, "a pull failed");
                None
            }
        }
    }

    /// The span of a handoff. A comparison has none, as one that finds nothing is of no interest; its repairs have spans
    /// of their own.
    fn span(&self) -> Span {
        if !self.handoff {
            return Span::none();
        }
        tracing::info_span!(
            target: names::TARGET,
            names::span::HANDOFF,
            partition = self.partition.0,
            from = %self.link.target().id,
            records = field::Empty,
            bytes = field::Empty,
            in_sync = field::Empty,
            "error.type" = field::Empty,
        )
    }
}

/// Drops the data of a partition, in steps.
pub async fn drop_partition(owners: &Owners, partition: Partition) {
    let step = || {
        owners.visit(partition, move |partitions, _| {
            let v4 = partitions.v4.drop_partition_step(partition, DROP_STEP);
            partitions.v6.drop_partition_step(partition, DROP_STEP) && v4
        })
    };
    // With an owner that is overloaded or was replaced, the rest expires.
    while step().await == Some(false) {
        tokio::task::yield_now().await;
    }
}

/// Requests that another node compares its copies with those of this one.
pub fn request_comparison(link: &Link) {
    struct Ignored;
    impl Completion for Ignored {
        fn reply(&mut self, _: Reply, _: bool) {}
        fn failed(self: Box<Self>, _: LinkError) {}
    }
    // If it gets lost, the next regular comparison makes up for it.
    link.send(Class::Request, &Request::Compare, STEP_DEADLINE, Box::new(Ignored));
}

/// The copy of another node, reached by its link.
struct LinkedCopy(Arc<Link>);

impl LinkedCopy {
    async fn call(&self, request: Request) -> Result<Reply, PullError> {
        self.0.call(Class::Bulk, &request, STEP_DEADLINE).await.map_err(|error| match error {
            LinkError::Refused(refusal) => PullError::Refused(refusal),
            other => PullError::Unreachable(other.to_string()),
        })
    }
}

impl RemoteCopy for LinkedCopy {
    async fn digest(&self, partition: Partition, window: Window) -> Result<Vec<u64>, PullError> {
        match self.call(Request::Digest { partition, from: window.from, to: window.to }).await? {
            Reply::Digest(digest) => Ok(digest),
            _ => Err(PullError::Malformed),
        }
    }

    async fn fetch(&self, partition: Partition, buckets: u64, cursor: Vec<u8>) -> Result<Chunk, PullError> {
        match self.call(Request::Fetch { partition, buckets, cursor: cursor.into() }).await? {
            Reply::Chunk { pieces, next } => Ok(Chunk { batch: pieces.into_vec(), next: next.into_vec() }),
            _ => Err(PullError::Malformed),
        }
    }
}

/// The copy of this node, with its owner.
struct OwnedCopy {
    partition: Partition,
    owners: Arc<Owners>,
    clock: Arc<dyn Clock>,
}

impl LocalCopy for OwnedCopy {
    async fn digest(&self, partition: Partition, window: Window) -> Result<Vec<u64>, PullError> {
        serving::digest(&self.owners, partition, window).await.ok_or(PullError::Overloaded)
    }

    async fn merge(&self, batch: Vec<u8>, waited: u32) -> Result<MergeCounts, PullError> {
        let merged = self
            .owners
            .visit(self.partition, move |partitions, now| merge::merge_chunk(&batch, waited, partitions, now));
        merged.await.ok_or(PullError::Overloaded)?.map_err(|_| PullError::Malformed)
    }

    fn now(&self) -> Now {
        self.clock.now()
    }

    async fn pause(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }
}
