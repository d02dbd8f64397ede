//! The HTTP frontend at byte level, through real sockets.

mod abuse;
mod announce;
mod harness;
mod protocol;
mod tls;
