//! Every setting, its meaning and its default. `tidings config` prints the doc comments below, so they are written for
//! operators: the first paragraph says what the key does, with unit and range; an optional key ends with an `Example:`.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use documented::{Documented, DocumentedFields};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::off;

/// All settings of a node. The defaults make a working tracker.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// `[node]`
    pub node: Node,
    /// `[announce]`
    pub announce: Announce,
    /// `[tls]`
    pub tls: Tls,
    /// `[ops]`
    pub ops: Ops,
    /// `[limits]`
    pub limits: Limits,
    /// `[access_list]`
    pub access_list: AccessList,
    /// `[cluster]`
    pub cluster: Cluster,
    /// `[telemetry]`
    pub telemetry: Telemetry,
}

/// The identity of this node and where it stores its data.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, Documented, DocumentedFields)]
#[serde(default, deny_unknown_fields)]
pub struct Node {
    /// The name of this node, unique in its cluster: letters, digits, `.`, `_` and `-`, at most 64 of them.
    pub id: String,
    /// The region (data centre, zone) of this node, written like the id. Every region has its own replicas.
    pub region: String,
    /// The directory for snapshots. When set, peers and completed counts survive a restart; otherwise they are in memory
    /// only.
    ///
    /// Example: `"/var/lib/tidings"`
    #[serde(with = "off")]
    pub data_dir: Option<PathBuf>,
    /// The time between two snapshots, in seconds, 1 to 3600. A crash loses the announces of at most one and a half times
    /// this time.
    pub snapshot_interval: u32,
}

impl Default for Node {
    fn default() -> Self {
        Self { id: "tidings".into(), region: "local".into(), data_dir: None, snapshot_interval: 30 }
    }
}

/// Where clients announce and scrape, and the replies that they get.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, Documented, DocumentedFields)]
#[serde(default, deny_unknown_fields)]
pub struct Announce {
    /// The addresses for UDP announces and scrapes (BEP 15). An IPv6 address serves IPv6 only; an empty list disables UDP.
    pub udp: Vec<SocketAddr>,
    /// The addresses for HTTP announces and scrapes (BEP 3), and for HTTPS if tls.cert is set. An empty list disables HTTP.
    pub http: Vec<SocketAddr>,
    /// The time between two announces of a client, in seconds, 1 to 28000; clients expect 300 to 10800. Every reply varies
    /// it by up to 10 %, so that clients spread out.
    pub interval: u32,
    /// The shortest time between two announces of a client, in seconds, 1 to 28000, and at most the interval.
    pub min_interval: u32,
    /// The most peers in one reply, even if the client asks for more, 1 to 10000. If UDP is enabled, they must fit into
    /// limits.udp_reply_bytes: 20 bytes plus 6 bytes per peer. (An IPv6 peer takes 18 bytes, so such replies may have
    /// fewer.)
    pub max_peers: u16,
    /// The peers in a reply to a client that does not ask for a number, 1 to 10000, and at most max_peers.
    pub default_peers: u16,
    /// The time after its last announce when a peer is forgotten, in seconds, 1 to 32000. It must be longer than the
    /// interval plus its variation of 10 % and some delay.
    pub peer_ttl: u16,
    /// The threads that serve announces, 0 to 1024; 0 means one per processor core.
    pub threads: usize,
    /// The networks of trusted reverse proxies. The proxy_header of other senders is ignored.
    ///
    /// Example: `["10.0.0.0/8", "fd00::/8"]`
    pub trusted_proxies: Vec<IpNet>,
    /// The header in which a trusted proxy names its client. The rightmost address that is not a trusted proxy counts.
    pub proxy_header: String,
    /// Whether an HTTP scrape without an info hash returns every swarm. This is expensive with many swarms.
    pub full_scrape: bool,
    /// The IPv4 address to give out for peers that announce from this host or its private network.
    ///
    /// Example: `"203.0.113.7"`
    #[serde(with = "off")]
    pub external_ipv4: Option<Ipv4Addr>,
    /// The IPv6 address to give out for peers that announce from this host or its private network.
    ///
    /// Example: `"2001:db8::7"`
    #[serde(with = "off")]
    pub external_ipv6: Option<Ipv6Addr>,
}

