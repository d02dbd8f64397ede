//! `/api/v1/swarms/{hex}`: one swarm. No address of a peer is ever shown.

use hyper::StatusCode;
use serde::Serialize;

use crate::cluster::RoutingTable;
use crate::ops::context::Context;
use crate::router::Unavailable;
use crate::swarm::{AddressFamily, Counts, InfoHash, InfoHashError, Partition, Record, Role, Second, Store};

/// The most records of a swarm whose ages are read, spread evenly over it: its owner answers no announces meanwhile.
const AGES: usize = 10_000;

/// Why there is no swarm to show.
#[derive(Debug, thiserror::Error)]
pub(in crate::ops) enum SwarmError {
    #[error(transparent)]
    InfoHash(#[from] InfoHashError),
    #[error("no peer has announced this info hash lately")]
    Unknown,
    #[error("the owner of this swarm does not answer, try again later")]
    Unavailable(#[from] Unavailable),
}

impl SwarmError {
    pub fn status(&self) -> StatusCode {
        match self {
            Self::InfoHash(_) => StatusCode::BAD_REQUEST,
            Self::Unknown => StatusCode::NOT_FOUND,
            Self::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

#[derive(Debug, Serialize)]
pub(in crate::ops) struct SwarmReport {
    info_hash: String,
    partition: Partition,
    /// The number of the owner that has the partition on this node, or would have it.
    owner: usize,
    /// Whether this node holds the partition: if not, it may know little of the swarm.
    held_here: bool,
    /// The holders in each region; empty without a cluster.
    regions: Vec<RegionHolders>,
    ipv4: SwarmPeers,
    ipv6: SwarmPeers,
}

/// The nodes of a region that hold a partition.
#[derive(Debug, Serialize)]
struct RegionHolders {
    region: String,
    /// The node that answers for it.
    owner: String,
    replicas: Vec<String>,
}

#[derive(Debug, Serialize)]
struct SwarmPeers {
    /// Partial seeds are among the leechers, as in a scrape.
    seeders: u32,
    leechers: u32,
    partial_seeds: u32,
    completed: u32,
    stopped: usize,
    /// Seconds since the most recent and the least recent announce among the peers of the swarm.
    newest_seconds: Option<u16>,
    oldest_seconds: Option<u16>,
}

impl SwarmReport {
    /// Looks up the swarm whose info hash is `hex` with its owner.
    pub async fn find(context: &Context, hex: &str) -> Result<Self, SwarmError> {
        let info_hash: InfoHash = hex.parse()?;
        let owners = context.router.owners();
        let hash = owners.hash(&info_hash);
        let found = context.router.visit(&info_hash, move |partitions, now| {
            let now = Second::new(now.uptime.as_secs());
            let families = [peers(&partitions.v4, hash, &info_hash, now), peers(&partitions.v6, hash, &info_hash, now)];
            let known = !partitions.v4.records(&info_hash).is_empty() || !partitions.v6.records(&info_hash).is_empty();
            known.then_some(families)
        });
        let [ipv4, ipv6] = found.await?.ok_or(SwarmError::Unknown)?;
        let (owner, partition) = (owners.owner_of_swarm(hash).0, owners.partition(hash));
        let table = context.router.routes().map(|routes| holders(&routes.table, partition));
        let (held_here, regions) = table.unwrap_or((true, Vec::new()));
        Ok(Self { info_hash: info_hash.to_string(), partition, owner, held_here, regions, ipv4, ipv6 })
    }
}

fn holders(table: &RoutingTable, partition: Partition) -> (bool, Vec<RegionHolders>) {
    let mut regions: Vec<RegionHolders> = Vec::new();
    for node in table.candidates(partition).iter().map(|node| table.node(*node)) {
        match regions.last_mut().filter(|last| last.region == node.region.as_str()) {
            Some(last) => last.replicas.push(node.id.to_string()),
            None => regions.push(RegionHolders {
                region: node.region.to_string(),
                owner: node.id.to_string(),
                replicas: Vec::new(),
            }),
        }
    }
    (table.is_held_here(partition), regions)
}

fn peers<F: AddressFamily>(store: &Store<F>, hash: u64, info_hash: &InfoHash, now: Second) -> SwarmPeers {
    let Counts { seeders, leechers, partial_seeds, completed } = store.counts(hash, info_hash);
    let records = store.records(info_hash);
    let living = |record: &&Record<F>| record.stamp.role() != Role::Stopped;
    let ages = records.iter().step_by(records.len() / AGES + 1).filter(living).map(|record| record.seen.age(now));
    SwarmPeers {
        seeders,
        leechers,
        partial_seeds,
        completed,
        stopped: records.len().saturating_sub(seeders as usize + leechers as usize),
        newest_seconds: ages.clone().min(),
        oldest_seconds: ages.max(),
    }
}
