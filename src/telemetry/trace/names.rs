//! Every name in a trace. Those of others follow the semantic conventions of OpenTelemetry 1.42
//! (<https://opentelemetry.io/docs/specs/semconv/>); what these have no word for is called `tracker.…`.

/// The target of spans made by the macros of `tracing`: all of them are exported, and none is logged.
pub const TARGET: &str = "tidings::trace";
/// The instrumentation scope.
pub const SCOPE: &str = "tidings";

/// Names of spans.
pub mod span {
    /// The whole of an announce, from the arrival of its datagram or head until its reply is handed to the kernel (UDP) or
    /// to the connection (HTTP).
    pub const ANNOUNCE: &str = "announce";
    /// Reading the announce, and what came before it in the same batch; the access list, external addresses and limits.
    pub const ADMIT: &str = "admit";
    /// Choosing who answers.
    pub const ROUTE: &str = "route";
    /// The wait for the owner of the partition, if it was so long that it is worth a span.
    pub const QUEUE: &str = "queue";
    /// The announce is applied to its swarm, and peers are selected.
    pub const PARTITION: &str = "partition.announce";
    /// The wait for a replica (`cluster.ack = "replica"`).
    pub const ACKNOWLEDGE: &str = "replica.acknowledge";
    /// The reply waits for its `sendmmsg`, and is sent; for HTTP, it is written.
    pub const REPLY: &str = "reply";
    /// Everything after dispatch of an announce that was not sampled but turned out slow.
    pub const ANSWER: &str = "answer";
    /// Announces at another node, seen from either side.
    pub const CALL_ANNOUNCES: &str = "tidings.Link/Announces";
    /// A batch of changes on its way to another node, all tries together.
    pub const REPLICATE: &str = "replicate";
    /// Changes at another node, seen from either side.
    pub const CALL_DELTAS: &str = "tidings.Link/Deltas";
    /// Changes are merged into their swarms.
    pub const MERGE: &str = "partition.merge";
    /// Nodes have come or gone.
    pub const MEMBERSHIP: &str = "cluster.membership";
    /// Partitions belong to other nodes than before.
    pub const PLACEMENT: &str = "cluster.placement";
    /// This node takes over partitions of one that went down.
    pub const TAKEOVER: &str = "cluster.takeover";
    /// A partition is fetched, to be held here.
    pub const HANDOFF: &str = "partition.handoff";
    /// Differences between two copies of a partition are fetched.
    pub const REPAIR: &str = "partition.repair";
    /// This node hands its partitions off before it stops.
    pub const LEAVE: &str = "cluster.leave";
    /// All swarms are written to disk.
    pub const SNAPSHOT: &str = "snapshot";
}

/// Keys of attributes.
pub mod key {
    /// `udp` or `tcp`.
    pub const NETWORK_TRANSPORT: &str = "network.transport";
    /// `ipv4` or `ipv6`.
    pub const NETWORK_TYPE: &str = "network.type";
    /// The keyed hash of the client's address, never the address.
    pub const CLIENT: &str = "client.address";
    /// The other node, by its name.
    pub const SERVER: &str = "server.address";
    /// Why it failed.
    pub const ERROR: &str = "error.type";
    /// The method of an HTTP request.
    pub const HTTP_METHOD: &str = "http.request.method";
    /// The route of an HTTP request.
    pub const HTTP_ROUTE: &str = "http.route";
    /// The status of an HTTP reply.
    pub const HTTP_STATUS: &str = "http.response.status_code";
    /// Always [`RPC_SYSTEM_VALUE`](super::RPC_SYSTEM_VALUE).
    pub const RPC_SYSTEM: &str = "rpc.system.name";
    /// The method of a request between nodes.
    pub const RPC_METHOD: &str = "rpc.method";
    /// `OK`, or why not.
    pub const RPC_STATUS: &str = "rpc.response.status_code";
    /// Of the resource: the name of the program.
    pub const SERVICE_NAME: &str = "service.name";
    /// Of the resource: its version.
    pub const SERVICE_VERSION: &str = "service.version";
    /// Of the resource: the name of the node.
    pub const SERVICE_INSTANCE: &str = "service.instance.id";
    /// Of the resource: the region.
    pub const REGION: &str = "tracker.region";
    /// The first four bytes of the info hash, as 8 hexadecimal digits.
    pub const INFO_HASH: &str = "tracker.info_hash.prefix";
    /// `none`, `started`, `completed`, `stopped` or `paused`.
    pub const EVENT: &str = "tracker.event";
    /// How many peers the client wants.
    pub const NUM_WANT: &str = "tracker.num_want";
    /// How many are returned.
    pub const PEERS: &str = "tracker.peers_returned";
    /// The partition.
    pub const PARTITION: &str = "tracker.partition";
    /// Who answered: `local`, `remote` or `cache`.
    pub const SOURCE: &str = "tracker.source";
    /// Whether the answer may be out of date.
    pub const STALE: &str = "tracker.stale";
    /// Why there are spans: `slow` or `failed`. Absent if it was sampled from the beginning.
    pub const AFTERWARDS: &str = "tracker.traced_afterwards";
    /// Announces of a batch.
    pub const ANNOUNCES: &str = "tracker.announces";
    /// Records of a batch.
    pub const RECORDS: &str = "tracker.records";
    /// The batch goes to another region.
    pub const CROSS_REGION: &str = "tracker.cross_region";
}

/// The value of [`key::RPC_SYSTEM`].
pub const RPC_SYSTEM_VALUE: &str = "tidings";
