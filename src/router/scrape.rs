//! Scrapes: their swarms may lie with many owners, here and on other nodes.

use std::collections::BTreeMap;

use futures_util::future::join_all;
use tokio::sync::oneshot;

use super::{ClusterRouting, Router, Unavailable, answered};
use crate::cluster::NodeIndex;
use crate::link::Class;
use crate::partition::{Message, Route};
use crate::swarm::{Counts, Family, InfoHash};
use crate::wire::peer::{Reply, Request};

/// A swarm that is asked for: its position in the scrape, the keyed hash of its info hash, and that.
type Wanted = (usize, u64, InfoHash);

impl Router {
    /// The counts of some swarms in one family, in the order of their info hashes, which may repeat. Swarms that no other
    /// node can be asked for are told as this node knows them.
    ///
    /// # Errors
    /// [`Unavailable`] when any owner of this node has too much to do or does not answer within 250 ms.
    pub async fn scrape(&self, family: Family, info_hashes: &[InfoHash]) -> Result<Vec<Counts>, Unavailable> {
        let mut counts = vec![Counts::default(); info_hashes.len()];
        let hashes = info_hashes.iter().enumerate();
        let mut wanted: Vec<Wanted> =
            hashes.map(|(at, info_hash)| (at, self.owners.hash(info_hash), *info_hash)).collect();
        if let Some(cluster) = &self.cluster {
            wanted = self.scrape_others(cluster, family, wanted, &mut counts).await;
        }
        let hashes: Vec<_> = wanted.iter().map(|(_, hash, info_hash)| (*hash, *info_hash)).collect();
        let told = self.scrape_here(family, &hashes).await?;
        wanted.iter().zip(told).for_each(|((at, ..), swarm)| counts[*at] = swarm);
        Ok(counts)
    }

    /// Asks the other nodes for what they hold. Returns what is to be asked for here.
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
                    match routes.next(self.owners.partition(swarm.1), &tried) {
                        Route::Node(node, ..) => by_node.entry(node).or_default().push(swarm),
                        Route::Here(_) | Route::Nobody => here.push(swarm),
                    }
                }
                for (node, swarms) in by_node {
                    let Some(link) = routes.peer(node).map(|peer| peer.link.clone()) else { continue };
                    let info_hashes: Vec<u8> = swarms.iter().flat_map(|(.., info_hash)| info_hash.0).collect();
                    let request = Request::Scrape { v6: family == Family::V6, info_hashes: info_hashes.into() };
                    calls.push(async move { (node, swarms, link.call(Class::Request, &request, deadline).await) });
                }
            }
            for (node, swarms, answer) in join_all(calls).await {
                match answer {
                    Ok(Reply::Counts(told)) if told.len() == swarms.len() => {
                        for ((at, ..), [seeders, leechers, partial_seeds, completed]) in swarms.iter().zip(told) {
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
    /// [`Unavailable`] when any owner has too much to do or does not answer within 250 ms.
    pub(super) async fn scrape_here(
        &self,
        family: Family,
        info_hashes: &[(u64, InfoHash)],
    ) -> Result<Vec<Counts>, Unavailable> {
        let mut answers = Vec::new();
        {
            let owners = self.owners.load();
            let (mut hashes_of, mut positions_of) = (vec![Vec::new(); owners.len()], vec![Vec::new(); owners.len()]);
            for (position, (hash, info_hash)) in info_hashes.iter().enumerate() {
                let owner = self.owners.place(*hash, owners.len());
                hashes_of.get_mut(owner).ok_or(Unavailable)?.push((*hash, *info_hash));
                positions_of[owner].push(position);
            }
            for ((owner, hashes), positions) in owners.iter().zip(hashes_of).zip(positions_of) {
                if !hashes.is_empty() {
                    let (reply, answer) = oneshot::channel();
                    self.send(owner, Message::Scrape(family, hashes, reply))?;
                    answers.push((positions, answer));
                }
            }
        }
        let mut counts = vec![Counts::default(); info_hashes.len()];
        for (positions, answer) in answers {
            positions.into_iter().zip(answered(answer).await?).for_each(|(at, swarm)| counts[at] = swarm);
        }
        Ok(counts)
    }
}
