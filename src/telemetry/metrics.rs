//! Every metric by name. Names, labels and units follow <https://prometheus.io/docs/practices/naming/>; labels take few
//! values, and never anything that a client chooses.

/// A metric of `/metrics`.
#[derive(Debug)]
pub struct Metric {
    /// The name, with its unit.
    pub name: &'static str,
    /// Whether it only grows.
    pub kind: Kind,
    /// The names of its labels.
    pub labels: &'static [&'static str],
    /// What it means.
    pub help: &'static str,
}

/// How the value of a metric behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It only grows, from 0 at the start of what it counts.
    Counter,
    /// It goes up and down.
    Gauge,
    /// How durations are spread, in seconds.
    Histogram,
}

/// The metric of the build, which is always 1.
pub const BUILD_INFO: Metric = gauge("tidings_build_info", &["version"], "The version of this program; always 1.");

/// Requests by what became of them.
pub const REQUESTS: Metric = counter(
    "tidings_requests_total",
    &["transport", "family", "action", "outcome"],
    "Requests of clients by what became of them; the family is that of the packet or connection.",
);
/// Answered announces.
pub const ANNOUNCE_DURATION: Metric = histogram(
    "tidings_announce_duration_seconds",
    &["transport", "family", "source"],
    "Announces of clients that were answered, by how long after they were read from the socket, and by whom: the owner of \
     the partition, a replica of it in this region, a remote_region, or nobody of these (stale). UDP announces are \
     counted by the batch they were read in.",
);
/// Requests that no owner could take.
pub const REQUESTS_SHED: Metric =
    counter("tidings_requests_shed_total", &[], "Requests that were not handled because their owner was at its limit.");
/// UDP replies sent.
pub const UDP_REPLIES: Metric = counter("tidings_udp_replies_total", &[], "UDP replies sent.");
/// UDP replies lost here.
pub const UDP_REPLIES_DROPPED: Metric =
    counter("tidings_udp_replies_dropped_total", &[], "UDP replies that the kernel refused to send.");

/// The kernel's queue.
pub const UDP_RECEIVE_QUEUE: Metric = gauge(
    "tidings_udp_receive_queue_bytes",
    &[],
    "Memory of datagrams that wait in the receive queues of the announce sockets.",
);
/// The bound of [`UDP_RECEIVE_QUEUE`].
pub const UDP_RECEIVE_QUEUE_LIMIT: Metric = gauge(
    "tidings_udp_receive_queue_limit_bytes",
    &[],
    "Memory that may wait in all of these queues; each has an equal share and drops what comes above it.",
);
/// What the kernel dropped.
pub const UDP_RECEIVE_DROPPED: Metric = counter(
    "tidings_udp_receive_dropped_total",
    &[],
    "Datagrams that the kernel dropped because the receive queue of an announce socket was full.",
);

/// Late event loops.
pub const EVENT_LOOP_LAG: Metric = histogram(
    "tidings_event_loop_lag_seconds",
    &["thread"],
    "How long after its time a thread ran what was due then, 50 times a second; timers are precise to a millisecond.",
);

/// Open HTTP connections.
pub const HTTP_CONNECTIONS: Metric = gauge("tidings_http_connections", &[], "HTTP connections that are open.");
/// The bound of [`HTTP_CONNECTIONS`].
pub const HTTP_CONNECTIONS_LIMIT: Metric = gauge(
    "tidings_http_connections_limit",
    &[],
    "HTTP connections that may be open at a time (limits.http_connections).",
);
/// HTTP connections served.
pub const HTTP_CONNECTIONS_ACCEPTED: Metric =
    counter("tidings_http_connections_accepted_total", &[], "HTTP connections that were accepted and served.");
