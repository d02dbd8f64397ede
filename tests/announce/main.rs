//! A whole node, end to end over real sockets and at byte level: the traps of `docs/traps.md` that show there, and what
//! operators do with a running node.

mod faults;
mod node;
mod operations;
mod requests;
mod scrapes;
mod traps_list;
