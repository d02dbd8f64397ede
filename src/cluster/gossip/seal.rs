//! Sealed datagrams: only holders of a cluster key can read, forge, change or replay one.
//!
//! ```text
//! version 1 B | nonce 24 B | XChaCha20-Poly1305( session 8 B | counter 8 B | wall time 8 B | payload ) | tag 16 B
//! ```
//!
//! Integers are big-endian. The associated data is the version and the cluster's name. The session is random, one for each
//! start of a node; the counter goes up with every datagram; the wall time is in milliseconds since the Unix epoch and may
//! be [`MAX_CLOCK_DIFFERENCE`] off, so that a datagram cannot be repeated to a node that has forgotten its sender. A
//! datagram that was meant for another node of the cluster is taken: gossip is for all.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use chacha20poly1305::aead::{Aead, Payload};
use chacha20poly1305::{KeyInit, XChaCha20Poly1305, XNonce};
use parking_lot::Mutex;

use crate::clock::Clock;
use crate::cluster::gossip::keyring::{Key, KeyRing};
use crate::cluster::gossip::replay::{MAX_SENDERS, Refused, Senders};

/// The first byte of each datagram.
pub const VERSION: u8 = 1;
/// How far the clocks of two nodes may be apart.
pub const MAX_CLOCK_DIFFERENCE: Duration = Duration::from_secs(600);
/// The most bytes that one sealed datagram carries: what UDP over IPv4 takes, less the seal.
pub const MAX_PAYLOAD: usize = MAX_DATAGRAM - 1 - NONCE - HEADER - TAG;

pub(super) const MAX_DATAGRAM: usize = 65_507;
const NONCE: usize = 24;
const HEADER: usize = 24;
const TAG: usize = 16;
/// At most one log line for each reason in this time.
const LOG_EVERY: Duration = Duration::from_secs(60);

/// Why a datagram was not opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// It is too short, or of another version.
    #[error("it is no sealed datagram of this version")]
    Malformed,
    /// None of our keys opens it.
    #[error(
        "it was sealed with another key or for another cluster: compare gossip.keys and cluster.name of both nodes"
    )]
    BadKeyOrCluster,
    /// It was sealed too long ago, or too far in the future.
    #[error("its clock and ours are {difference_secs} s apart: set the clocks of both nodes")]
    TooOld {
        /// How far it is off, in seconds.
        difference_secs: u64,
    },
    /// It was opened before, or is far behind others of its sender.
    #[error("it was seen before: datagrams are being replayed")]
    Replayed,
    /// This node sealed it.
    #[error("it comes from this node itself: take its own addresses out of cluster.seeds")]
    Own,
    /// There are too many senders; see [`Senders`].
    #[error("more than {MAX_SENDERS} nodes have started within the last minutes")]
    TooManySenders,
}

/// Datagrams received, by outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SealCounts {
    pub opened: u64,
    /// See [`OpenError::Malformed`]; also datagrams that open but contain no message.
    pub malformed: u64,
    /// See [`OpenError::BadKeyOrCluster`].
    pub bad_key_or_cluster: u64,
    /// See [`OpenError::TooOld`].
    pub too_old: u64,
    /// See [`OpenError::Replayed`].
    pub replayed: u64,
    /// See [`OpenError::Own`].
    pub own: u64,
    /// See [`OpenError::TooManySenders`].
    pub too_many_senders: u64,
}

/// Seals and opens the datagrams of one node.
pub struct Seal {
    associated: Vec<u8>,
    keys: Arc<ArcSwap<KeyRing>>,
    clock: Arc<dyn Clock>,
    session: u64,
    counter: AtomicU64,
    senders: Mutex<Senders>,
    opened: AtomicU64,
    reasons: [Reason; REASONS],
}

const REASONS: usize = 6;

#[derive(Default)]
struct Reason {
    count: AtomicU64,
    /// The uptime in milliseconds from which the next line may be logged.
    quiet_until: AtomicU64,
}

impl OpenError {
    fn index(self) -> usize {
        match self {
            Self::Malformed => 0,
            Self::BadKeyOrCluster => 1,
            Self::TooOld { .. } => 2,
            Self::Replayed => 3,
            Self::Own => 4,
            Self::TooManySenders => 5,
        }
    }
}

impl Seal {
    /// A seal for the cluster of this name. Keys stored into `keys` later count from the next datagram on.
    pub fn new(cluster: &str, keys: Arc<ArcSwap<KeyRing>>, clock: Arc<dyn Clock>) -> Self {
        Self::with_session(cluster, keys, clock, rand::random())
    }

