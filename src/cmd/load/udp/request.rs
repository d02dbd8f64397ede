//! What a datagram is sent for.

use crate::cmd::load::flights::Nanos;
use crate::cmd::load::job::Job;

/// A job, when it was due, and how many targets were tried for it before.
#[derive(Clone, Copy, Debug)]
pub struct Task {
    pub job: Job,
    pub intended: Nanos,
    pub tries: usize,
}

#[derive(Clone, Copy, Debug)]
pub enum Purpose {
    /// A connection id of the source.
    Connect,
    /// A connection id that one job uses (`--connect-each`).
    ConnectFor(Job),
    Job(Job),
}

/// A request under way, the position of its target, and how many targets were tried before.
#[derive(Clone, Copy, Debug)]
pub struct Sent {
    pub purpose: Purpose,
    pub target: usize,
    pub tries: usize,
}
