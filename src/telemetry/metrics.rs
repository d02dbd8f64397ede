//! Every metric by name. Names, labels and units follow <https://prometheus.io/docs/practices/naming/>; labels take few
//! values, and never anything that a client chooses.

#[derive(Debug)]
pub struct Metric {
    /// With the unit, as Prometheus recommends.
    pub name: &'static str,
    pub kind: Kind,
    pub labels: &'static [&'static str],
    pub help: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It only grows, from 0 at the start of what it counts.
    Counter,
    /// It goes up and down.
    Gauge,
    /// Distribution of durations, in seconds.
    Histogram,
}

pub const BUILD_INFO: Metric = gauge("tidings_build_info", &["version"], "The version of this program; always 1.");

pub const REQUESTS: Metric = counter(
    "tidings_requests_total",
    &["transport", "family", "action", "outcome"],
    "Client requests by outcome; the family is that of the packet or connection.",
);
pub const ANNOUNCE_DURATION: Metric = histogram(
    "tidings_announce_duration_seconds",
    &["transport", "family", "source"],
    "Answered client announces, by time since they were read from the socket and by source: the owner of the partition, a \
     replica of it in this region, a remote_region, or the local memory of earlier answers (stale). UDP announces are \
     counted by the batch they were read in.",
);
pub const REQUESTS_SHED: Metric = counter(
    "tidings_requests_shed_total",
    &[],
    "Requests refused because the owner of their partition was at its limit.",
);
pub const UDP_REPLIES: Metric = counter("tidings_udp_replies_total", &[], "UDP replies sent.");
pub const UDP_REPLIES_DROPPED: Metric =
    counter("tidings_udp_replies_dropped_total", &[], "UDP replies that the kernel refused to send.");

pub const UDP_RECEIVE_QUEUE: Metric = gauge(
    "tidings_udp_receive_queue_bytes",
    &[],
    "Memory used by datagrams waiting in the receive queues of the announce sockets.",
);
pub const UDP_RECEIVE_QUEUE_LIMIT: Metric = gauge(
    "tidings_udp_receive_queue_limit_bytes",
    &[],
    "Limit on that memory over all these queues; each has an equal share and drops what exceeds it.",
);
pub const UDP_RECEIVE_DROPPED: Metric = counter(
    "tidings_udp_receive_dropped_total",
    &[],
    "Datagrams that the kernel dropped because the receive queue of an announce socket was full.",
);

pub const EVENT_LOOP_LAG: Metric = histogram(
    "tidings_event_loop_lag_seconds",
    &["thread"],
    "How late a thread ran a timer, sampled 50 times a second; timers are precise to a millisecond.",
);

pub const HTTP_CONNECTIONS: Metric = gauge("tidings_http_connections", &[], "Open HTTP connections.");
pub const HTTP_CONNECTIONS_LIMIT: Metric =
    gauge("tidings_http_connections_limit", &[], "Maximum open HTTP connections (limits.http_connections).");
pub const HTTP_CONNECTIONS_ACCEPTED: Metric =
    counter("tidings_http_connections_accepted_total", &[], "HTTP connections accepted and served.");
pub const HTTP_CONNECTIONS_REFUSED: Metric = counter(
    "tidings_http_connections_refused_total",
    &[],
    "HTTP connections closed at once because the limit was reached.",
);
pub const HTTP_CONNECTIONS_TIMED_OUT: Metric = counter(
    "tidings_http_connections_timed_out_total",
    &[],
    "HTTP connections closed because no request arrived in time.",
);
pub const HTTP_CONNECTIONS_MALFORMED: Metric = counter(
    "tidings_http_connections_malformed_total",
    &[],
    "HTTP connections closed because the client did not send HTTP.",
);
pub const HTTP_CONNECTION_PANICS: Metric = counter(
    "tidings_http_connection_panics_total",
    &[],
    "HTTP connections that ended with a panic, which is always a bug.",
);
pub const HTTP_ACCEPT_ERRORS: Metric = counter(
    "tidings_http_accept_errors_total",
    &[],
    "Failed attempts to accept an HTTP connection, usually for lack of file descriptors.",
);
pub const HTTP_TLS_HANDSHAKE_FAILURES: Metric =
    counter("tidings_http_tls_handshake_failures_total", &[], "TLS handshakes that failed.");

pub const SWARMS: Metric =
    gauge("tidings_swarms", &["family"], "Swarms held, including those with only stopped peers left.");
pub const SWARMS_LIMIT: Metric =
    gauge("tidings_swarms_limit", &[], "Maximum swarms the node holds, over both families (limits.swarms).");
pub const PEERS: Metric = gauge("tidings_peers", &["family", "role"], "Peers held, by their role in the swarm.");
pub const PEERS_LIMIT: Metric = gauge(
    "tidings_peers_limit",
    &[],
    "Maximum peers and tombstones the node holds, over both families (limits.peers).",
);
pub const TOMBSTONES: Metric =
    gauge("tidings_tombstones", &["family"], "Stopped peers remembered until their lifetime ends.");
