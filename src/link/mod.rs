//! Links: authenticated connections between nodes.
//!
//! Each node opens a [`Link`] to every other one and sends its requests over it; the requests of the other node arrive over
//! the connections that the other node has opened. Every connection is one task that reads into one buffer, decodes in
//! place, calls the [`Service`] or the [`Completion`] directly, and writes everything that waits in one go. Requests come
//! from any thread: they are encoded straight into the buffer that is written.
//!
//! A peer that stops answering costs one deadline in all, not one for each request: the first that is missed opens the
//! breaker, which fails all others and rejects new ones until a ping is answered.
//!
//! Why not tonic or another RPC crate: one request carries the announces of a batch and gets its reply in parts, as owners
//! finish; the caller's state travels in the completion instead of a future per request; and the breaker has to fail all
//! outstanding requests of a connection at once. On top of HTTP/2 that would be our own layer on someone else's.

mod api;
mod channel;
mod client_side;
mod connection;
mod handshake;
mod inbound;
mod limits;
#[expect(clippy::module_inception, reason = "the file holds the type of this name")]
mod link;
mod links;
pub mod net;
mod outgoing;
mod pending;
mod reply_sender;
mod security;
mod server_side;
mod shared;
mod status;
#[cfg(test)]
mod tests;

pub use api::{Completion, LinkError, PeerTarget, Service, VERSIONS};
pub use limits::{Class, LinkLimits};
pub use link::Link;
pub use links::{LinkConfig, Links};
pub use reply_sender::ReplyTo;
pub use security::Security;
pub use status::{ClassStatus, InboundStatus, LinkState, LinkStatus};
