//! Warm restart: the peers of every owner are copied to files while it serves, and restored when the node starts or an
//! owner was replaced. `docs/warm-restart.md` describes the same for operators.
//!
//! One thread does everything, one owner after the other, so that at most the copy of one step is in memory. It visits the
//! owner for a step ([`copier`]), writes it, and pauses, so that a round over all owners takes half of the interval
//! whatever they hold. When all files of the round are on the disk they are renamed together: with another number of
//! threads or another placement key the records of one old file belong to several owners, and must not be lost between
//! two renames.

mod config;
mod context;
mod control;
mod copier;
mod dir;
pub mod format;
mod handle;
mod pace;
mod reader;
mod restore;
mod rounds;
mod status;
#[cfg(test)]
mod tests;
mod thread;

pub use config::SnapshotConfig;
pub use control::RefillTrigger;
pub use dir::{DataDir, DataDirError};
pub use handle::Snapshots;
pub use status::SnapshotStatus;
