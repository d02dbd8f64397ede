//! The state of links, for metrics and `tidings status`.

use super::api::PeerTarget;

/// The state of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkState {
    /// It gets requests through.
    Up,
    /// Connected, but the breaker is open: the peer does not answer in time.
    Open,
    /// Not connected.
    Connecting,
    /// Not connected, and one of the two nodes refuses to be.
    Refused,
}

/// One link.
#[derive(Clone, Debug)]
pub struct LinkStatus {
    /// The node at its other end.
    pub target: PeerTarget,
    /// How it is.
    pub state: LinkState,
    /// The version of the protocol that both sides speak; 0 before the first connection.
    pub version: u16,
    /// How often the breaker has opened.
    pub breaker_opened: u64,
    /// The connection for requests.
    pub request: ClassStatus,
    /// The connection for bulk.
    pub bulk: ClassStatus,
    /// Why one of the nodes refuses.
    pub refusal: Option<String>,
}

/// One of the connections of a link. Counters count since the link was made.
#[derive(Clone, Copy, Debug)]
pub struct ClassStatus {
    /// It is there.
    pub connected: bool,
    /// Requests that wait for their replies.
    pub in_flight: usize,
    /// How many may.
    pub in_flight_limit: usize,
    /// Bytes that wait to be written.
    pub queued_bytes: usize,
    /// How many may; one frame more may be added to them.
    pub queued_bytes_limit: usize,
    /// Bytes read, before the TLS layer adds its own.
    pub bytes_in: u64,
    /// Bytes written.
    pub bytes_out: u64,
    /// How often it was connected again.
    pub reconnects: u64,
    /// Requests that missed their deadline, or went down with one that did.
    pub timeouts: u64,
    /// Requests that failed at once: not connected, or too much waits.
    pub not_taken: u64,
}

/// The connections that others have opened. Counters count since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InboundStatus {
    /// Connections, those in their handshake included.
    pub connections: usize,
    /// Connections that were closed at once, because there were too many.
    pub too_many: u64,
    /// Handshakes that failed.
    pub refused: u64,
    /// Connections that were closed because the peer did not read.
    pub cut_off: u64,
    /// Connections that were closed because what came was no frame.
    pub broken: u64,
    /// Bytes read.
    pub bytes_in: u64,
    /// Bytes written.
    pub bytes_out: u64,
}