impl Default for Announce {
    fn default() -> Self {
        let everywhere =
            || vec![SocketAddr::from((Ipv4Addr::UNSPECIFIED, 6969)), SocketAddr::from((Ipv6Addr::UNSPECIFIED, 6969))];
        Self {
            udp: everywhere(),
            http: everywhere(),
            interval: 1800,
            min_interval: 900,
            max_peers: 200,
            default_peers: 50,
            peer_ttl: 2700,
            threads: 0,
            trusted_proxies: Vec::new(),
            proxy_header: "x-forwarded-for".into(),
            full_scrape: false,
            external_ipv4: None,
            external_ipv6: None,
        }
    }
}

/// HTTPS. If both keys are set, every announce.http address serves TLS as well as plain HTTP.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, Documented, DocumentedFields)]
#[serde(default, deny_unknown_fields)]
pub struct Tls {
    /// The file with the certificate chain, in PEM. A changed file is loaded without a restart.
    ///
    /// Example: `"/etc/tidings/cert.pem"`
    #[serde(with = "off")]
    pub cert: Option<PathBuf>,
    /// The file with the certificate's private key, in PEM.
    ///
    /// Example: `"/etc/tidings/key.pem"`
    #[serde(with = "off")]
    pub key: Option<PathBuf>,
}

/// Operations: health, metrics and the JSON API. Keep this address private.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, Documented, DocumentedFields)]
#[serde(default, deny_unknown_fields)]
pub struct Ops {
    /// The address for /healthz, /readyz, /metrics and /api/v1, or "off".
    #[serde(with = "off")]
    pub listen: Option<SocketAddr>,
}

impl Default for Ops {
    fn default() -> Self {
        Self { listen: Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 7070))) }
    }
}

/// Limits on what one node stores and does at a time.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, Documented, DocumentedFields)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// The largest UDP reply, in bytes, 256 to 65507. Replies of up to 1232 bytes are not fragmented on any network.
    pub udp_reply_bytes: usize,
    /// The most info hashes in one HTTP scrape, 1 to 10000. A UDP scrape is limited by the size of its reply.
    pub scrape_hashes: usize,
    /// The requests that may wait for one owner of partitions, 16 to 1048576. More are dropped (UDP) or refused (HTTP).
    pub in_flight: usize,
    /// The most swarms on this node, 1 to 1000000000.
    pub swarms: usize,
    /// The most peers on this node, 1 to 1000000000.
    pub peers: usize,
    /// The most peers in one swarm, 1 to 16000000.
    pub peers_per_swarm: u32,
    /// The changes that are queued for another node while it is unreachable, in bytes, 65536 to 4294967296. When the queue
    /// is full, changes are dropped, and that node compares whole partitions when it is back.
    pub hint_bytes: usize,
    /// The swarms of other nodes whose last answers are cached, for when none of these nodes answers, 0 to 100000000.
    pub stale_swarms: usize,
    /// The most open HTTP connections, 1 to 1048576.
    pub http_connections: usize,
    /// The time after which an idle HTTP connection is closed, in seconds, 1 to 3600.
    pub http_idle: u32,
    /// The largest head of an HTTP request, in bytes, 1024 to 1048576.
    pub http_request_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            udp_reply_bytes: 1232,
            scrape_hashes: 74,
            in_flight: 16_384,
            swarms: 20_000_000,
            peers: 50_000_000,
            peers_per_swarm: 1_000_000,
            hint_bytes: 64 << 20,
            stale_swarms: 65_536,
            http_connections: 16_384,
            http_idle: 60,
            http_request_bytes: 16_384,
        }
    }
}

/// Which torrents are served. The list is read again on SIGHUP.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, Documented, DocumentedFields)]
#[serde(default, deny_unknown_fields)]
pub struct AccessList {
    /// "off" serves every torrent, "allow" only those on the list, "deny" all but those on the list.
    pub mode: AccessMode,
    /// The file with the list: one info hash per line, as 40 hexadecimal digits.
    ///
    /// Example: `"/etc/tidings/info-hashes.txt"`
    #[serde(with = "off")]
    pub path: Option<PathBuf>,
}

/// How the access list is applied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum AccessMode {
    /// No list: every torrent is served.
    #[default]
    Off,
    /// Only listed torrents are served.
    Allow,
    /// Listed torrents are refused.
    Deny,
}

