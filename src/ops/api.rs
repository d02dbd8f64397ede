//! `/api/v1`: the node and its swarms as JSON. No address of a peer is ever shown.

use std::net::SocketAddr;
use std::sync::atomic::Ordering::Relaxed;

use hyper::StatusCode;
use serde::Serialize;

use super::{Context, metrics};
use crate::cluster::RoutingTable;
use crate::partition::OwnerHandle;
use crate::partition::snapshot::SnapshotStatus;
use crate::router::Unavailable;
use crate::swarm::{AddressFamily, Counts, InfoHash, InfoHashError, Partition, Record, Role, Second, Store, Totals};
use crate::telemetry::process::ProcessStats;

/// Records whose ages are looked at, at the most, spread over the swarm: its owner answers nobody meanwhile.
const AGES: usize = 10_000;

/// This node.
#[derive(Debug, Serialize)]
pub(super) struct Node<'a> {
    id: &'a str,
    region: &'a str,
    version: &'static str,
    uptime_seconds: u64,
    addresses: Addresses<'a>,
    threads: usize,
    partitions: u16,
    swarms: ByFamily<usize>,
    peers: ByFamily<Held>,
    owners: Vec<Owner>,
    owner_restarts: u64,
    limits: Limits,
    snapshots: Option<Snapshots>,
    memory: Option<Memory>,
}

#[derive(Debug, Serialize)]
struct Addresses<'a> {
    udp: &'a [SocketAddr],
    http: &'a [SocketAddr],
    tls: bool,
    ops: Option<SocketAddr>,
}

#[derive(Debug, Serialize)]
struct ByFamily<T> {
    ipv4: T,
    ipv6: T,
}

/// Peers by role.
#[derive(Debug, Serialize)]
struct Held {
    leechers: usize,
    partial_seeds: usize,
    seeders: usize,
    stopped: usize,
}

#[derive(Debug, Serialize)]
struct Owner {
    number: usize,
    in_flight: usize,
    swarms: ByFamily<usize>,
    peers: ByFamily<Held>,
    peers_refused: u64,
    records_expired: u64,
}

#[derive(Debug, Serialize)]
struct Limits {
    swarms: usize,
    peers: usize,
    peers_per_swarm: u32,
    in_flight_per_owner: usize,
    http_connections: usize,
}

#[derive(Debug, Serialize)]
struct Snapshots {
    /// `None` before the first.
    last: Option<Snapshot>,
    errors: u64,
    restored_records: u64,
    corrupt_files: u64,
}

/// The last complete snapshot.
#[derive(Debug, Serialize)]
struct Snapshot {
    /// Since it began.
    age_seconds: u64,
    duration_millis: u64,
    bytes: u64,
    records: u64,
}

#[derive(Debug, Serialize)]
struct Memory {
    resident_bytes: u64,
    virtual_bytes: u64,
}

/// Tells of the node without asking its owners: their numbers are those of their last ticks.
pub(super) fn node(context: &Context) -> Node<'_> {
    let Context { settings, addrs, router, .. } = context;
    let owners = router.owners().load();
    let totals = metrics::totals(&owners);
    let now = context.clock.now();
    Node {
        id: &settings.node.id,
        region: &settings.node.region,
        version: env!("CARGO_PKG_VERSION"),
        uptime_seconds: now.uptime.as_secs(),
        addresses: Addresses { udp: &addrs.udp, http: &addrs.http, tls: context.http.tls.is_some(), ops: addrs.ops },
        threads: context.threads,
        partitions: settings.cluster.partitions,
        swarms: ByFamily::new(totals, |totals| totals.swarms),
        peers: ByFamily::new(totals, Held::new),
        owners: owners.iter().enumerate().map(|(number, owner)| Owner::new(number, owner)).collect(),
        owner_restarts: router.owners().restarts.load(Relaxed),
        limits: Limits {
            swarms: settings.limits.swarms,
            peers: settings.limits.peers,
            peers_per_swarm: settings.limits.peers_per_swarm,
            in_flight_per_owner: settings.limits.in_flight,
            http_connections: settings.limits.http_connections,
        },
        snapshots: context.snapshots.as_deref().map(|status| Snapshots::new(status, now.wall_millis)),
        memory: ProcessStats::read()
            .ok()
            .map(|stats| Memory { resident_bytes: stats.resident_bytes, virtual_bytes: stats.virtual_bytes }),
    }
}

impl<T> ByFamily<T> {
    fn new(totals: [Totals; 2], part: impl Fn(&Totals) -> T) -> Self {
        let [ipv4, ipv6] = totals.each_ref().map(part);
        Self { ipv4, ipv6 }
    }
}

impl Held {
    fn new(totals: &Totals) -> Self {
        let &Totals { leechers, partial_seeds, seeders, stopped, .. } = totals;
        Self { leechers, partial_seeds, seeders, stopped }
    }
}

impl Owner {
    fn new(number: usize, owner: &OwnerHandle) -> Self {
        let status = owner.status();
        let totals = *status.totals.lock();
        let sum = |count: fn(&Totals) -> u64| totals.iter().map(count).sum();
        Self {
            number,
            in_flight: status.in_flight.load(Relaxed),
            swarms: ByFamily::new(totals, |totals| totals.swarms),
            peers: ByFamily::new(totals, Held::new),
            peers_refused: sum(|totals| totals.refused),
            records_expired: sum(|totals| totals.expired),
        }
    }
}

impl Snapshots {
    fn new(status: &SnapshotStatus, now_millis: u64) -> Self {
        let begun = status.last_millis.load(Relaxed);
        Self {
            last: (begun > 0).then(|| Snapshot {
                age_seconds: now_millis.saturating_sub(begun) / 1000,
                duration_millis: status.last_duration_millis.load(Relaxed),
                bytes: status.last_bytes.load(Relaxed),
                records: status.last_records.load(Relaxed),
            }),
            errors: status.errors.load(Relaxed),
            restored_records: status.restored_records.load(Relaxed),
            corrupt_files: status.corrupt_files.load(Relaxed),
        }
    }
}

/// Why there is no swarm to show.
#[derive(Debug, thiserror::Error)]
pub(super) enum SwarmError {
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

/// A swarm.
#[derive(Debug, Serialize)]
pub(super) struct Swarm {
    info_hash: String,
    partition: Partition,
    /// The actor of this node that holds the partition, or would.
    owner: usize,
    /// Whether this node holds the partition: if not, what it tells of the swarm may be little.
    held_here: bool,
    /// Who holds it in each region; empty without a cluster.
    regions: Vec<RegionHolders>,
    ipv4: SwarmPeers,
    ipv6: SwarmPeers,
}

/// Who holds a partition in a region.
#[derive(Debug, Serialize)]
struct RegionHolders {
    region: String,
    /// Who answers for it.
    owner: String,
    /// The others that hold it.
    replicas: Vec<String>,
}

/// A swarm in one family.
#[derive(Debug, Serialize)]
struct SwarmPeers {
    /// Partial seeds are among the leechers, as in a scrape.
    seeders: u32,
    leechers: u32,
    partial_seeds: u32,
    completed: u32,
    stopped: usize,
    /// Seconds since the latest announce of the peer that announced last, and of the one that did so first.
    newest_seconds: Option<u16>,
    oldest_seconds: Option<u16>,
}

/// Asks the owner for the swarm whose info hash is `hex`.
pub(super) async fn swarm(context: &Context, hex: &str) -> Result<Swarm, SwarmError> {
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
    Ok(Swarm { info_hash: info_hash.to_string(), partition, owner, held_here, regions, ipv4, ipv6 })
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
