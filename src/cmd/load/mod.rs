//! `tidings load`: a load generator whose peers behave like real ones.
//!
//! `args` checks the command line and makes a `spec` of it. `population` has the peers, `workload` and `verify` decide what
//! they send. `engine` runs each `phase` over `udp` or `http`; `pacer` and `flights` keep the time, `tally` counts, and
//! `report` prints.

mod answer;
mod args;
mod engine;
mod flights;
mod http;
mod job;
mod pacer;
mod phase;
mod population;
mod progress;
mod report;
mod run;
mod sockets;
mod spec;
mod tally;
mod timeline;
mod udp;
mod verify;
mod workload;

pub use args::Args;
