//! Anti-entropy: how two copies of a partition find out where they differ, and how one fetches from the other what it lacks.
//!
//! * `digest` summarises a copy, so that two nodes can compare theirs.
//! * `scan` reads a copy in steps, in an order that both nodes share.
//! * `pull` is the driver side, on the node that may lack something; `chunk` is what the receiver side sends it.
//!
//! The manager decides what is compared when ([`crate::partition::manager`]), and [`crate::partition::serving`] answers
//! what the driver requests.

pub mod chunk;
pub mod digest;
pub mod pull;
pub mod scan;