pub const RECORDS_EXPIRED: Metric = counter(
    "tidings_records_expired_total",
    &["owner"],
    "Peers and tombstones removed at the end of their lifetime, since their owner started.",
);
pub const PEERS_REFUSED: Metric = counter(
    "tidings_peers_refused_total",
    &["owner"],
    "New peers that were answered but not stored because a limit was reached, since their owner started.",
);

pub const OWNER_RESTARTS: Metric = counter(
    "tidings_owner_restarts_total",
    &[],
    "Partition owners that failed and were replaced, which is always a bug.",
);
pub const OWNER_IN_FLIGHT: Metric =
    gauge("tidings_owner_in_flight", &["owner"], "Requests sent to an owner and not yet finished.");
pub const OWNER_IN_FLIGHT_LIMIT: Metric = gauge(
    "tidings_owner_in_flight_limit",
    &[],
    "Maximum requests in flight to one owner; requests above it are shed (limits.in_flight).",
);

pub const SNAPSHOT_TIMESTAMP: Metric = gauge(
    "tidings_snapshot_last_timestamp_seconds",
    &[],
    "When the last complete snapshot began, in seconds since the Unix epoch; 0 before the first.",
);
pub const SNAPSHOT_DURATION: Metric =
    gauge("tidings_snapshot_last_duration_seconds", &[], "How long the last complete snapshot took, in seconds.");
pub const SNAPSHOT_SIZE: Metric =
    gauge("tidings_snapshot_last_size_bytes", &[], "Size of the last complete snapshot, in bytes.");
pub const SNAPSHOT_RECORDS: Metric =
    gauge("tidings_snapshot_last_records", &[], "Peers and tombstones in the last complete snapshot.");
pub const SNAPSHOT_ERRORS: Metric =
    counter("tidings_snapshot_errors_total", &[], "Snapshots that could not be written, or not for every owner.");
pub const SNAPSHOT_RESTORED_RECORDS: Metric = counter(
    "tidings_snapshot_restored_records_total",
    &[],
    "Peers and tombstones restored from snapshots, at startup and into replaced owners.",
);
pub const SNAPSHOT_CORRUPT_FILES: Metric =
    counter("tidings_snapshot_corrupt_files_total", &[], "Corrupt snapshot files that were set aside.");

pub const MEMBERS: Metric = gauge(
    "tidings_cluster_members",
    &["state"],
    "Nodes of the cluster as this one sees them: up, unreachable (gossip hears them, their link does not answer), leaving, down.",
);
pub const PARTITIONS: Metric = gauge(
    "tidings_cluster_partitions",
    &["role"],
    "Partitions that this node answers for (owned), has in sync (held) and is assigned (placed).",
);
pub const UNDER_REPLICATED: Metric = gauge(
    "tidings_cluster_under_replicated_partitions",
    &[],
    "Partitions of which this region has fewer copies than it should.",
);
pub const HANDOFFS_RUNNING: Metric =
    gauge("tidings_cluster_handoffs_running", &[], "Partitions being transferred to this node.");
pub const TAKEOVERS: Metric =
    counter("tidings_cluster_takeovers_total", &[], "Partitions taken over from nodes that went down.");
pub const PULLS: Metric = counter(
    "tidings_cluster_pulls_total",
    &["purpose"],
    "Partitions pulled in order to hold them (handoff), and comparisons with other copies (repair).",
);
pub const DIFFERENCES: Metric =
    counter("tidings_cluster_differences_total", &[], "Comparisons of copies that found a difference.");
pub const PULLED_RECORDS: Metric =
    counter("tidings_cluster_pulled_records_total", &["purpose"], "Records received by pulls.");
pub const PULLED_BYTES: Metric =
    counter("tidings_cluster_pulled_bytes_total", &["purpose"], "Bytes received by pulls.");
pub const ROUTED: Metric = counter(
    "tidings_routed_announces_total",
    &["way"],
    "Announces sent to a node of this region (region) or of another region (cross_region), those of them that were sent a \
     second time (retried), those that no holder answered (no_holder), and those served for other nodes (served).",
);
pub const STALE_ANSWERS: Metric = counter(
    "tidings_stale_answers_total",
    &[],
    "Announces answered from earlier answers, as no node that holds the swarm could be reached.",
);
pub const REPLICATED_RECORDS: Metric = counter(
    "tidings_replicated_records_total",
    &["to"],
    "Changed records put into the queues for replicas of this region (region) and for other regions (cross_region).",
);
pub const REPLICATION_QUEUE: Metric =
    gauge("tidings_replication_queue_bytes", &["node"], "Bytes of changes waiting to be sent to a node.");
