//! The wire formats. Pure: bytes in, typed values out, and back. No I/O, no clock, no state.

pub mod answered_by;
pub mod bencode;
pub mod peer;
pub mod query;
pub mod udp;
