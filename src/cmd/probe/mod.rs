//! `tidings probe`: announces to trackers as clients do, and checks every byte of the answers.
//!
//! `args` checks the command line. A `round` checks each `target` through a `session`, with the peers of `identity` and the
//! answers that `expect` defines; `replication` looks for the peers of one target at the others; `report` prints.

mod args;
mod expect;
mod identity;
mod reason;
mod replication;
mod report;
mod round;
mod run;
mod session;
mod target;
mod trust;

pub use args::Args;
