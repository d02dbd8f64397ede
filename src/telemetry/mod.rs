//! What a node tells of itself: its metrics, its logs and its traces.

pub mod exposition;
pub mod logs;
pub mod metrics;
pub mod process;
pub mod trace;
