//! Sockets without any tracker protocol: batched datagrams, and the outbox through which owners send UDP replies (and end
//! the traces of the requests they answer).

pub mod bind;
mod kernel;
pub mod kernel_queue;
pub mod outbox;
mod turn;

pub use kernel::{Endpoint, Receiver, advise_huge_pages};
pub use turn::yield_once;