pub const REPLICATION_QUEUE_LIMIT: Metric = gauge(
    "tidings_replication_queue_limit_bytes",
    &[],
    "Maximum bytes of changes waiting for one node; above it they are dropped (limits.hint_bytes).",
);
pub const REPLICATION_LAG: Metric =
    gauge("tidings_replication_lag_seconds", &["node"], "How long the oldest change has waited for a node.");
pub const REPLICATION_DROPPED: Metric = counter(
    "tidings_replication_dropped_records_total",
    &["node"],
    "Changed records dropped because the queue for a node was full; the node then compares whole partitions instead.",
);
pub const REPLICATION_DELIVERED: Metric = counter(
    "tidings_replication_delivered_records_total",
    &["node"],
    "Changed records delivered to a node, since it started.",
);
pub const REPLICATION_DELIVERED_BYTES: Metric = counter(
    "tidings_replication_delivered_bytes_total",
    &["node"],
    "Bytes of changed records delivered to a node, since it started.",
);
pub const LINK_UP: Metric = gauge("tidings_link_up", &["node"], "Whether the link to a node takes requests.");
pub const LINK_BREAKER_OPENED: Metric = counter(
    "tidings_link_breaker_opened_total",
    &["node"],
    "Times the circuit breaker of a node opened because it did not answer in time.",
);
pub const LINK_TIMEOUTS: Metric =
    counter("tidings_link_timeouts_total", &["node"], "Requests to a node that were not answered in time.");
pub const LINK_BYTES: Metric = counter(
    "tidings_link_bytes_total",
    &["node", "direction"],
    "Bytes sent and received over the links that this node opened.",
);
pub const LINK_IN_FLIGHT: Metric =
    gauge("tidings_link_in_flight", &["node", "class"], "Requests to a node waiting for a reply.");
pub const LINK_IN_FLIGHT_LIMIT: Metric = gauge(
    "tidings_link_in_flight_limit",
    &["class"],
    "Maximum requests waiting for replies of one node; requests above it fail at once.",
);
pub const LINK_QUEUE: Metric =
    gauge("tidings_link_queue_bytes", &["node", "class"], "Bytes waiting to be written to a node.");
pub const LINK_QUEUE_LIMIT: Metric = gauge(
    "tidings_link_queue_limit_bytes",
    &["class"],
    "Maximum bytes waiting to be written to one node; above it requests fail at once.",
);
pub const LINK_NOT_TAKEN: Metric = counter(
    "tidings_link_not_taken_total",
    &["node", "class"],
    "Requests to a node that failed at once: not connected, breaker open, or a queue at its limit.",
);
pub const LINK_INBOUND: Metric = gauge("tidings_link_inbound_connections", &[], "Connections opened by other nodes.");
pub const LINK_INBOUND_REFUSED: Metric = counter(
    "tidings_link_inbound_refused_total",
    &["reason"],
    "Connections to cluster.link closed by this node: too many, handshake refused, peer does not read, invalid frames.",
);
pub const GOSSIP_DATAGRAMS: Metric =
    counter("tidings_gossip_datagrams_total", &["outcome"], "Datagrams received on cluster.gossip, by outcome.");
pub const GOSSIP_RESTARTS: Metric =
    counter("tidings_gossip_restarts_total", &[], "Times gossip stopped unexpectedly and was restarted.");
pub const STALLS: Metric =
    counter("tidings_stalls_total", &[], "Times this process was paused for more than a second.");

pub const TRACE_SPANS: Metric = counter(
    "tidings_trace_spans_total",
    &["outcome"],
    "Trace spans accepted by the collector (exported), dropped because the queue was full (queue_full), or lost because \
     the export failed (failed).",
);

pub const TRACE_QUEUE: Metric = gauge("tidings_trace_queue_spans", &[], "Spans waiting to be exported.");
pub const TRACE_QUEUE_LIMIT: Metric =
    gauge("tidings_trace_queue_limit_spans", &[], "Maximum spans waiting; spans above it are dropped.");

pub const PROCESS_RESIDENT_MEMORY: Metric =
    gauge("process_resident_memory_bytes", &[], "Resident memory size in bytes.");
pub const PROCESS_VIRTUAL_MEMORY: Metric = gauge("process_virtual_memory_bytes", &[], "Virtual memory size in bytes.");
pub const PROCESS_CPU: Metric =
    counter("process_cpu_seconds_total", &[], "Total user and system CPU time spent in seconds.");
pub const PROCESS_OPEN_FDS: Metric = gauge("process_open_fds", &[], "Number of open file descriptors.");
pub const PROCESS_MAX_FDS: Metric = gauge("process_max_fds", &[], "Maximum number of open file descriptors.");
pub const PROCESS_START_TIME: Metric =
    gauge("process_start_time_seconds", &[], "Start time of the process since unix epoch in seconds.");

const fn counter(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Metric {
    Metric { name, kind: Kind::Counter, labels, help }
}

const fn gauge(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Metric {
    Metric { name, kind: Kind::Gauge, labels, help }
}

const fn histogram(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Metric {
    Metric { name, kind: Kind::Histogram, labels, help }
}
