//! Links: authenticated connections between nodes.
//!
//! Each node opens a [`Link`] to each other one and sends its requests over it; what the other one asks comes over the
//! connections that the other one has opened. Every connection is one task that reads into one buffer, decodes in place
//! and calls the [`Service`] or the [`Completion`] directly, and writes all that waits in one go. Requests come from any
//! thread: they are encoded straight into the buffer that is written.
//!
//! A peer that stops answering costs one deadline in all, not one for each request: the first that is missed opens the
//! breaker, which fails all others, and keeps new ones away until a ping is answered.

mod answering;
mod caller;
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
mod security;
mod shared;
mod status;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;

pub use answering::ReplyTo;
pub use limits::{Class, LinkLimits};
pub use link::Link;
pub use links::{LinkConfig, Links};
pub use security::Security;
pub use status::{ClassStatus, InboundStatus, LinkState, LinkStatus};

use crate::cluster::NodeId;
use crate::wire::peer::{Refusal, Reply, Request};

/// The versions of the protocol that this build speaks, lowest and highest.
pub const VERSIONS: [u16; 2] = [1, 1];

/// A node that a link is wanted to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerTarget {
    /// Its name.
    pub id: NodeId,
    /// Which start of it.
    pub incarnation: u64,
    /// Where it takes links.
    pub addr: SocketAddr,
}

/// Who waits for the reply to a request. It is told of any number of parts, and then either of the last reply or of a
/// failure. It is called from the link's task or from within [`Link::send`], holds up everything else on that connection,
/// and may send again.
pub trait Completion: Send {
    /// A reply has come. A last one that is [`Reply::Refused`] comes as a failure instead.
    fn reply(&mut self, reply: Reply, last: bool);

    /// None will come.
    fn failed(self: Box<Self>, error: LinkError);
}

/// Who answers requests.
pub trait Service: Send + Sync + 'static {
    /// Answers, or passes the request on with its `reply`. It is called from the connection's task, so it must not block.
    fn handle(&self, from: &NodeId, request: Request, reply: ReplyTo);
}

/// Why a request has no reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// There is no connection, or the breaker is open. The request was not sent.
    #[error("the node is not connected")]
    NotConnected,
    /// Too much waits. The request was not sent.
    #[error("too much waits for the node")]
    Overloaded,
    /// No reply came in time. It may have been carried out.
    #[error("the node did not answer in time")]
    Timeout,
    /// The connection broke, or the reply could not be read. It may have been carried out.
    #[error("the connection to the node broke")]
    Broken,
    /// The node does not do it.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

impl LinkError {
    /// In a word, for traces.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::NotConnected => "not_connected",
            Self::Overloaded => "too_much_waits",
            Self::Timeout => "timeout",
            Self::Broken => "broken",
            Self::Refused(Refusal::Incarnation) => "incarnation",
            Self::Refused(Refusal::NotHeld) => "not_held",
            Self::Refused(Refusal::Overloaded) => "overloaded",
            Self::Refused(Refusal::Malformed) => "malformed",
        }
    }
}
