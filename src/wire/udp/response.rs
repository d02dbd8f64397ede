//! What a tracker answers.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::{ConnectionId, Fields, TransactionId, action};
use crate::swarm::{Counts, Family, PeerAddr};

/// Bytes of an announce reply before its peers.
pub const ANNOUNCE_REPLY_HEAD: usize = 20;
/// Bytes of the action and the transaction id that every reply starts with.
const HEADER_LEN: usize = 8;
/// Bytes of one swarm's counts in a scrape reply.
const SCRAPE_ENTRY_LEN: usize = 12;

/// How many peers fit into an announce reply of at most `reply_bytes`.
pub const fn max_peers(family: Family, reply_bytes: usize) -> usize {
    reply_bytes.saturating_sub(ANNOUNCE_REPLY_HEAD) / family.stride()
}

/// How many swarms fit into a scrape reply of at most `reply_bytes`.
pub const fn max_scrape(reply_bytes: usize) -> usize {
    reply_bytes.saturating_sub(HEADER_LEN) / SCRAPE_ENTRY_LEN
}

/// Appends a connect reply. It is as long as the shortest request, so it amplifies nothing.
#[inline]
pub fn write_connect(out: &mut Vec<u8>, transaction_id: TransactionId, connection_id: ConnectionId) {
    let mut reply = [0; 16];
    reply[..8].copy_from_slice(&header(action::CONNECT, transaction_id));
    reply[8..].copy_from_slice(&connection_id.0.to_be_bytes());
    out.extend_from_slice(&reply);
}

/// Appends an announce reply up to its peers; the caller appends those, in the compact form of the packet's family.
/// `interval` is in seconds.
#[inline]
pub fn write_announce(out: &mut Vec<u8>, transaction_id: TransactionId, interval: u32, counts: &Counts) {
    let mut reply = [0; ANNOUNCE_REPLY_HEAD];
    reply[..8].copy_from_slice(&header(action::ANNOUNCE, transaction_id));
    reply[8..12].copy_from_slice(&int(interval));
    reply[12..16].copy_from_slice(&int(counts.leechers));
    reply[16..].copy_from_slice(&int(counts.seeders));
    out.extend_from_slice(&reply);
}

/// Appends a scrape reply up to its entries; the caller appends one [`write_scrape_entry`] for each hash of the request,
/// in that order, up to [`max_scrape`].
#[inline]
pub fn write_scrape(out: &mut Vec<u8>, transaction_id: TransactionId) {
    out.extend_from_slice(&header(action::SCRAPE, transaction_id));
}

/// Appends the counts of one swarm to a scrape reply.
#[inline]
pub fn write_scrape_entry(out: &mut Vec<u8>, counts: &Counts) {
    let mut entry = [0; SCRAPE_ENTRY_LEN];
    entry[..4].copy_from_slice(&int(counts.seeders));
    entry[4..8].copy_from_slice(&int(counts.completed));
    entry[8..].copy_from_slice(&int(counts.leechers));
    out.extend_from_slice(&entry);
}

/// Appends an error reply of at most `limit` bytes, cutting `message` (ASCII) short if need be. To an address that has
/// not proven itself by a valid connection id, `limit` is the length of the request.
pub fn write_error(out: &mut Vec<u8>, transaction_id: TransactionId, message: &str, limit: usize) {
    let len = message.len().min(limit.saturating_sub(HEADER_LEN));
    out.extend_from_slice(&header(action::ERROR, transaction_id));
    out.extend_from_slice(&message.as_bytes()[..len]);
}

#[inline]
fn header(action: u32, transaction_id: TransactionId) -> [u8; HEADER_LEN] {
    (u64::from(action) << 32 | u64::from(transaction_id.0)).to_be_bytes()
}

/// BEP 15 counts in signed integers; what is too large must not look negative.
#[inline]
fn int(value: u32) -> [u8; 4] {
    value.min(i32::MAX.cast_unsigned()).to_be_bytes()
}

/// A well-formed reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Response<'a> {
    /// To a connect request.
    Connect {
        /// The request's.
        transaction_id: TransactionId,
        /// To be sent along with announces and scrapes.
        connection_id: ConnectionId,
    },
    /// To an announce.
    Announce {
        /// The request's.
        transaction_id: TransactionId,
        /// Seconds until the next announce.
        interval: u32,
        /// Peers of the swarm that lack something.
        leechers: u32,
        /// Peers of the swarm that have everything.
        seeders: u32,
        /// Some of the swarm's peers.
        peers: Peers<'a>,
    },
    /// To a scrape.
    Scrape {
        /// The request's.
        transaction_id: TransactionId,
        /// One for each hash of the request, in that order.
        entries: ScrapeEntries<'a>,
    },
    /// The request has failed.
    Error {
        /// The request's.
        transaction_id: TransactionId,
        /// Why; of no certain encoding.
        message: &'a [u8],
    },
}

