//! The UDP tracker protocol (BEP 15) and its options (BEP 41), for both ends of the wire.
//!
//! A tracker calls [`parse_request`] and appends replies with the `write_*` functions of this module; a client (load
//! generator, readiness probe, tests) uses [`encode_connect`], [`encode_announce`], [`encode_scrape`] and
//! [`parse_response`]. Nothing here allocates but the growth of the caller's `Vec`.

mod options;
mod request;
mod response;
#[cfg(test)]
mod tests;

pub use options::{OptionIter, Options, URL_DATA, UdpOption};
pub use request::{
    Announce, Malformed, ParseError, Request, encode_announce, encode_connect, encode_scrape, parse_request,
};
pub use response::{
    ANNOUNCE_REPLY_HEAD, Peers, Response, ResponseError, ScrapeEntries, max_peers, max_scrape, parse_response,
    write_announce, write_connect, write_error, write_scrape, write_scrape_entry,
};

/// Bytes of a connect request: the shortest request there is.
pub const CONNECT_REQUEST_LEN: usize = 16;
/// Bytes of an announce request before its options.
pub const ANNOUNCE_REQUEST_LEN: usize = 98;
/// Bytes of a scrape request before its info hashes.
pub const SCRAPE_REQUEST_HEADER_LEN: usize = 16;

/// What a client sends in place of a connection id to get one (BEP 15).
const CONNECT_MAGIC: u64 = 0x0417_2710_1980;

/// The actions of BEP 15.
mod action {
    pub const CONNECT: u32 = 0;
    pub const ANNOUNCE: u32 = 1;
    pub const SCRAPE: u32 = 2;
    pub const ERROR: u32 = 3;
}

/// Proves that a client receives what is sent to its address. Opaque here; its issuer checks it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConnectionId(pub u64);

/// Chosen by the client, returned as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TransactionId(pub u32);

/// Takes fixed-size big-endian fields off the front of a datagram; `None` when it is too short.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    #[inline]
    fn take<const N: usize>(&mut self) -> Option<&'a [u8; N]> {
        let (field, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(field)
    }

    #[inline]
    fn u16(&mut self) -> Option<u16> {
        self.take().copied().map(u16::from_be_bytes)
    }

    #[inline]
    fn u32(&mut self) -> Option<u32> {
        self.take().copied().map(u32::from_be_bytes)
    }

    #[inline]
    fn u64(&mut self) -> Option<u64> {
        self.take().copied().map(u64::from_be_bytes)
    }
}
