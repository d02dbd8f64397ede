//! What tests and benches share: the tracker as a process, clusters of them, clients, and the simulation.
//!
//! Compiled only with the feature `testkit`, which `Cargo.toml` enables for this package's own tests and benches. No build
//! for users contains it. Nothing outside of this folder may use it.

#![allow(missing_docs, reason = "tests read the code")]

pub mod sim;

pub mod binary;
pub mod cluster;
pub mod figures;
pub mod http;
pub mod load_report;
pub mod metrics;
pub mod namespace;
pub mod network;
pub mod pinned;
pub mod promtool;
pub mod skipped;
pub mod torrent;
pub mod torrent_clients;
pub mod tracker;
pub mod udp_client;
pub mod wait;
