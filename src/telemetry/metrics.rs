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
}

/// The metric of the build, which is always 1.
pub const BUILD_INFO: Metric = gauge("tidings_build_info", &["version"], "The version of this program; always 1.");

/// Requests by what became of them.
pub const REQUESTS: Metric = counter(
    "tidings_requests_total",
    &["transport", "family", "action", "outcome"],
    "Requests of clients by what became of them; the family is that of the packet or connection.",
);
/// Requests that no owner could take.
pub const REQUESTS_SHED: Metric =
    counter("tidings_requests_shed_total", &[], "Requests that were not handled because their owner was at its limit.");
/// UDP replies sent.
pub const UDP_REPLIES: Metric = counter("tidings_udp_replies_total", &[], "UDP replies sent.");
/// UDP replies lost here.
pub const UDP_REPLIES_DROPPED: Metric =
    counter("tidings_udp_replies_dropped_total", &[], "UDP replies that the kernel refused to send.");

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
