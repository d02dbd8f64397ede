//! Anti-entropy: how two copies of a partition find out where they differ, and how one fetches from the other what it lacks.

pub mod digest;
pub mod pull;
pub mod scan;
