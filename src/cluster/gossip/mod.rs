//! The transport of gossip: datagrams sealed under a key ring, and protected against replay.

pub mod keyring;
mod replay;
pub mod seal;
mod transport;

pub use transport::SealedTransport;
