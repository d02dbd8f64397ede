//! What a node tells of itself: its metrics and its logs.

pub mod exposition;
pub mod logs;
pub mod metrics;
pub mod process;
