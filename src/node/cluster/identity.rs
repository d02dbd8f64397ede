//! Who a node is in its cluster, and at which addresses the others reach it.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};

use super::error::ClusterError;
use crate::clock::Clock;
use crate::cluster::Me;
use crate::config::Settings;
use crate::link::VERSIONS;
use crate::wire::peer::Hello;

pub struct Identity {
    pub me: Me,
    /// The address that gossip listens on.
    pub gossip: SocketAddr,
    /// The address at which others reach its gossip.
    pub gossip_advertised: SocketAddr,
    /// The address that links from other nodes are accepted on.
    pub link: SocketAddr,
}

impl Identity {
    /// From the settings; `None` for a node without a cluster.
    ///
    /// # Errors
    /// When `cluster.advertise` cannot be looked up.
    pub fn new(settings: &Settings, clock: &dyn Clock) -> Result<Option<Self>, ClusterError> {
        let cluster = &settings.cluster;
        let (Some(gossip), Some(link)) = (cluster.gossip, cluster.link) else { return Ok(None) };
        let advertised = match &cluster.advertise {
            None => None,
            Some(name) => {
                let failed = |error| ClusterError::Advertise { name: name.clone(), error };
                let found = (name.as_str(), 0).to_socket_addrs().map_err(failed)?;
                // Of the address family that gossip listens on.
                let found = found.map(|addr| addr.ip()).find(|ip| ip.is_ipv4() == gossip.is_ipv4());
                let none = || failed(io::Error::other("it has no address of the same family as cluster.gossip"));
                Some(found.ok_or_else(none)?)
            }
        };
        let reached = |addr: SocketAddr| SocketAddr::new(advertised.unwrap_or(addr.ip()), addr.port());
        let me = Me {
            id: settings.node.id.as_str().into(),
            region: settings.node.region.as_str().into(),
            incarnation: clock.now().wall_millis,
            link: reached(link),
            weight: cluster.weight,
            partitions: cluster.partitions,
            replicas: cluster.replicas_per_region,
            protocol: VERSIONS[1],
        };
        Ok(Some(Self { me, gossip, gossip_advertised: reached(gossip), link }))
    }

    /// How it introduces itself when a link opens.
    pub(super) fn hello(&self, cluster: &str) -> Hello {
        Hello {
            cluster: cluster.into(),
            node: self.me.id.to_string(),
            region: self.me.region.to_string(),
            incarnation: self.me.incarnation,
            versions: VERSIONS,
            partitions: self.me.partitions,
            replicas: self.me.replicas,
        }
    }
}
