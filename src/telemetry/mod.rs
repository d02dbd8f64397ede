//! Observability: metrics, logs and traces.

pub mod event_loop;
pub mod exposition;
pub mod histogram;
pub mod logs;
pub mod metrics;
pub mod process;
pub mod trace;
