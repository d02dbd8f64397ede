//! The typed settings: default, file, environment and flags.

mod off;
mod settings;

pub use settings::{AccessList, AccessMode, Ack, Announce, Cluster, Limits, Node, Ops, Settings, Tls};