    fn with_session(cluster: &str, keys: Arc<ArcSwap<KeyRing>>, clock: Arc<dyn Clock>, session: u64) -> Self {
        Self {
            associated: [&[VERSION], cluster.as_bytes()].concat(),
            keys,
            clock,
            session,
            counter: AtomicU64::new(0),
            senders: Mutex::new(Senders::new(MAX_SENDERS)),
            opened: AtomicU64::new(0),
            reasons: Default::default(),
        }
    }

    /// Seals a payload; `None` if it has more than [`MAX_PAYLOAD`] bytes.
    pub fn seal(&self, payload: &[u8]) -> Option<Vec<u8>> {
        self.seal_with_nonce(payload, rand::random())
    }

    fn seal_with_nonce(&self, payload: &[u8], nonce: [u8; NONCE]) -> Option<Vec<u8>> {
        if payload.len() > MAX_PAYLOAD {
            return None;
        }
        let counter = self.counter.fetch_add(1, Ordering::Relaxed);
        let mut plain = Vec::with_capacity(HEADER + payload.len() + TAG);
        for number in [self.session, counter, self.clock.now().wall_millis] {
            plain.extend_from_slice(&number.to_be_bytes());
        }
        plain.extend_from_slice(payload);
        let message = Payload { msg: &plain, aad: &self.associated };
        let sealed = cipher(self.keys.load().first()).encrypt(XNonce::from_slice(&nonce), message).ok()?;
        Some([&[VERSION][..], &nonce, &sealed].concat())
    }

    /// Opens a datagram that came from `from` and counts it. Of those that cannot be opened, one in a minute is logged for
    /// each reason.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(&self, datagram: &[u8], from: SocketAddr) -> Result<Vec<u8>, OpenError> {
        let opened = self.try_open(datagram);
        match opened {
            Ok(_) => _ = self.opened.fetch_add(1, Ordering::Relaxed),
            Err(error) => self.refused(error, from),
        }
        opened
    }

    /// Counts a datagram that was not usable, and logs it unless one of the same kind was within the last minute.
    pub(super) fn refused(&self, error: OpenError, from: SocketAddr) {
        let reason = &self.reasons[error.index()];
        let count = reason.count.fetch_add(1, Ordering::Relaxed) + 1;
        let now = u64::try_from(self.clock.now().uptime.as_millis()).unwrap_or(u64::MAX);
        let until = reason.quiet_until.load(Ordering::Relaxed);
        if now < until {
            return;
        }
        let next = now.saturating_add(LOG_EVERY.as_millis() as u64);
        // Of two threads that get here at once, one logs.
        if reason.quiet_until.compare_exchange(until, next, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            tracing::warn!(%from, count, "refused a gossip datagram: {error}");
        }
    }

    fn try_open(&self, datagram: &[u8]) -> Result<Vec<u8>, OpenError> {
        let rest = datagram.strip_prefix(&[VERSION]).ok_or(OpenError::Malformed)?;
        let (nonce, sealed) = rest.split_at_checked(NONCE).ok_or(OpenError::Malformed)?;
        if sealed.len() < HEADER + TAG {
            return Err(OpenError::Malformed);
        }
        let message = || Payload { msg: sealed, aad: &self.associated };
        let ring = self.keys.load();
        let mut opened = ring.keys().iter().map(|key| cipher(key).decrypt(XNonce::from_slice(nonce), message()));
        let mut plain = opened.find_map(Result::ok).ok_or(OpenError::BadKeyOrCluster)?;

        let payload = plain.split_off(HEADER);
        let number = |at: usize| plain[at..].first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes));
        let (session, counter, wall) = (number(0), number(8), number(16));
        if session == self.session {
            return Err(OpenError::Own);
        }
        let (now, allowed) = (self.clock.now().wall_millis, MAX_CLOCK_DIFFERENCE.as_millis() as u64);
        let difference = now.abs_diff(wall);
        if difference > allowed {
            return Err(OpenError::TooOld { difference_secs: difference / 1000 });
        }
        match self.senders.lock().take(session, counter, wall, now.saturating_sub(allowed)) {
            Ok(()) => Ok(payload),
            Err(Refused::Replayed) => Err(OpenError::Replayed),
            Err(Refused::Full) => Err(OpenError::TooManySenders),
        }
    }

    /// Datagrams received since the start, by outcome.
    pub fn counts(&self) -> SealCounts {
        let [malformed, bad_key_or_cluster, too_old, replayed, own, too_many_senders] =
            self.reasons.each_ref().map(|reason| reason.count.load(Ordering::Relaxed));
        let opened = self.opened.load(Ordering::Relaxed);
        SealCounts { opened, malformed, bad_key_or_cluster, too_old, replayed, own, too_many_senders }
    }
}

fn cipher(key: &Key) -> XChaCha20Poly1305 {
    XChaCha20Poly1305::new(key.into())
}

#[cfg(test)]
mod tests;
