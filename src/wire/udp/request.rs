//! What clients send.

use std::fmt;

use super::{ANNOUNCE_REQUEST_LEN, CONNECT_MAGIC, ConnectionId, Fields, Options, TransactionId, action};
use crate::swarm::{Event, InfoHash};

/// A well-formed request. Its connection id is not checked yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request<'a> {
    /// Requests a connection id.
    Connect {
        /// To be returned.
        transaction_id: TransactionId,
    },
    /// Enters, refreshes or leaves a swarm, and requests peers.
    Announce(Announce<'a>),
    /// Requests the counts of swarms.
    Scrape {
        /// To be checked before anything is answered.
        connection_id: ConnectionId,
        /// To be returned.
        transaction_id: TransactionId,
        /// At least one. The answer is positional, so order and duplicates are kept.
        info_hashes: &'a [[u8; 20]],
    },
}

/// An announce as it stands in the datagram. The fields that a tracker has no use for (peer id, uploaded, downloaded,
/// and the IP address that a client claims to have) are left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Announce<'a> {
    /// To be checked before anything is answered.
    pub connection_id: ConnectionId,
    /// To be returned.
    pub transaction_id: TransactionId,
    /// The swarm.
    pub info_hash: InfoHash,
    /// Never [`Event::Paused`], which BEP 15 has no number for.
    pub event: Event,
    /// Bytes that the peer lacks. It may be huge or negative while that is unknown (magnet links).
    pub left: i64,
    /// The same for all addresses of one client.
    pub key: u32,
    /// How many peers the client wants; negative for the tracker's default.
    pub num_want: i32,
    /// The port on which the peer accepts connections. Zero only if the peer has stopped.
    pub port: u16,
    /// The options of BEP 41.
    pub options: Options<'a>,
}

impl Announce<'_> {
    /// Whether the peer lacks nothing. An unknown `left` is a leecher's.
    pub const fn is_seeder(&self) -> bool {
        self.left == 0
    }
}

/// What is wrong with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// The datagram ends within a fixed field.
    TooShort,
    /// A connect request without the magic number of BEP 15.
    NoMagic,
    /// Neither connect nor announce nor scrape.
    UnknownAction,
    /// No peer can connect to port 0.
    PortZero,
    /// A scrape without a whole info hash.
    NoInfoHash,
}

impl Malformed {
    /// The message for an error reply, and the value of a metric label. Short, as it has to fit into replies to short
    /// requests.
    pub const fn message(self) -> &'static str {
        match self {
            Self::TooShort => "too short",
            Self::NoMagic => "no magic",
            Self::UnknownAction => "unknown action",
            Self::PortZero => "port is 0",
            Self::NoInfoHash => "no hash",
        }
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.message())
    }
}

/// Why a datagram is not a valid request, and whether the sender may be sent an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// May be answered with an error **if the connection id is valid**. That error is never longer than the datagram.
    #[error("{reason}")]
    Sendable {
        /// To be checked before anything is answered.
        connection_id: ConnectionId,
        /// To be returned.
        transaction_id: TransactionId,
        /// What is wrong.
        reason: Malformed,
    },
    /// Must not be answered: the datagram is not BitTorrent's, or shorter than an answer would be.
    #[error("{0}")]
    Unsendable(Malformed),
}