/// HTTP connections not served.
pub const HTTP_CONNECTIONS_REFUSED: Metric = counter(
    "tidings_http_connections_refused_total",
    &[],
    "HTTP connections that were closed at once because the limit was reached.",
);
/// Idle HTTP connections.
pub const HTTP_CONNECTIONS_TIMED_OUT: Metric = counter(
    "tidings_http_connections_timed_out_total",
    &[],
    "HTTP connections that were closed because no request came in time.",
);
/// What is not HTTP.
pub const HTTP_CONNECTIONS_MALFORMED: Metric = counter(
    "tidings_http_connections_malformed_total",
    &[],
    "HTTP connections that were closed because what came was not HTTP.",
);
/// Bugs.
pub const HTTP_CONNECTION_PANICS: Metric = counter(
    "tidings_http_connection_panics_total",
    &[],
    "HTTP connections that ended with a panic, which is always a bug.",
);
/// Failed accepts.
pub const HTTP_ACCEPT_ERRORS: Metric = counter(
    "tidings_http_accept_errors_total",
    &[],
    "Times that the system could not accept an HTTP connection, most often for lack of file descriptors.",
);
/// Failed handshakes.
pub const HTTP_TLS_HANDSHAKE_FAILURES: Metric =
    counter("tidings_http_tls_handshake_failures_total", &[], "TLS handshakes that failed.");

/// Swarms held.
pub const SWARMS: Metric =
    gauge("tidings_swarms", &["family"], "Swarms held, those that only stopped peers are left of included.");
/// The cap on [`SWARMS`].
pub const SWARMS_LIMIT: Metric =
    gauge("tidings_swarms_limit", &[], "Swarms that the node holds at the most, of both families (limits.swarms).");
/// Peers held.
pub const PEERS: Metric = gauge("tidings_peers", &["family", "role"], "Peers held, by what they are to their swarm.");
/// The cap on [`PEERS`] and [`TOMBSTONES`].
pub const PEERS_LIMIT: Metric = gauge(
    "tidings_peers_limit",
    &[],
    "Peers and tombstones that the node holds at the most, of both families (limits.peers).",
);
/// Stopped peers.
pub const TOMBSTONES: Metric =
    gauge("tidings_tombstones", &["family"], "Stopped peers that are remembered until their lifetime is over.");
/// Expired records.
pub const RECORDS_EXPIRED: Metric = counter(
    "tidings_records_expired_total",
    &["owner"],
    "Peers and tombstones removed because their lifetime was over, since their owner started.",
);
/// Peers that were not kept.
pub const PEERS_REFUSED: Metric = counter(
    "tidings_peers_refused_total",
    &["owner"],
    "New peers that were answered but not kept because a limit was reached, since their owner started.",
);

/// Restarts of owners.
pub const OWNER_RESTARTS: Metric = counter(
    "tidings_owner_restarts_total",
    &[],
    "Owners of partitions that failed and were replaced, which is always a bug.",
);
/// The queue of an owner.
pub const OWNER_IN_FLIGHT: Metric =
    gauge("tidings_owner_in_flight", &["owner"], "Requests sent to an owner that it has not finished.");
/// The bound of [`OWNER_IN_FLIGHT`].
pub const OWNER_IN_FLIGHT_LIMIT: Metric = gauge(
    "tidings_owner_in_flight_limit",
    &[],
    "Requests that may be in flight to one owner; those above it are shed (limits.in_flight).",
);

/// The last snapshot.
pub const SNAPSHOT_TIMESTAMP: Metric = gauge(
    "tidings_snapshot_last_timestamp_seconds",
    &[],
    "When the last complete snapshot began, since unix epoch in seconds; 0 before the first.",
);
/// How long it took.
pub const SNAPSHOT_DURATION: Metric =
    gauge("tidings_snapshot_last_duration_seconds", &[], "How long the last complete snapshot took, in seconds.");
/// How large it is.
pub const SNAPSHOT_SIZE: Metric =
    gauge("tidings_snapshot_last_size_bytes", &[], "Bytes in the files of the last complete snapshot.");
/// What it holds.
pub const SNAPSHOT_RECORDS: Metric =
    gauge("tidings_snapshot_last_records", &[], "Peers and tombstones in the last complete snapshot.");
/// Snapshots that failed.
pub const SNAPSHOT_ERRORS: Metric =
    counter("tidings_snapshot_errors_total", &[], "Snapshots that could not be written, or not for every owner.");
/// Records that came back.
pub const SNAPSHOT_RESTORED_RECORDS: Metric = counter(
    "tidings_snapshot_restored_records_total",
    &[],
    "Peers and tombstones that came back from snapshots, at the start and into owners that were replaced.",
);
/// Files that were set aside.
pub const SNAPSHOT_CORRUPT_FILES: Metric =
    counter("tidings_snapshot_corrupt_files_total", &[], "Snapshot files that were corrupt and set aside.");

