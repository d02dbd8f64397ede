//! What nodes send each other: messages, the frames around them, and packed lists of announces.

pub mod announces;
mod frame;
mod message;

pub use frame::{
    Frame, FrameError, HEADER, Opening, PREFIX, Parsed, RequestTraces, Welcome, decode, parse, traces, write_hello,
    write_ping, write_pong, write_refuse, write_reply, write_request, write_welcome,
};
pub use message::*;