/// Parses a datagram received by a tracker. Bytes after a connect request are ignored, as are those after the last
/// whole info hash of a scrape; those after an announce are its [`Options`].
#[inline]
pub fn parse_request(datagram: &[u8]) -> Result<Request<'_>, ParseError> {
    let too_short = ParseError::Unsendable(Malformed::TooShort);
    let mut fields = Fields(datagram);
    let connection_id = ConnectionId(fields.u64().ok_or(too_short)?);
    let action = fields.u32().ok_or(too_short)?;
    let transaction_id = TransactionId(fields.u32().ok_or(too_short)?);
    let refuse = |reason: Malformed| {
        if 8 + reason.message().len() <= datagram.len() {
            ParseError::Sendable { connection_id, transaction_id, reason }
        } else {
            ParseError::Unsendable(reason)
        }
    };
    match action {
        action::ANNOUNCE => {
            let announce = parse_announce(connection_id, transaction_id, fields);
            let announce = announce.ok_or_else(|| refuse(Malformed::TooShort))?;
            // Some clients stop with port 0; as they only leave, it does no harm.
            if announce.port == 0 && announce.event != Event::Stopped {
                return Err(refuse(Malformed::PortZero));
            }
            Ok(Request::Announce(announce))
        }
        action::CONNECT if connection_id.0 == CONNECT_MAGIC => Ok(Request::Connect { transaction_id }),
        action::CONNECT => Err(ParseError::Unsendable(Malformed::NoMagic)),
        action::SCRAPE => match fields.0.as_chunks().0 {
            [] => Err(refuse(Malformed::NoInfoHash)),
            info_hashes => Ok(Request::Scrape { connection_id, transaction_id, info_hashes }),
        },
        // No answer, so that two trackers cannot be made to send each other errors for ever.
        _ => Err(ParseError::Unsendable(Malformed::UnknownAction)),
    }
}

/// Parses what follows the transaction id.
#[inline]
fn parse_announce<'a>(
    connection_id: ConnectionId,
    transaction_id: TransactionId,
    mut fields: Fields<'a>,
) -> Option<Announce<'a>> {
    let info_hash = InfoHash(*fields.take()?);
    let _peer_id: &[u8; 20] = fields.take()?;
    let _downloaded = fields.u64()?;
    let left = fields.u64()?.cast_signed();
    let _uploaded = fields.u64()?;
    let event = match fields.u32()? {
        1 => Event::Completed,
        2 => Event::Started,
        3 => Event::Stopped,
        _ => Event::None,
    };
    // Ignored: trusting it would let clients direct peers at a victim.
    let _claimed_ip = fields.u32()?;
    let key = fields.u32()?;
    let num_want = fields.u32()?.cast_signed();
    let port = fields.u16()?;
    let options = Options::new(fields.0);
    Some(Announce { connection_id, transaction_id, info_hash, event, left, key, num_want, port, options })
}

/// Appends a connect request.
pub fn encode_connect(out: &mut Vec<u8>, transaction_id: TransactionId) {
    write_header(out, ConnectionId(CONNECT_MAGIC), action::CONNECT, transaction_id);
}

/// Appends an announce request. [`Event::Paused`] has no number here and is sent as [`Event::None`].
pub fn encode_announce(out: &mut Vec<u8>, announce: &Announce<'_>, peer_id: &[u8; 20]) {
    let event: u32 = match announce.event {
        Event::None | Event::Paused => 0,
        Event::Completed => 1,
        Event::Started => 2,
        Event::Stopped => 3,
    };
    let options = announce.options.as_bytes();
    out.reserve(ANNOUNCE_REQUEST_LEN + options.len());
    write_header(out, announce.connection_id, action::ANNOUNCE, announce.transaction_id);
    out.extend_from_slice(&announce.info_hash.0);
    out.extend_from_slice(peer_id);
    out.extend_from_slice(&[0; 8]); // downloaded
    out.extend_from_slice(&announce.left.to_be_bytes());
    out.extend_from_slice(&[0; 8]); // uploaded
    out.extend_from_slice(&event.to_be_bytes());
    out.extend_from_slice(&[0; 4]); // IP address: the packet's
    out.extend_from_slice(&announce.key.to_be_bytes());
    out.extend_from_slice(&announce.num_want.to_be_bytes());
    out.extend_from_slice(&announce.port.to_be_bytes());
    out.extend_from_slice(options);
}

/// Appends a scrape request.
pub fn encode_scrape(
    out: &mut Vec<u8>,
    connection_id: ConnectionId,
    transaction_id: TransactionId,
    info_hashes: &[[u8; 20]],
) {
    write_header(out, connection_id, action::SCRAPE, transaction_id);
    out.extend_from_slice(info_hashes.as_flattened());
}

fn write_header(out: &mut Vec<u8>, connection_id: ConnectionId, action: u32, transaction_id: TransactionId) {
    out.extend_from_slice(&connection_id.0.to_be_bytes());
    out.extend_from_slice(&action.to_be_bytes());
    out.extend_from_slice(&transaction_id.0.to_be_bytes());
}
