//! The wire formats. Pure: bytes in, typed values out, and back.
