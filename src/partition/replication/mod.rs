//! Replication: from an owner's changes to the other nodes that hold them. Every replica in the region gets a batch at each
//! tick, and one node of each other region a little later.

mod ack;
mod changes;
mod flush;
mod queue;
mod routes;

pub use ack::OnAck;
pub use changes::{Cause, Change, Changes, CrossRegion};
pub use flush::Replication;
pub use queue::{DeltaQueue, QueueStatus};
pub use routes::{Peer, Route, Routes, SharedRoutes};
