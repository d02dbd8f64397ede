//! Frames: how messages are delimited on a connection.
//!
//! ```text
//! length: u32   of all that follows
//! kind:   u8    1 hello, 2 welcome, 3 refuse, 4 request, 5 reply, 6 ping, 7 pong
//! flags:  u8    bit 0, of a reply: the last one. Bit 1, of a request: traces follow its MessagePack
//! id:     u64   of a request and its replies, of a ping and its pong; 0 otherwise
//! body          hello, welcome, reply: MessagePack. Refuse: UTF-8. Request: the target's incarnation (u64), MessagePack
//! ```
//!
//! Traces are entries of a position (u16) and a trace context (25 bytes, `telemetry::trace`), and then their number (u16).
//! A node that does not know the flag sees them as bytes after the MessagePack value, which it ignores.
//!
//! Numbers are big-endian. This layout and the meaning of the kinds 1 to 3 are the same in all versions of the protocol;
//! all else belongs to the version that both sides have agreed on.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::telemetry::trace::TraceContext;
use crate::wire::peer::{Hello, Reply, Request};

/// Bytes of the length in front of a frame.
pub const PREFIX: usize = 4;
/// Bytes of a frame in front of its body, without the length.
pub const HEADER: usize = 10;

const HELLO: u8 = 1;
const WELCOME: u8 = 2;
const REFUSE: u8 = 3;
const REQUEST: u8 = 4;
const REPLY: u8 = 5;
const PING: u8 = 6;
const PONG: u8 = 7;
/// Maximum nesting of values, so that a frame cannot overflow the stack of its reader.
const DEPTH: usize = 16;
/// The flag of a last reply.
const LAST: u8 = 1;
/// The flag of a request with traces.
const TRACED: u8 = 2;
/// Bytes of a trace: a position and a context.
const TRACE: usize = 2 + TraceContext::BYTES;
/// Maximum traces in one request; further ones are left out.
const MAX_TRACES: usize = 256;

/// The spans that a request is made for, each with the position of its announce in the request.
pub type RequestTraces = Vec<(u16, TraceContext)>;

/// One frame. Bodies in MessagePack are left as they are, for [`decode`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// The first frame on a connection, sent by the node that opened it: an [`Opening`].
    Hello(&'a [u8]),
    /// The connection is accepted: a [`Welcome`].
    Welcome(&'a [u8]),
    /// The connection is refused: the reason, as one sentence.
    Refuse(&'a str),
    /// A [`Request`].
    Request {
        /// Chosen by the sender; its replies carry it.
        id: u64,
        /// The incarnation of the target node.
        incarnation: u64,
        body: &'a [u8],
        /// The traces, for [`traces`]; most often empty.
        traces: &'a [u8],
    },
    /// A [`Reply`], one of several if not `last`.
    Reply {
        /// The id of the request.
        id: u64,
        /// No further reply to this request follows.
        last: bool,
        body: &'a [u8],
    },
    /// To be answered with a [`Frame::Pong`] at once.
    Ping(u64),
    /// The answer to a ping, with its number.
    Pong(u64),
}

/// The body of [`Frame::Hello`].
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Opening {
    /// The node that opens the connection.
    pub hello: Hello,
    /// The connection carries bulk transfers, not requests that clients wait for.
    pub bulk: bool,
    /// The name of the target node…
    pub target: String,
    /// …and its incarnation.
    pub target_incarnation: u64,
}

/// The body of [`Frame::Welcome`].
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Welcome {
    /// The node that accepted the connection.
    pub hello: Hello,
    /// The protocol version used from here on.
    pub version: u16,
}

/// Why bytes are not a valid frame, or a message does not fit into one.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum FrameError {
    #[error("a frame is longer than the limit of {0} bytes")]
    TooLong(usize),
    #[error("a frame is shorter than its header")]
    TooShort,
    /// The agreed version does not have this kind.
    #[error("a frame is of an unknown kind")]
    Kind,
    /// The body does not match the kind.
    #[error("the body of a frame cannot be read")]
    Body,
}

/// The result of [`parse`].
#[derive(Debug, PartialEq, Eq)]
pub enum Parsed<'a> {
    /// A complete frame, and its length in bytes.
    Frame(Frame<'a>, usize),
    /// An incomplete frame. Call again once this many bytes are available.
    Need(usize),
}

/// Reads the frame at the beginning of `input`, of which at most `limit` bytes may follow the length.
///
/// # Errors
/// When the stream cannot be read any further.
pub fn parse(input: &[u8], limit: usize) -> Result<Parsed<'_>, FrameError> {
    let Some((length, rest)) = input.split_first_chunk::<PREFIX>() else {
        return Ok(Parsed::Need(PREFIX));
    };
    let length = u32::from_be_bytes(*length) as usize;
    if length > limit {
        return Err(FrameError::TooLong(limit));
    }
    if length < HEADER {
        return Err(FrameError::TooShort);
    }
    let Some(frame) = rest.get(..length) else {
        return Ok(Parsed::Need(PREFIX + length));
    };
    let ([kind, flags], frame) = frame.split_first_chunk().ok_or(FrameError::TooShort)?;
    let (id, body) = frame.split_first_chunk().ok_or(FrameError::TooShort)?;
    let id = u64::from_be_bytes(*id);
    let frame = match *kind {
        HELLO => Frame::Hello(body),
        WELCOME => Frame::Welcome(body),
        REFUSE => Frame::Refuse(std::str::from_utf8(body).map_err(|_| FrameError::Body)?),
        REQUEST => {
            let (incarnation, body) = body.split_first_chunk().ok_or(FrameError::Body)?;
            let (body, traces) = if flags & TRACED == 0 { (body, &[][..]) } else { split_traces(body)? };
            Frame::Request { id, incarnation: u64::from_be_bytes(*incarnation), body, traces }
        }
        REPLY => Frame::Reply { id, last: flags & LAST != 0, body },
        PING => Frame::Ping(id),
        PONG => Frame::Pong(id),
        _ => return Err(FrameError::Kind),
    };
    Ok(Parsed::Frame(frame, PREFIX + length))
}

