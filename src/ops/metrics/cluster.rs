//! The metrics of a node in its cluster. Labels contain node ids, so operators bound their number.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::link::{ClassStatus, LinkState, LinkStatus};
use crate::ops::context::{ClusterView, Context};
use crate::partition::MemberState;
use crate::telemetry::exposition::Exposition;
use crate::telemetry::metrics as metric;

pub(super) fn gather(out: &mut Exposition, context: &Context, cluster: &ClusterView) {
    manager(out, context, cluster);
    routing(out, context);
    links(out, cluster);
    gossip(out, cluster);
}

fn manager(out: &mut Exposition, context: &Context, cluster: &ClusterView) {
    let (counts, now) = (&cluster.status, cluster.status.now.load());
    let in_state = |state: MemberState| now.members.iter().filter(|member| member.state == state).count() as f64;
    out.by_label(&metric::MEMBERS, MemberState::ALL.map(|state| ([state.as_str()], in_state(state))));
    let owned = now.members.iter().find(|member| member.id == context.settings.node.id).map_or(0, |me| me.owned);
    let roles = [("owned", owned), ("held", now.held), ("placed", now.placed)];
    out.by_label(&metric::PARTITIONS, roles.map(|(role, count)| ([role], count as f64)));
    out.single(&metric::UNDER_REPLICATED, now.under_replicated as f64);
    out.single(&metric::HANDOFFS_RUNNING, now.transfers.len() as f64);
    out.single(&metric::TAKEOVERS, counts.takeovers.load(Relaxed) as f64);
    let both = |handoff: &AtomicU64, repair: &AtomicU64| {
        [("handoff", handoff), ("repair", repair)].map(|(purpose, count)| ([purpose], count.load(Relaxed) as f64))
    };
    out.by_label(&metric::PULLS, both(&counts.pulls, &counts.comparisons));
    out.single(&metric::DIFFERENCES, counts.differences.load(Relaxed) as f64);
    out.by_label(&metric::PULLED_RECORDS, both(&counts.pulled_records, &counts.repaired_records));
    out.by_label(&metric::PULLED_BYTES, both(&counts.pulled_bytes, &counts.repaired_bytes));
    let others = || now.members.iter().filter(|member| member.lag_seconds.is_some());
    let id = |id: &String| [id.clone()];
    out.by_label(&metric::REPLICATION_QUEUE, others().map(|it| (id(&it.id), it.queued_bytes as f64)));
    out.single(&metric::REPLICATION_QUEUE_LIMIT, context.settings.limits.hint_bytes as f64);
    out.by_label(&metric::REPLICATION_LAG, others().map(|it| (id(&it.id), it.lag_seconds.unwrap_or_default())));
    out.by_label(&metric::REPLICATION_DELIVERED, others().map(|it| (id(&it.id), it.delivered_records as f64)));
    out.by_label(&metric::REPLICATION_DELIVERED_BYTES, others().map(|it| (id(&it.id), it.delivered_bytes as f64)));
    out.by_label(&metric::REPLICATION_DROPPED, others().map(|it| (id(&it.id), it.dropped_records as f64)));
}

fn routing(out: &mut Exposition, context: &Context) {
    if let Some(cluster) = context.router.cluster() {
        let counts = &cluster.metrics;
        let ways = [
            ("region", &counts.forwarded),
            ("cross_region", &counts.forwarded_cross_region),
            ("retried", &counts.retried),
            ("no_holder", &counts.last_resort),
            ("served", &counts.served),
        ];
        out.by_label(&metric::ROUTED, ways.map(|(way, count)| ([way], count.load(Relaxed) as f64)));
        out.single(&metric::STALE_ANSWERS, cluster.stale.served.load(Relaxed) as f64);
    }
    if let Some(replication) = &context.replication {
        let to = [("region", &replication.records), ("cross_region", &replication.cross_region_records)];
        out.by_label(&metric::REPLICATED_RECORDS, to.map(|(to, count)| ([to], count.load(Relaxed) as f64)));
    }
}

fn links(out: &mut Exposition, cluster: &ClusterView) {
    let links = cluster.links.status();
    let id = |at: usize| [links[at].target.id.to_string()];
    let by_node =
        |value: fn(&LinkStatus) -> u64| links.iter().enumerate().map(move |(at, link)| (id(at), value(link) as f64));
    out.by_label(&metric::LINK_UP, by_node(|link| (link.state == LinkState::Up).into()));
    out.by_label(&metric::LINK_BREAKER_OPENED, by_node(|link| link.breaker_opened));
    out.by_label(&metric::LINK_TIMEOUTS, by_node(|link| link.request.timeouts + link.bulk.timeouts));
    let classes = |link: &LinkStatus| [("request", link.request), ("bulk", link.bulk)];
    let by_class = |value: fn(&ClassStatus) -> f64| {
        links.iter().flat_map(move |link| {
            classes(link).map(|(class, status)| ([link.target.id.to_string(), class.into()], value(&status)))
        })
    };
    out.by_label(&metric::LINK_IN_FLIGHT, by_class(|class| class.in_flight as f64));
    out.by_label(&metric::LINK_QUEUE, by_class(|class| class.queued_bytes as f64));
    out.by_label(&metric::LINK_NOT_TAKEN, by_class(|class| class.not_taken as f64));
    // The same for all links.
    let limits = |value: fn(&ClassStatus) -> f64| {
        links.iter().take(1).flat_map(move |link| classes(link).map(|(class, status)| ([class], value(&status))))
    };
    out.by_label(&metric::LINK_IN_FLIGHT_LIMIT, limits(|class| class.in_flight_limit as f64));
    out.by_label(&metric::LINK_QUEUE_LIMIT, limits(|class| class.queued_bytes_limit as f64));
    let bytes = links.iter().flat_map(|link| {
        let directions =
            [("in", link.request.bytes_in + link.bulk.bytes_in), ("out", link.request.bytes_out + link.bulk.bytes_out)];
        directions.map(|(direction, bytes)| ([link.target.id.to_string(), direction.into()], bytes as f64))
    });
    out.by_label(&metric::LINK_BYTES, bytes);
    let inbound = cluster.links.inbound();
    out.single(&metric::LINK_INBOUND, inbound.connections as f64);
    let reasons = [
        ("too_many", inbound.too_many),
        ("handshake", inbound.refused),
        ("slow", inbound.cut_off),
        ("malformed", inbound.broken),
    ];
    out.by_label(&metric::LINK_INBOUND_REFUSED, reasons.map(|(reason, count)| ([reason], count as f64)));
}

fn gossip(out: &mut Exposition, cluster: &ClusterView) {
    if let Some(sealed) = &cluster.sealed {
        let counts = sealed.counts();
        let outcomes = [
            ("ok", counts.opened),
            ("malformed", counts.malformed),
            ("bad_key_or_cluster", counts.bad_key_or_cluster),
            ("too_old", counts.too_old),
            ("replayed", counts.replayed),
            ("own", counts.own),
            ("too_many_senders", counts.too_many_senders),
        ];
        out.by_label(&metric::GOSSIP_DATAGRAMS, outcomes.map(|(outcome, count)| ([outcome], count as f64)));
    }
    if let Some(membership) = cluster.membership.upgrade() {
        let status = membership.status();
        out.single(&metric::GOSSIP_RESTARTS, status.gossip_restarts as f64);
        out.single(&metric::STALLS, status.pauses as f64);
    }
}
