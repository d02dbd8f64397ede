//! Sockets, below any protocol: batched datagrams and the outbox that owners answer through.

pub mod bind;
mod kernel;
pub mod kernel_queue;
pub mod outbox;
mod turn;

pub use kernel::{Endpoint, Receiver, advise_huge_pages};
pub use turn::yield_once;
