//! The pull of one partition from another node.

use std::sync::Arc;
use std::time::Duration;

use tracing::{Instrument, Span, field};

use crate::clock::{Clock, Now};
use crate::link::{Class, Completion, Link, LinkError};
use crate::partition::anti_entropy::pull::{self, LocalCopy, PullError, PullOptions, Pulled, RemoteCopy};
use crate::partition::merge::{self, Taken};
use crate::partition::owner::Owners;
use crate::partition::peer_requests;
use crate::swarm::Partition;
use crate::telemetry::trace::names;
use crate::wire::peer::{Reply, Request};

/// How long the other node may take for one step.
const DEADLINE: Duration = Duration::from_secs(5);
/// How long a whole pull may take.
const PULL: Duration = Duration::from_secs(600);
/// Swarms that one step drops.
const DROP_STEP: usize = 1024;

/// A pull to be made.
pub struct Job {
    /// The partition.
    pub partition: Partition,
    /// It is to be held here, and is not yet.
    pub handoff: bool,
    /// The node that it comes from.
    pub link: Arc<Link>,
    /// The owners of this node.
    pub owners: Arc<Owners>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Lifetime of a peer, in seconds.
    pub peer_ttl: u16,
}

impl Job {
    /// Pulls; `None` when it failed.
    pub async fn pull(self) -> Option<Pulled> {
        let partition = self.partition;
        let span = if self.handoff {
            let from = &self.link.target().id;
            tracing::info_span!(
                target: names::TARGET,
                names::span::HANDOFF,
                partition = partition.0,
                %from,
                records = field::Empty,
                bytes = field::Empty,
                in_sync = field::Empty,
                "error.type" = field::Empty,
            )
        } else {
            // A comparison that finds nothing is none of interest; what it repairs has a span of its own.
            Span::none()
        };
        let (source, target) = (Remote(self.link), Local { partition, owners: self.owners, clock: self.clock });
        let options = PullOptions { handoff: self.handoff, ..PullOptions::new(self.peer_ttl) };
        let pull = pull::pull(&source, &target, partition, options).instrument(span.clone());
        let pulled = tokio::time::timeout(PULL, pull).await;
        match &pulled {
            Ok(Ok(pulled)) => {
                span.record("records", pulled.taken.kept);
                span.record("bytes", pulled.bytes);
                span.record("in_sync", pulled.in_sync);
            }
            Ok(Err(error)) => _ = span.record("error.type", error.kind()),
            Err(_) => _ = span.record("error.type", "timeout"),
        }
        match pulled {
            Ok(Ok(pulled)) => Some(pulled),
            Ok(Err(error)) => {
                tracing::debug!(%partition, %error, "a pull failed");
                None
            }
            Err(_) => None,
        }
    }
}

/// Drops the data of a partition, little by little.
pub async fn drop_partition(owners: &Owners, partition: Partition) {
    let step = || {
        owners.visit(partition, move |partitions, _| {
            let v4 = partitions.v4.drop_partition_step(partition, DROP_STEP);
            partitions.v6.drop_partition_step(partition, DROP_STEP) && v4
        })
    };
    // An owner that is overloaded or was replaced lets the rest expire.
    while step().await == Some(false) {
        tokio::task::yield_now().await;
    }
}

/// Tells another node that it has to compare, as changes for it were dropped.
pub fn tell_to_compare(link: &Link) {
    struct Ignored;
    impl Completion for Ignored {
        fn reply(&mut self, _: Reply, _: bool) {}
        fn failed(self: Box<Self>, _: LinkError) {}
    }
    // Lost, it is made up for by the next regular comparison.
    link.send(Class::Request, &Request::Compare, DEADLINE, Box::new(Ignored));
}

struct Remote(Arc<Link>);

impl Remote {
    async fn ask(&self, request: Request) -> Result<Reply, PullError> {
        self.0.call(Class::Bulk, &request, DEADLINE).await.map_err(|error| match error {
            LinkError::Refused(refusal) => PullError::Refused(refusal),
            other => PullError::Unreachable(other.to_string()),
        })
    }
}

impl RemoteCopy for Remote {
    async fn digest(&self, partition: Partition, from: u64, to: u64) -> Result<Vec<u64>, PullError> {
        match self.ask(Request::Digest { partition, from, to }).await? {
            Reply::Digest(digest) => Ok(digest),
            _ => Err(PullError::Malformed),
        }
    }

    async fn fetch(
        &self,
        partition: Partition,
        buckets: u64,
        cursor: Vec<u8>,
    ) -> Result<(Vec<u8>, Vec<u8>), PullError> {
        match self.ask(Request::Fetch { partition, buckets, cursor: cursor.into() }).await? {
            Reply::Chunk { pieces, next } => Ok((pieces.into_vec(), next.into_vec())),
            _ => Err(PullError::Malformed),
        }
    }
}

struct Local {
    partition: Partition,
    owners: Arc<Owners>,
    clock: Arc<dyn Clock>,
}

impl LocalCopy for Local {
    async fn digest(&self, partition: Partition, from: u64, to: u64) -> Result<Vec<u64>, PullError> {
        peer_requests::digest(&self.owners, partition, from, to).await.ok_or(PullError::Overloaded)
    }

    async fn merge(&self, pieces: Vec<u8>, waited: u32) -> Result<Taken, PullError> {
        let merged = self
            .owners
            .visit(self.partition, move |partitions, now| merge::merge_chunk(&pieces, waited, partitions, now));
        merged.await.ok_or(PullError::Overloaded)?.map_err(|_| PullError::Malformed)
    }

    fn now(&self) -> Now {
        self.clock.now()
    }

    async fn pause(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }
}