/// The cluster. Without cluster.gossip the node works alone.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, Documented, DocumentedFields)]
#[serde(default, deny_unknown_fields)]
pub struct Cluster {
    /// The name of the cluster, written like a node's id. Nodes with another name are rejected.
    pub name: String,
    /// The UDP address for membership gossip.
    ///
    /// Example: `"10.0.0.1:7071"`
    #[serde(with = "off")]
    pub gossip: Option<SocketAddr>,
    /// The TCP address for requests and changes from other nodes.
    ///
    /// Example: `"10.0.0.1:7072"`
    #[serde(with = "off")]
    pub link: Option<SocketAddr>,
    /// The name or IP address at which the other nodes reach this one, at the ports of cluster.gossip and cluster.link.
    /// Needed only if those listen on every address (0.0.0.0 or [::]). A name is resolved once, at startup.
    ///
    /// Example: `"tidings-1.example.org"`
    #[serde(with = "off")]
    pub advertise: Option<String>,
    /// The gossip addresses of some other nodes, as "host:port". A starting node discovers the rest through them.
    ///
    /// Example: `["tidings-1.example.org:7071"]`
    pub seeds: Vec<String>,
    /// The directory with this node's certificate and the cluster's keys, as created by `tidings keys init`.
    ///
    /// Example: `"/etc/tidings/keys"`
    #[serde(with = "off")]
    pub keys: Option<PathBuf>,
    /// Whether nodes may connect without keys on addresses other than loopback. Every host that reaches these addresses
    /// can then read and change everything.
    pub insecure: bool,
    /// The file with the secret that all nodes of the cluster share. The default is the one in cluster.keys.
    ///
    /// Example: `"/etc/tidings/secret"`
    #[serde(with = "off")]
    pub secret_file: Option<PathBuf>,
    /// The partitions that all swarms are divided into: a power of two, 1 to 32768, the same on every node.
    pub partitions: u16,
    /// The number of nodes in every region that hold each partition, 1 to 16, the same on every node.
    pub replicas_per_region: u8,
    /// This node's share of the partitions relative to the other nodes of its region, 1 to 100.
    pub weight: u16,
    /// When an announce is acknowledged: "owner" as soon as its owner has stored it, "replica" when a replica has too.
    pub ack: Ack,
    /// The time that a node may take to answer another one, in milliseconds, 10 to 10000. After it the next node is tried.
    pub deadline: u32,
    /// The time that a node may be down before its partitions are assigned to other nodes, in seconds, 1 to 300.
    pub stable_after: u32,
    /// The longest time that a stopping node waits until others hold its partitions, in seconds, 0 to 3600.
    pub leave_timeout: u32,
}

impl Default for Cluster {
    fn default() -> Self {
        Self {
            name: "tidings".into(),
            gossip: None,
            link: None,
            advertise: None,
            seeds: Vec::new(),
            keys: None,
            insecure: false,
            secret_file: None,
            partitions: 256,
            replicas_per_region: 2,
            weight: 1,
            ack: Ack::default(),
            deadline: 250,
            stable_after: 60,
            leave_timeout: 30,
        }
    }
}

/// When an announce is acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Ack {
    /// As soon as the partition's owner has stored it.
    #[default]
    Owner,
    /// When a replica has stored it too.
    Replica,
}

/// Tracing. The standard environment variables (OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_TRACES_SAMPLER and so on) override this
/// section, even if its keys are set by flags.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, Documented, DocumentedFields)]
#[serde(default, deny_unknown_fields)]
pub struct Telemetry {
    /// The URL of a collector that accepts OTLP over gRPC without TLS. If unset, nothing is traced.
    ///
    /// Example: `"http://127.0.0.1:4317"`
    #[serde(with = "off")]
    pub otlp_endpoint: Option<String>,
    /// The share of announces that are sampled when they arrive, 0.0 to 1.0.
    pub sample_ratio: f64,
    /// The time after which an announce is slow, in milliseconds, 1 to 60000. Slow and failed announces are traced
    /// afterwards, with what is then known of them.
    pub slow: u32,
    /// The most slow and failed announces that are traced per second, 0 to 10000.
    pub slow_per_second: u32,
    /// The networks of probes whose traceparent is honoured: in the header of an HTTP announce, or in the URL data of a UDP
    /// announce (BEP 41). Hosts in these networks can have all of their announces traced.
    ///
    /// Example: `["192.0.2.0/24", "2001:db8::/32"]`
    pub trusted_probes: Vec<IpNet>,
}

impl Default for Telemetry {
    fn default() -> Self {
        Self { otlp_endpoint: None, sample_ratio: 1e-4, slow: 250, slow_per_second: 10, trusted_probes: Vec::new() }
    }
}
