//! The pull of one partition from another node.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::{Clock, Now};
use crate::link::{Class, Link};
use crate::partition::digest::{DigestWalk, Window};
use crate::partition::handle::Owners;
use crate::partition::pull::{self, PullError, PullOptions, Pulled, Source, Target};
use crate::wire::frame::{Reply, Request};

/// How long the other node may take for one step.
const DEADLINE: Duration = Duration::from_secs(5);
/// How long a whole pull may take.
const PULL: Duration = Duration::from_secs(600);
/// Records or swarms that one step of a walk looks at.
const STEP: usize = 8192;

/// A pull to be made.
pub struct Job {
    /// The partition.
    pub partition: u16,
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
        let (source, target) = (Remote(self.link), Local { owners: self.owners, clock: self.clock });
        let options = PullOptions::new(self.peer_ttl);
        let pulled = tokio::time::timeout(PULL, pull::pull(&source, &target, self.partition, options)).await;
        match pulled {
            Ok(Ok(pulled)) => Some(pulled),
            Ok(Err(error)) => {
                tracing::debug!(partition = self.partition, %error, "a pull failed");
                None
            }
            Err(_) => None,
        }
    }
}
