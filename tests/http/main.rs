//! The HTTP frontend at byte level, through real sockets.

#![allow(clippy::disallowed_methods, reason = "these tests run in real time")]

mod abuse;
mod announce;
mod harness;
mod protocol;
mod tls;
