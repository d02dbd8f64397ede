//! Scrapes: their swarms may lie with many owners, here and on other nodes.

use std::collections::BTreeMap;

use futures_util::future::join_all;
use tokio::sync::oneshot;

use super::{ClusterRouting, DEADLINE, Router, Unavailable, receive};
use crate::cluster::NodeIndex;
use crate::link::Class;
use crate::partition::{Message, Route};
use crate::swarm::{Counts, Family, InfoHash, SwarmKey};
use crate::wire::peer::{Reply, Request};

/// A swarm that is asked for, and its position in the scrape.
type Wanted = (usize, SwarmKey);

impl Router {
    /// The counts of some swarms in one family, in the order of their info hashes, which may repeat. For swarms that no
    /// other node can be asked for, the counts are those that this node knows.
    ///
    /// # Errors
    /// [`Unavailable`] when any owner of this node is overloaded or does not answer within 250 ms.
    pub async fn scrape(&self, family: Family, info_hashes: &[InfoHash]) -> Result<Vec<Counts>, Unavailable> {
        let mut counts = vec![Counts::default(); info_hashes.len()];
        let keys = info_hashes.iter().map(|info_hash| self.owners.key(*info_hash));
        let mut wanted: Vec<Wanted> = keys.enumerate().collect();
        if let Some(cluster) = &self.cluster {
            wanted = self.scrape_others(cluster, family, wanted, &mut counts).await;
        }
        let keys: Vec<SwarmKey> = wanted.iter().map(|(_, key)| *key).collect();
        let local = self.scrape_here(family, &keys).await?;
        wanted.iter().zip(local).for_each(|((at, _), swarm)| counts[*at] = swarm);
        Ok(counts)
    }

    /// Fills in the counts of swarms that other nodes hold. Returns the swarms to be asked for here.
    async fn scrape_others(
        &self,
        cluster: &ClusterRouting,
        family: Family,
        mut wanted: Vec<Wanted>,
        counts: &mut [Counts],
    ) -> Vec<Wanted> {
        let (mut here, mut tried, began) = (Vec::new(), Vec::new(), cluster.clock.now().uptime);
        while let Some(deadline) = cluster.time_left(began).filter(|_| !wanted.is_empty()) {
            let mut by_node: BTreeMap<NodeIndex, Vec<Wanted>> = BTreeMap::new();
            let mut calls = Vec::new();
            {
                let routes = cluster.routes.load();
                for swarm in wanted.drain(..) {
                    match routes.next(self.owners.partition(swarm.1.hash), &tried) {
                        Route::Node(node, ..) => by_node.entry(node).or_default().push(swarm),
                        Route::Here(_) | Route::NoHolder => here.push(swarm),
                    }
                }
                for (node, swarms) in by_node {
                    let Some(link) = routes.peer(node).map(|peer| peer.link.clone()) else { continue };
                    let info_hashes: Vec<u8> = swarms.iter().flat_map(|(_, key)| key.info_hash.0).collect();
                    let request = Request::Scrape { v6: family == Family::V6, info_hashes: info_hashes.into() };
                    calls.push(async move { (node, swarms, link.call(Class::Request, &request, deadline).await) });
                }
            }
            for (node, swarms, reply) in join_all(calls).await {
                match reply {
                    Ok(Reply::Counts(received)) if received.len() == swarms.len() => {
                        for ((at, _), [seeders, leechers, partial_seeds, completed]) in swarms.iter().zip(received) {
                            counts[*at] = Counts { seeders, leechers, partial_seeds, completed };
                        }
                    }
                    _ => {
                        tried.push(node);
                        wanted.extend(swarms);
                    }
                }
            }
        }
        here.append(&mut wanted);
        here
    }

    /// The counts of some swarms as this node knows them.
    ///
    /// # Errors
    /// [`Unavailable`] when any owner is overloaded or does not answer within 250 ms.
    pub(super) async fn scrape_here(&self, family: Family, keys: &[SwarmKey]) -> Result<Vec<Counts>, Unavailable> {
        if self.owners.load().is_empty() {
            return Err(Unavailable);
        }
        let mut replies = Vec::new();
        for (owner, wanted) in self.owners.group_by_owner(keys.iter().copied().enumerate(), |(_, key)| key.hash) {
            let (positions, keys): (Vec<usize>, Vec<SwarmKey>) = wanted.into_iter().unzip();
            let (reply, counts) = oneshot::channel();
            self.send(&owner, Message::Scrape(family, keys, reply))?;
            replies.push((positions, counts));
        }
        let mut counts = vec![Counts::default(); keys.len()];
        for (positions, reply) in replies {
            positions.into_iter().zip(receive(reply, DEADLINE).await?).for_each(|(at, swarm)| counts[at] = swarm);
        }
        Ok(counts)
    }
}
