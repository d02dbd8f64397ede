//! `/metrics`: gathers the counters of all parts. It waits for none of them, so that a hanging owner shows up here and hides
//! nothing.

mod cluster;

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::frontend::http::{self, HttpMetrics};
use crate::frontend::udp::Outcome as UdpOutcome;
use crate::net::kernel_queue;
use crate::net::outbox::Outbox;
use crate::ops::context::Context;
use crate::partition::OwnerHandle;
use crate::partition::snapshot::SnapshotStatus;
use crate::swarm::{Family, Source, Totals};
use crate::telemetry::exposition::Exposition;
use crate::telemetry::metrics as metric;
use crate::telemetry::process::ProcessStats;
use crate::telemetry::trace::Transport;

const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

pub(super) fn gather(context: &Context) -> Exposition {
    let mut out = Exposition::default();
    out.by_label(&metric::BUILD_INFO, [([env!("CARGO_PKG_VERSION")], 1.0)]);
    requests(&mut out, context);
    answers(&mut out, context);
    kernel_queues(&mut out, context);
    let loops = context.event_loops.iter().map(|event_loop| ([event_loop.name.clone()], event_loop.lag.spread()));
    out.histograms(&metric::EVENT_LOOP_LAG, loops);
    http_connections(&mut out, &context.http.metrics, context.http.options.connections);
    swarms(&mut out, context);
    owners(&mut out, context);
    if let Some(status) = &context.snapshots {
        snapshots(&mut out, status);
    }
    if let Some(view) = &context.cluster {
        cluster::gather(&mut out, context, view);
    }
    if let Some((counts, limit)) = context.udp.traces.counts() {
        let outcomes = [("exported", &counts.exported), ("queue_full", &counts.queue_full), ("failed", &counts.failed)];
        let spans = outcomes.map(|(outcome, count)| ([outcome], count.load(Relaxed) as f64));
        out.by_label(&metric::TRACE_SPANS, spans);
        out.single(&metric::TRACE_QUEUE, counts.waiting.load(Relaxed) as f64);
        out.single(&metric::TRACE_QUEUE_LIMIT, limit as f64);
    }
    // Where `/proc` is hidden, the other metrics are still worth having.
    if let Ok(stats) = ProcessStats::read() {
        process(&mut out, &stats);
    }
    out
}

fn requests(out: &mut Exposition, context: &Context) {
    let udp = FAMILIES.iter().flat_map(|&family| {
        let counts = &context.udp.metrics[family as usize];
        UdpOutcome::ALL.map(|(outcome, action, label)| (["udp", family.label(), action, label], counts.get(outcome)))
    });
    let http = FAMILIES.iter().flat_map(|&family| {
        http::Action::ALL.into_iter().flat_map(move |action| {
            http::Outcome::ALL.map(|outcome| {
                let count = context.http.metrics.requests_by(family, action, outcome);
                (["http", family.label(), action.label(), outcome.label()], count)
            })
        })
    });
    out.by_label(&metric::REQUESTS, udp.chain(http).map(|(labels, count)| (labels, count as f64)));
    out.single(&metric::REQUESTS_SHED, context.router.owners().shed.load(Relaxed) as f64);
    let sum = |count: fn(&Outbox) -> u64| context.outboxes.iter().map(|outbox| count(outbox)).sum::<u64>() as f64;
    out.single(&metric::UDP_REPLIES, sum(Outbox::sent));
    out.single(&metric::UDP_REPLIES_DROPPED, sum(Outbox::dropped));
}

fn answers(out: &mut Exposition, context: &Context) {
    let transports = [(Transport::Udp, "udp"), (Transport::Http, "http")];
    let durations = transports.into_iter().flat_map(|(transport, transport_label)| {
        FAMILIES.iter().flat_map(move |&family| {
            Source::ALL.map(move |source| {
                let labels = [transport_label, family.label(), source.label()];
                (labels, context.answers.durations(transport, family, source).spread())
            })
        })
    });
    out.histograms(&metric::ANNOUNCE_DURATION, durations);
}

fn kernel_queues(out: &mut Exposition, context: &Context) {
    // `/proc` may be hidden here, too.
    if let Ok(queues) = kernel_queue::read(&context.addrs.udp) {
        out.single(&metric::UDP_RECEIVE_QUEUE, queues.bytes as f64);
        out.single(&metric::UDP_RECEIVE_QUEUE_LIMIT, context.udp_receive_bytes as f64);
        out.single(&metric::UDP_RECEIVE_DROPPED, queues.dropped as f64);
    }
}

