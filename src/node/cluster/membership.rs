//! How a node learns of the other members, and advertises itself to them.

use std::sync::Arc;
use std::time::Duration;

use chitchat::transport::Transport;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::watch;

use super::error::ClusterError;
use super::identity::Identity;
use crate::clock::Clock;
use crate::cluster::{Conflict, Members, Membership, MembershipConfig, PartitionSet};
use crate::config::Settings;
use crate::partition::Gossip;

/// The time between two rounds of gossip.
const GOSSIP_INTERVAL: Duration = Duration::from_millis(500);

/// Where the list of members comes from.
pub enum MemberSource {
    /// Gossip over this transport.
    Gossip(Arc<dyn Transport>),
    /// A simulation's replacement for gossip.
    Simulated { members: watch::Receiver<Arc<Members>>, gossip: Arc<dyn Gossip> },
}

/// A started [`MemberSource`].
pub(super) struct MembershipHandle {
    pub members: watch::Receiver<Arc<Members>>,
    pub gossip: Arc<dyn Gossip>,
    pub conflict: watch::Receiver<Option<Conflict>>,
    /// `None` when simulated.
    pub membership: Option<Arc<Membership>>,
}

impl MembershipHandle {
    pub async fn start(
        settings: &Settings,
        identity: &Identity,
        source: MemberSource,
        clock: &Arc<dyn Clock>,
    ) -> Result<Self, ClusterError> {
        let transport = match source {
            MemberSource::Gossip(transport) => transport,
            MemberSource::Simulated { members, gossip } => {
                return Ok(Self { members, gossip, conflict: watch::channel(None).1, membership: None });
            }
        };

        let addr = identity.gossip;
        let config = MembershipConfig {
            cluster: settings.cluster.name.clone(),
            me: identity.me.clone(),
            listen: addr,
            advertise: identity.gossip_advertised,
            seeds: settings.cluster.seeds.clone(),
            gossip_interval: GOSSIP_INTERVAL,
        };
        let membership = Membership::start(config, transport, clock.clone()).await;
        let membership =
            Arc::new(membership.map_err(|error| ClusterError::Gossip { addr, reason: error.to_string() })?);

        let (members, conflict) = (membership.members(), membership.conflict());
        Ok(Self { members, gossip: Arc::new(GossipHandle(membership.clone())), conflict, membership: Some(membership) })
    }
}

/// Advertises this node by gossip.
struct GossipHandle(Arc<Membership>);

impl Gossip for GossipHandle {
    fn set_held(&self, held: PartitionSet) -> BoxFuture<'_, ()> {
        async move { self.0.set_held(&held).await }.boxed()
    }

    fn set_leaving(&self) -> BoxFuture<'_, ()> {
        self.0.set_leaving().boxed()
    }
}
