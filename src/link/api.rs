//! What users of links implement and get: requests with a completion, a service for those of other nodes, and errors.

use std::net::SocketAddr;

use super::reply_sender::ReplyTo;
use crate::cluster::NodeId;
use crate::wire::peer::{Refusal, Reply, Request};

/// The versions of the protocol that this build speaks, lowest and highest.
pub const VERSIONS: [u16; 2] = [1, 1];

/// A node to open a link to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerTarget {
    /// Its name.
    pub id: NodeId,
    /// Its incarnation.
    pub incarnation: u64,
    /// Where it takes links.
    pub addr: SocketAddr,
}

/// Callback for the reply to a request: zero or more parts, then exactly one last reply or failure. It is called from the
/// link's task or from within [`Link::send`](super::Link::send), blocks everything else on that connection, and may send
/// again.
pub trait Completion: Send {
    /// A reply has come. A last one that is [`Reply::Refused`] comes as a failure instead.
    fn reply(&mut self, reply: Reply, last: bool);

    /// No reply will come.
    fn failed(self: Box<Self>, error: LinkError);
}

/// Answers the requests of other nodes.
pub trait Service: Send + Sync + 'static {
    /// Answers, or passes the request on with its `reply`. It is called from the connection's task, so it must not block.
    fn handle(&self, from: &NodeId, request: Request, reply: ReplyTo);
}

/// Why a request got no reply.
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
    /// The node refused.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

impl LinkError {
    /// A word for traces.
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