fn split_traces(body: &[u8]) -> Result<(&[u8], &[u8]), FrameError> {
    let (rest, count) = body.split_last_chunk().ok_or(FrameError::Body)?;
    let bytes = usize::from(u16::from_be_bytes(*count)) * TRACE;
    let at = rest.len().checked_sub(bytes).ok_or(FrameError::Body)?;
    Ok(rest.split_at(at))
}

/// Reads the traces of a request. What is none is left out.
pub fn traces(bytes: &[u8]) -> RequestTraces {
    let entries = bytes.as_chunks::<TRACE>().0.iter().take(MAX_TRACES);
    let entry = |bytes: &[u8; TRACE]| {
        let (position, context) = bytes.split_first_chunk()?;
        Some((u16::from_be_bytes(*position), TraceContext::from_bytes(context.first_chunk()?)?))
    };
    entries.filter_map(entry).collect()
}

/// Reads a body in MessagePack. Fields that are not known are skipped.
///
/// # Errors
/// [`FrameError::Body`].
pub fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, FrameError> {
    let mut deserializer = rmp_serde::Deserializer::from_read_ref(body);
    deserializer.set_max_depth(DEPTH);
    T::deserialize(&mut deserializer).map_err(|_| FrameError::Body)
}

/// Appends an opening.
///
/// # Errors
/// [`FrameError::TooLong`]; nothing is appended then. The same holds for the other functions that take a limit.
pub fn write_hello(out: &mut Vec<u8>, opening: &Opening, limit: usize) -> Result<(), FrameError> {
    write(out, HELLO, 0, 0, limit, |out| pack(out, opening))
}

/// Appends a welcome.
///
/// # Errors
/// See [`write_hello`].
pub fn write_welcome(out: &mut Vec<u8>, welcome: &Welcome, limit: usize) -> Result<(), FrameError> {
    write(out, WELCOME, 0, 0, limit, |out| pack(out, welcome))
}

/// Appends a refusal.
///
/// # Errors
/// See [`write_hello`].
pub fn write_refuse(out: &mut Vec<u8>, why: &str, limit: usize) -> Result<(), FrameError> {
    write(out, REFUSE, 0, 0, limit, |out| {
        out.extend_from_slice(why.as_bytes());
        Ok(())
    })
}

/// Appends a request for the node with this incarnation, and the spans that it is made for.
///
/// # Errors
/// See [`write_hello`].
pub fn write_request(
    out: &mut Vec<u8>,
    id: u64,
    incarnation: u64,
    request: &Request,
    traces: &[(u16, TraceContext)],
    limit: usize,
) -> Result<(), FrameError> {
    let traces = &traces[..traces.len().min(MAX_TRACES)];
    let flags = if traces.is_empty() { 0 } else { TRACED };
    write(out, REQUEST, flags, id, limit, |out| {
        out.extend_from_slice(&incarnation.to_be_bytes());
        pack(out, request)?;
        if !traces.is_empty() {
            for (position, context) in traces {
                out.extend_from_slice(&position.to_be_bytes());
                out.extend_from_slice(&context.to_bytes());
            }
            out.extend_from_slice(&(traces.len() as u16).to_be_bytes());
        }
        Ok(())
    })
}

/// Appends a reply.
///
/// # Errors
/// See [`write_hello`].
pub fn write_reply(out: &mut Vec<u8>, id: u64, last: bool, reply: &Reply, limit: usize) -> Result<(), FrameError> {
    write(out, REPLY, if last { LAST } else { 0 }, id, limit, |out| pack(out, reply))
}

/// Appends a ping.
pub fn write_ping(out: &mut Vec<u8>, id: u64) {
    let _ = write(out, PING, 0, id, HEADER, |_| Ok(()));
}

/// Appends a pong.
pub fn write_pong(out: &mut Vec<u8>, id: u64) {
    let _ = write(out, PONG, 0, id, HEADER, |_| Ok(()));
}

fn pack(out: &mut Vec<u8>, value: &impl Serialize) -> Result<(), FrameError> {
    rmp_serde::encode::write_named(out, value).map_err(|_| FrameError::Body)
}

fn write(
    out: &mut Vec<u8>,
    kind: u8,
    flags: u8,
    id: u64,
    limit: usize,
    body: impl FnOnce(&mut Vec<u8>) -> Result<(), FrameError>,
) -> Result<(), FrameError> {
    let start = out.len();
    out.extend_from_slice(&[0, 0, 0, 0, kind, flags]);
    out.extend_from_slice(&id.to_be_bytes());
    let result = body(out).and_then(|()| {
        let length = out.len() - start - PREFIX;
        let length = u32::try_from(length).ok().filter(|_| length <= limit).ok_or(FrameError::TooLong(limit))?;
        out[start..start + PREFIX].copy_from_slice(&length.to_be_bytes());
        Ok(())
    });
    if result.is_err() {
        out.truncate(start);
    }
    result
}

#[cfg(test)]
mod tests;