/// Members of the cluster.
pub const MEMBERS: Metric = gauge(
    "tidings_cluster_members",
    &["state"],
    "Nodes of the cluster as this one sees them: up, unreachable (gossip hears them, their link does not answer), leaving, down.",
);
/// Partitions.
pub const PARTITIONS: Metric = gauge(
    "tidings_cluster_partitions",
    &["role"],
    "Partitions that this node answers for (owned), has in sync (held) and is to hold (placed).",
);
/// Partitions that lack copies.
pub const UNDER_REPLICATED: Metric = gauge(
    "tidings_cluster_under_replicated_partitions",
    &[],
    "Partitions of which this region has fewer copies than it should.",
);
/// Handoffs.
pub const HANDOFFS_RUNNING: Metric =
    gauge("tidings_cluster_handoffs_running", &[], "Partitions that are on their way to this node.");
/// Takeovers.
pub const TAKEOVERS: Metric =
    counter("tidings_cluster_takeovers_total", &[], "Partitions taken over from nodes that went down.");
/// Pulls.
pub const PULLS: Metric = counter(
    "tidings_cluster_pulls_total",
    &["purpose"],
    "Partitions pulled to be held here (handoff) and copies compared (repair).",
);
/// Comparisons that found something.
pub const DIFFERENCES: Metric =
    counter("tidings_cluster_differences_total", &[], "Comparisons of copies that found a difference.");
/// Records that came.
pub const PULLED_RECORDS: Metric =
    counter("tidings_cluster_pulled_records_total", &["purpose"], "Records that pulls have brought.");
/// Bytes that came.
pub const PULLED_BYTES: Metric =
    counter("tidings_cluster_pulled_bytes_total", &["purpose"], "Bytes that pulls have brought.");
/// Announces that other nodes answer.
pub const ROUTED: Metric = counter(
    "tidings_routed_announces_total",
    &["way"],
    "Announces sent to a node of this region (region) or of another (abroad), those among them that were sent once more \
     (again), those that no holder answered (nobody), and those of other nodes that came here (served).",
);
/// Stale answers.
pub const STALE_ANSWERS: Metric = counter(
    "tidings_stale_answers_total",
    &[],
    "Announces answered by what was last heard, as nobody who holds the swarm could be asked.",
);
/// Changes handed to queues.
pub const REPLICATED_RECORDS: Metric = counter(
    "tidings_replicated_records_total",
    &["to"],
    "Changed records put into the queues for replicas of this region (region) and for other regions (abroad).",
);
/// The queue of a node.
pub const REPLICATION_QUEUE: Metric =
    gauge("tidings_replication_queue_bytes", &["node"], "Bytes of changes that wait for a node.");
/// The bound of [`REPLICATION_QUEUE`].
pub const REPLICATION_QUEUE_LIMIT: Metric = gauge(
    "tidings_replication_queue_limit_bytes",
    &[],
    "Bytes of changes that may wait for one node; above it they are dropped (limits.hint_bytes).",
);
/// How late a node is told.
pub const REPLICATION_LAG: Metric =
    gauge("tidings_replication_lag_seconds", &["node"], "How long the oldest change has waited for a node.");
/// Dropped changes.
pub const REPLICATION_DROPPED: Metric = counter(
    "tidings_replication_dropped_records_total",
    &["node"],
    "Changed records dropped because the queue for a node was full; it compares whole partitions instead.",
);
/// Delivered changes.
pub const REPLICATION_DELIVERED: Metric = counter(
    "tidings_replication_delivered_records_total",
    &["node"],
    "Changed records that a node was told, since it started.",
);
/// Their bytes.
pub const REPLICATION_DELIVERED_BYTES: Metric = counter(
    "tidings_replication_delivered_bytes_total",
    &["node"],
    "Bytes of the changed records that a node was told, since it started.",
);
/// Links.
pub const LINK_UP: Metric = gauge("tidings_link_up", &["node"], "Whether the link to a node takes requests.");
/// Breakers.
pub const LINK_BREAKER_OPENED: Metric = counter(
    "tidings_link_breaker_opened_total",
    &["node"],
    "Times that requests were kept from a node because it did not answer in time.",
);
/// Timeouts.
pub const LINK_TIMEOUTS: Metric =
    counter("tidings_link_timeouts_total", &["node"], "Requests to a node that were not answered in time.");
