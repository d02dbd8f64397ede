//! Tidings: a clustered BitTorrent tracker.
//!
//! Every node answers for every torrent. Consistent hashing assigns each info hash to an owner and to replicas in every
//! region, so that nodes can come, go and fail while clients of the others notice nothing. The same code runs as a single
//! tracker without a cluster.
//!
//! Most people want the `tidings` binary. This library is for programs that run a tracker in-process, above all tests:
//!
//! ```
//! use std::sync::Arc;
//!
//! use tidings::client::{AnnounceParams, HttpClient, announce_target, read_announce};
//! use tidings::clock::SystemClock;
//! use tidings::config::Settings;
//! use tidings::node::Node;
//! use tidings::swarm::{Event, InfoHash};
//! use tidings::wire::udp::Peers;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?.block_on(async {
//! // A node on ports that the system chooses.
//! let mut settings = Settings::default();
//! settings.announce.udp = vec!["127.0.0.1:0".parse()?];
//! settings.announce.http = vec!["127.0.0.1:0".parse()?];
//! settings.announce.threads = 1;
//! settings.ops.listen = None;
//! let node = Node::start(settings, Arc::new(SystemClock::start()), None).await?;
//!
//! let addr = node.addrs().http[0];
//! let mut client = HttpClient::new(addr, &addr.to_string(), None);
//! let mut peer = AnnounceParams {
//!     info_hash: InfoHash([0xab; 20]),
//!     peer_id: *b"-TR4060-k8hj0wgej6ch",
//!     key: 0,
//!     event: Event::Started,
//!     left: 0,
//!     num_want: 50,
//!     port: 6881,
//! };
//!
//! // A seeder, which has nothing left to download.
//! let mut target = Vec::new();
//! announce_target(&mut target, "/announce", &peer);
//! client.get(&target).await?;
//!
//! // A leecher, which gets the seeder back.
//! (peer.left, peer.port) = (1 << 20, 6882);
//! target.clear();
//! announce_target(&mut target, "/announce", &peer);
//! let reply = client.get(&target).await?;
//! let reply = read_announce(reply.body())?;
//! assert_eq!((reply.seeders, reply.leechers), (Some(1), Some(1)));
//! // 127.0.0.1:6881
//! assert_eq!(reply.peers, Some(Peers::V4(&[[127, 0, 0, 1, 0x1a, 0xe1]])));
//!
//! node.stop().await;
//! # Ok(())
//! # })
//! # }
//! ```
//!
//! # Modules
//!
//! In layers, lowest first: a module imports only those above it in this list. All of them are public for the tests and
//! benchmarks of this repository, which exercise each layer by itself; [`node`], [`config`], [`clock`] and [`client`] are
//! what a program that runs a tracker needs.
//!
//! | module | what it is |
//! |---|---|
//! | [`clock`] | time, which tests and simulations replace |
//! | [`config`] | the settings, from flags, environment, file and defaults |
//! | [`telemetry`] | logs, metrics and traces |
//! | [`swarm`] | the store: peers by info hash, and the laws by which copies of it merge |
//! | [`wire`] | the formats: UDP and HTTP announces, and the messages between nodes |
//! | [`client`] | a tracker client, for probes, load and tests |
//! | [`net`] | sockets, queues of outgoing datagrams, and what only the kernel can do |
//! | [`cluster`] | who is a member (sealed gossip), and which members are assigned which partition (placement) |
//! | [`link`] | authenticated connections between nodes, with requests and replies |
//! | [`partition`] | the owners of partitions, replication, anti-entropy and snapshots |
//! | [`router`] | the way of a request to its owner, on this node or another |
//! | [`frontend`] | UDP and HTTP servers for BitTorrent clients |
//! | [`ops`] | health, readiness, metrics and the JSON API |
//! | [`node`] | all of the above, built into a running node |
//! | [`cmd`] | the subcommands of the binary |
//!
//! `docs/architecture.md` describes how they work together.

pub mod client;
pub mod clock;
pub mod cluster;
pub mod cmd;
pub mod config;
#[doc(hidden)]
pub mod faults;
pub mod frontend;
pub mod link;
pub mod net;
pub mod node;
pub mod ops;
pub mod partition;
pub mod router;
pub mod swarm;
pub mod telemetry;
#[cfg(feature = "testkit")]
#[doc(hidden)]
pub mod testkit;
pub mod wire;
