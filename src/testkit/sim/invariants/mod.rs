//! The invariants, one file each.

pub mod i1_kept;
pub mod i2_equal;
pub mod i3_lifetime;
pub mod i4_stopped;
pub mod i5_one_hop;
pub mod i6_bounded;
pub mod i7_answers;
pub mod i8_fencing;
pub mod i9_economy;

use std::collections::BTreeMap;

use super::World;
use super::dump::Dump;

/// Checked ten times a second.
pub fn always(world: &World) {
    i6_bounded::check(world);
    i9_economy::check(world);
}

/// Checked once, long after the last fault.
pub fn at_the_end(world: &World, dumps: &BTreeMap<usize, Dump>) {
    i1_kept::at_the_end(world, dumps);
    i2_equal::at_the_end(world, dumps);
    i4_stopped::at_the_end(world, dumps);
    i7_answers::at_the_end(world);
    i6_bounded::at_the_end(world, dumps);
}
