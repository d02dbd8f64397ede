//! `/api/v1/node`: this node's counts, limits and snapshots.

use std::net::SocketAddr;
use std::sync::atomic::Ordering::Relaxed;

use serde::Serialize;

use crate::ops::context::Context;
use crate::ops::metrics;
use crate::partition::OwnerHandle;
use crate::partition::snapshot::SnapshotStatus;
use crate::swarm::Totals;
use crate::telemetry::process::ProcessStats;

#[derive(Debug, Serialize)]
pub(in crate::ops) struct NodeReport<'a> {
    id: &'a str,
    region: &'a str,
    version: &'static str,
    uptime_seconds: u64,
    addresses: Addresses<'a>,
    threads: usize,
    partitions: u16,
    swarms: ByFamily<usize>,
    peers: ByFamily<PeersByRole>,
    owners: Vec<OwnerReport>,
    owner_restarts: u64,
    limits: LimitsReport,
    snapshots: Option<SnapshotsReport>,
    memory: Option<MemoryReport>,
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
struct PeersByRole {
    leechers: usize,
    partial_seeds: usize,
    seeders: usize,
    stopped: usize,
}

#[derive(Debug, Serialize)]
struct OwnerReport {
    number: usize,
    in_flight: usize,
    swarms: ByFamily<usize>,
    peers: ByFamily<PeersByRole>,
    peers_refused: u64,
    records_expired: u64,
}

#[derive(Debug, Serialize)]
struct LimitsReport {
    swarms: usize,
    peers: usize,
    peers_per_swarm: u32,
    in_flight_per_owner: usize,
    http_connections: usize,
}

#[derive(Debug, Serialize)]
struct SnapshotsReport {
    /// `None` before the first.
    last: Option<LastSnapshot>,
    errors: u64,
    restored_records: u64,
    corrupt_files: u64,
}

/// The last complete snapshot.
#[derive(Debug, Serialize)]
struct LastSnapshot {
    /// Since it began.
    age_seconds: u64,
    duration_millis: u64,
    bytes: u64,
    records: u64,
}

#[derive(Debug, Serialize)]
struct MemoryReport {
    resident_bytes: u64,
    virtual_bytes: u64,
}

impl<'a> NodeReport<'a> {
    /// Does not wait for the owners: their numbers are those of their last ticks.
    pub fn new(context: &'a Context) -> Self {
        let Context { settings, addrs, router, .. } = context;
        let owners = router.owners().load();
        let totals = metrics::totals(&owners);
        let now = context.clock.now();
        Self {
            id: &settings.node.id,
            region: &settings.node.region,
            version: env!("CARGO_PKG_VERSION"),
            uptime_seconds: now.uptime.as_secs(),
            addresses: Addresses {
                udp: &addrs.udp,
                http: &addrs.http,
                tls: context.http.tls.is_some(),
                ops: addrs.ops,
            },
            threads: context.threads,
            partitions: settings.cluster.partitions,
            swarms: ByFamily::new(totals, |totals| totals.swarms),
            peers: ByFamily::new(totals, PeersByRole::new),
            owners: owners.iter().enumerate().map(|(number, owner)| OwnerReport::new(number, owner)).collect(),
            owner_restarts: router.owners().restarts.load(Relaxed),
            limits: LimitsReport {
                swarms: settings.limits.swarms,
                peers: settings.limits.peers,
                peers_per_swarm: settings.limits.peers_per_swarm,
                in_flight_per_owner: settings.limits.in_flight,
                http_connections: settings.limits.http_connections,
            },
            snapshots: context.snapshots.as_deref().map(|status| SnapshotsReport::new(status, now.wall_millis)),
            memory: ProcessStats::read()
                .ok()
                .map(|stats| MemoryReport { resident_bytes: stats.resident_bytes, virtual_bytes: stats.virtual_bytes }),
        }
    }
}

impl<T> ByFamily<T> {
    fn new(totals: [Totals; 2], part: impl Fn(&Totals) -> T) -> Self {
        let [ipv4, ipv6] = totals.each_ref().map(part);
        Self { ipv4, ipv6 }
    }
}

impl PeersByRole {
    fn new(totals: &Totals) -> Self {
        let &Totals { leechers, partial_seeds, seeders, stopped, .. } = totals;
        Self { leechers, partial_seeds, seeders, stopped }
    }
}

impl OwnerReport {
    fn new(number: usize, owner: &OwnerHandle) -> Self {
        let status = owner.status();
        let totals = *status.totals.lock();
        let sum = |count: fn(&Totals) -> u64| totals.iter().map(count).sum();
        Self {
            number,
            in_flight: status.in_flight.load(Relaxed),
            swarms: ByFamily::new(totals, |totals| totals.swarms),
            peers: ByFamily::new(totals, PeersByRole::new),
            peers_refused: sum(|totals| totals.refused),
            records_expired: sum(|totals| totals.expired),
        }
    }
}

impl SnapshotsReport {
    fn new(status: &SnapshotStatus, now_millis: u64) -> Self {
        let begun = status.last_millis.load(Relaxed);
        Self {
            last: (begun > 0).then(|| LastSnapshot {
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
