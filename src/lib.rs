//! Tidings: a clustered BitTorrent tracker.
//!
//! The layers, lowest first; none knows anything of those above it (`docs/architecture.md` is the map):
//! [`swarm`] holds the peers, [`wire`] the formats, and so on up to the subcommands in [`cmd`].

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