impl Response<'_> {
    /// The transaction id of the request that this answers.
    pub const fn transaction_id(&self) -> TransactionId {
        match *self {
            Self::Connect { transaction_id, .. }
            | Self::Announce { transaction_id, .. }
            | Self::Scrape { transaction_id, .. }
            | Self::Error { transaction_id, .. } => transaction_id,
        }
    }
}

/// Peers of one family in compact form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peers<'a> {
    /// BEP 15 over IPv4.
    V4(&'a [[u8; 6]]),
    /// BEP 15 over IPv6.
    V6(&'a [[u8; 18]]),
}

impl<'a> Peers<'a> {
    /// Reads compact peers; `None` if `bytes` does not end with a whole one.
    pub fn from_compact(family: Family, bytes: &'a [u8]) -> Option<Self> {
        match family {
            Family::V4 => whole(bytes).map(Self::V4),
            Family::V6 => whole(bytes).map(Self::V6),
        }
    }

    /// How many there are.
    pub const fn len(&self) -> usize {
        match self {
            Self::V4(peers) => peers.len(),
            Self::V6(peers) => peers.len(),
        }
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The peers, in the order of the reply.
    pub fn iter(&self) -> impl Iterator<Item = PeerAddr> + use<'a> {
        // One of the two halves is empty, which spares a boxed iterator.
        let (v4, v6): (&[_], &[_]) = match *self {
            Self::V4(peers) => (peers, &[]),
            Self::V6(peers) => (&[], peers),
        };
        let v4 = v4
            .iter()
            .map(|&[a, b, c, d, port @ ..]| PeerAddr::new(Ipv4Addr::new(a, b, c, d).into(), u16::from_be_bytes(port)));
        let v6 = v6.iter().filter_map(|peer| {
            let (ip, port) = peer.split_first_chunk::<16>()?;
            Some(PeerAddr::new(Ipv6Addr::from(*ip).into(), u16::from_be_bytes(port.try_into().ok()?)))
        });
        v4.chain(v6)
    }
}

/// The counts of the swarms of a scrape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScrapeEntries<'a>(&'a [[u8; SCRAPE_ENTRY_LEN]]);

impl<'a> ScrapeEntries<'a> {
    /// How many there are.
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The counts, in the order of the reply. UDP scrapes do not carry partial seeds, so these are zero.
    pub fn iter(&self) -> impl Iterator<Item = Counts> + use<'a> {
        self.0.iter().filter_map(|entry| {
            let mut fields = Fields(entry);
            let (seeders, completed, leechers) = (fields.u32()?, fields.u32()?, fields.u32()?);
            Some(Counts { seeders, leechers, partial_seeds: 0, completed })
        })
    }
}

/// Why a datagram is no reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResponseError {
    /// The action is none of a tracker's.
    #[error("unknown action {0}")]
    UnknownAction(u32),
    /// Too short or too long for the action, or the last peer or entry is not whole.
    #[error("a {action} reply cannot have {len} bytes")]
    Length {
        /// The reply's kind.
        action: &'static str,
        /// Its length.
        len: usize,
    },
}

/// Parses a datagram received by a client over `family`, strictly: nothing may be missing and nothing left over.
pub fn parse_response(datagram: &[u8], family: Family) -> Result<Response<'_>, ResponseError> {
    let length = |action| move || ResponseError::Length { action, len: datagram.len() };
    let mut fields = Fields(datagram);
    let action = fields.u32().ok_or_else(length("tracker"))?;
    let transaction_id = TransactionId(fields.u32().ok_or_else(length("tracker"))?);
    match action {
        action::CONNECT => parse_connect(transaction_id, fields).ok_or_else(length("connect")),
        action::ANNOUNCE => parse_announce(transaction_id, fields, family).ok_or_else(length("announce")),
        action::SCRAPE => whole(fields.0)
            .map(|entries| Response::Scrape { transaction_id, entries: ScrapeEntries(entries) })
            .ok_or_else(length("scrape")),
        action::ERROR => Ok(Response::Error { transaction_id, message: fields.0 }),
        action => Err(ResponseError::UnknownAction(action)),
    }
}

fn parse_connect(transaction_id: TransactionId, mut fields: Fields<'_>) -> Option<Response<'_>> {
    let connection_id = ConnectionId(fields.u64()?);
    fields.0.is_empty().then_some(Response::Connect { transaction_id, connection_id })
}

fn parse_announce(transaction_id: TransactionId, mut fields: Fields<'_>, family: Family) -> Option<Response<'_>> {
    let (interval, leechers, seeders) = (fields.u32()?, fields.u32()?, fields.u32()?);
    let peers = Peers::from_compact(family, fields.0)?;
    Some(Response::Announce { transaction_id, interval, leechers, seeders, peers })
}

fn whole<const N: usize>(bytes: &[u8]) -> Option<&[[u8; N]]> {
    let (chunks, rest) = bytes.as_chunks();
    rest.is_empty().then_some(chunks)
}
