//! Sizes, counts and times of links.

use std::time::Duration;

/// Which of the two connections of a link something takes, so that a handoff never delays an announce.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// What a client waits for, and changes for replicas. Has the breaker.
    Request,
    /// Digests and chunks: large, and not urgent.
    Bulk,
}

/// The bounds of links. All but tests and simulations take the defaults.
#[derive(Clone, Debug)]
pub struct LinkLimits {
    /// Bytes of a frame of class request.
    pub request_frame: usize,
    /// Bytes of a frame of class bulk.
    pub bulk_frame: usize,
    /// Bytes that wait to be written to a connection of class request; one frame more may be added to them.
    pub request_queue: usize,
    /// The same for class bulk.
    pub bulk_queue: usize,
    /// Requests of a connection that are not answered yet.
    pub outstanding: usize,
    /// Connections that others have opened.
    pub inbound: usize,
    /// Those of one address whose handshake is not done.
    pub unauthenticated: usize,
    /// From the first byte of a connection to the end of its handshake.
    pub handshake: Duration,
    /// Until a peer takes a connection.
    pub connect: Duration,
    /// Between two pings.
    pub ping: Duration,
    /// A ping that takes longer opens the breaker, if there are requests to be saved.
    pub ping_overdue: Duration,
    /// A ping that takes longer closes the connection.
    pub silence: Duration,
    /// A connection of another node on which nothing arrives for this long, not even a ping, is closed.
    pub inbound_silence: Duration,
    /// Until the first attempt to connect again; later ones take twice as long each…
    pub retry_first: Duration,
    /// …up to this.
    pub retry_last: Duration,
    /// Until the next attempt after a peer has refused the link.
    pub retry_refused: Duration,
}

impl Default for LinkLimits {
    fn default() -> Self {
        Self {
            request_frame: 1 << 20,
            bulk_frame: 4 << 20,
            request_queue: 8 << 20,
            bulk_queue: 16 << 20,
            outstanding: 65_536,
            inbound: 256,
            unauthenticated: 8,
            handshake: Duration::from_secs(5),
            connect: Duration::from_secs(2),
            ping: Duration::from_millis(250),
            ping_overdue: Duration::from_millis(400),
            silence: Duration::from_secs(3),
            inbound_silence: Duration::from_secs(10),
            retry_first: Duration::from_millis(50),
            retry_last: Duration::from_secs(1),
            retry_refused: Duration::from_secs(10),
        }
    }
}

impl LinkLimits {
    /// Bytes of a frame.
    pub(super) fn frame(&self, class: Class) -> usize {
        match class {
            Class::Request => self.request_frame,
            Class::Bulk => self.bulk_frame,
        }
    }

    /// Bytes that wait to be written.
    pub(super) fn queue(&self, class: Class) -> usize {
        match class {
            Class::Request => self.request_queue,
            Class::Bulk => self.bulk_queue,
        }
    }
}
