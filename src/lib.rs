//! Tidings: a clustered BitTorrent tracker.
//!
//! The layers, lowest first; none knows anything of those above it (`docs/architecture.md` is the map):
//! [`swarm`] holds the peers, [`wire`] the formats, and so on up to the subcommands in [`cmd`].

pub mod cmd;
pub mod config;
mod kernel;
pub mod swarm;
pub mod wire;
