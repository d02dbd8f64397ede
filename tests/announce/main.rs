//! A whole node, end to end over real sockets and at byte level: the traps of `docs/traps.md` that show there, and what
//! an operator does to a node that serves.

#![expect(clippy::disallowed_methods, reason = "these tests run in real time")]

mod client;
mod faults;
mod node;
mod operations;
mod requests;
mod scrapes;
mod traps_list;