/// Bytes of links.
pub const LINK_BYTES: Metric =
    counter("tidings_link_bytes_total", &["node", "direction"], "Bytes of the links that this node has opened.");
/// Requests to other nodes.
pub const LINK_IN_FLIGHT: Metric =
    gauge("tidings_link_in_flight", &["node", "class"], "Requests to a node that wait for their replies.");
/// The bound of [`LINK_IN_FLIGHT`].
pub const LINK_IN_FLIGHT_LIMIT: Metric = gauge(
    "tidings_link_in_flight_limit",
    &["class"],
    "Requests that may wait for the replies of one node; those above it fail at once.",
);
/// Bytes to other nodes.
pub const LINK_QUEUE: Metric =
    gauge("tidings_link_queue_bytes", &["node", "class"], "Bytes that wait to be written to a node.");
/// The bound of [`LINK_QUEUE`].
pub const LINK_QUEUE_LIMIT: Metric = gauge(
    "tidings_link_queue_limit_bytes",
    &["class"],
    "Bytes that may wait to be written to one node; above it requests fail at once.",
);
/// Requests that no link took.
pub const LINK_NOT_TAKEN: Metric = counter(
    "tidings_link_not_taken_total",
    &["node", "class"],
    "Requests to a node that failed at once: not connected, the breaker open, or too much waits.",
);
/// Connections of other nodes.
pub const LINK_INBOUND: Metric =
    gauge("tidings_link_inbound_connections", &[], "Connections that other nodes have opened.");
/// Connections that were refused.
pub const LINK_INBOUND_REFUSED: Metric = counter(
    "tidings_link_inbound_refused_total",
    &["reason"],
    "Connections to cluster.link that were closed: too many, handshake refused, peer that does not read, no frames.",
);
/// Gossip datagrams.
pub const GOSSIP_DATAGRAMS: Metric = counter(
    "tidings_gossip_datagrams_total",
    &["outcome"],
    "Datagrams that came to cluster.gossip, by what became of them.",
);
/// Gossip restarts.
pub const GOSSIP_RESTARTS: Metric =
    counter("tidings_gossip_restarts_total", &[], "Times that gossip ended and was started again.");
/// Stalls.
pub const STALLS: Metric =
    counter("tidings_stalls_total", &[], "Times that this node stood still for more than a second.");

/// What became of spans.
pub const TRACE_SPANS: Metric = counter(
    "tidings_trace_spans_total",
    &["outcome"],
    "Spans of traces that the collector has (exported), or that were dropped as the queue was full (queue_full) or the \
     collector did not take them (failed).",
);

/// The queue of spans.
pub const TRACE_QUEUE: Metric = gauge("tidings_trace_queue_spans", &[], "Spans that wait for the collector.");
/// The bound of [`TRACE_QUEUE`].
pub const TRACE_QUEUE_LIMIT: Metric =
    gauge("tidings_trace_queue_limit_spans", &[], "Spans that may wait; those above it are dropped.");

/// Resident memory.
pub const PROCESS_RESIDENT_MEMORY: Metric =
    gauge("process_resident_memory_bytes", &[], "Resident memory size in bytes.");
/// Virtual memory.
pub const PROCESS_VIRTUAL_MEMORY: Metric = gauge("process_virtual_memory_bytes", &[], "Virtual memory size in bytes.");
/// Processor time.
pub const PROCESS_CPU: Metric =
    counter("process_cpu_seconds_total", &[], "Total user and system CPU time spent in seconds.");
/// Open file descriptors.
pub const PROCESS_OPEN_FDS: Metric = gauge("process_open_fds", &[], "Number of open file descriptors.");
/// The bound of [`PROCESS_OPEN_FDS`].
pub const PROCESS_MAX_FDS: Metric = gauge("process_max_fds", &[], "Maximum number of open file descriptors.");
/// When the process started.
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