fn http_connections(out: &mut Exposition, counts: &HttpMetrics, limit: usize) {
    out.single(&metric::HTTP_CONNECTIONS_LIMIT, limit as f64);
    for (metric, count) in [
        (&metric::HTTP_CONNECTIONS, &counts.connections_open),
        (&metric::HTTP_CONNECTIONS_ACCEPTED, &counts.connections_accepted),
        (&metric::HTTP_CONNECTIONS_REFUSED, &counts.connections_refused),
        (&metric::HTTP_CONNECTIONS_TIMED_OUT, &counts.connections_timed_out),
        (&metric::HTTP_CONNECTIONS_MALFORMED, &counts.connections_malformed),
        (&metric::HTTP_CONNECTION_PANICS, &counts.connection_panics),
        (&metric::HTTP_ACCEPT_ERRORS, &counts.accept_errors),
        (&metric::HTTP_TLS_HANDSHAKE_FAILURES, &counts.tls_handshake_failures),
    ] {
        out.single(metric, count.load(Relaxed) as f64);
    }
}

fn swarms(out: &mut Exposition, context: &Context) {
    let totals = totals(&context.router.owners().load());
    let by_family = FAMILIES.iter().map(|&family| (family.label(), totals[family as usize]));
    out.by_label(&metric::SWARMS, by_family.clone().map(|(family, totals)| ([family], totals.swarms as f64)));
    let peers = by_family.clone().flat_map(|(family, totals)| {
        [("leecher", totals.leechers), ("partial_seed", totals.partial_seeds), ("seeder", totals.seeders)]
            .map(|(role, count)| ([family, role], count as f64))
    });
    out.by_label(&metric::PEERS, peers);
    out.by_label(&metric::TOMBSTONES, by_family.map(|(family, totals)| ([family], totals.stopped as f64)));
    out.single(&metric::SWARMS_LIMIT, context.settings.limits.swarms as f64);
    out.single(&metric::PEERS_LIMIT, context.settings.limits.peers as f64);
}

fn owners(out: &mut Exposition, context: &Context) {
    let owners = context.router.owners().load();
    // One series per owner: a sum would drop when one of them is replaced, and look like a restart of all.
    let by_owner = |count: fn(&OwnerHandle) -> u64| {
        owners.iter().enumerate().map(move |(number, owner)| ([number.to_string()], count(owner) as f64))
    };
    out.by_label(&metric::RECORDS_EXPIRED, by_owner(|owner| both_families(owner).expired));
    out.by_label(&metric::PEERS_REFUSED, by_owner(|owner| both_families(owner).refused));
    out.single(&metric::OWNER_RESTARTS, context.router.owners().restarts.load(Relaxed) as f64);
    out.by_label(&metric::OWNER_IN_FLIGHT, by_owner(|owner| owner.status().in_flight.load(Relaxed) as u64));
    out.single(&metric::OWNER_IN_FLIGHT_LIMIT, context.settings.limits.in_flight as f64);
}

fn snapshots(out: &mut Exposition, status: &SnapshotStatus) {
    let seconds = |millis: &AtomicU64| millis.load(Relaxed) as f64 / 1000.0;
    let count = |count: &AtomicU64| count.load(Relaxed) as f64;
    out.single(&metric::SNAPSHOT_TIMESTAMP, seconds(&status.last_millis));
    out.single(&metric::SNAPSHOT_DURATION, seconds(&status.last_duration_millis));
    out.single(&metric::SNAPSHOT_SIZE, count(&status.last_bytes));
    out.single(&metric::SNAPSHOT_RECORDS, count(&status.last_records));
    out.single(&metric::SNAPSHOT_ERRORS, count(&status.errors));
    out.single(&metric::SNAPSHOT_RESTORED_RECORDS, count(&status.restored_records));
    out.single(&metric::SNAPSHOT_CORRUPT_FILES, count(&status.corrupt_files));
}

fn process(out: &mut Exposition, stats: &ProcessStats) {
    out.single(&metric::PROCESS_RESIDENT_MEMORY, stats.resident_bytes as f64);
    out.single(&metric::PROCESS_VIRTUAL_MEMORY, stats.virtual_bytes as f64);
    out.single(&metric::PROCESS_CPU, stats.cpu_seconds);
    out.single(&metric::PROCESS_OPEN_FDS, stats.open_fds as f64);
    if let Some(max) = stats.max_fds {
        out.single(&metric::PROCESS_MAX_FDS, max as f64);
    }
    out.single(&metric::PROCESS_START_TIME, stats.start_time_seconds);
}

/// The sums over all owners as of their last ticks, by family.
pub(super) fn totals(owners: &[OwnerHandle]) -> [Totals; 2] {
    let mut totals = [Totals::default(); 2];
    for owner in owners {
        let last = *owner.status().totals.lock();
        totals.iter_mut().zip(last).for_each(|(sum, more)| *sum += more);
    }
    totals
}

/// The sum of both families of an owner as of its last tick.
fn both_families(owner: &OwnerHandle) -> Totals {
    let [mut sum, v6] = *owner.status().totals.lock();
    sum += v6;
    sum
}
