//! Traces as a collector gets them: the binary exports by OTLP over gRPC to a receiver in the test.
//!
//! `tests/must_show traces` measures with the release binary what tracing costs: see `cost.rs`.

#![expect(
    clippy::disallowed_methods,
    reason = "what clients of running processes wait for is measured by the real clock"
)]

mod collector;
mod control;
mod cost;
mod probe;
mod receiver;
mod replica;
mod single;
mod six;
mod tree;

/// Exports spans soon, so that tests need not wait.
const SOON: [(&str, &str); 1] = [("OTEL_BSP_SCHEDULE_DELAY", "100")];
