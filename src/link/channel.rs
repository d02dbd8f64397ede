//! The state of one connection that a link keeps open.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use super::api::LinkError;
use super::connection::Traffic;
use super::limits::{Class, LinkLimits};
use super::outgoing::Outgoing;
use super::pending::Pending;

/// One of the connections of a link, and the requests in flight over it.
pub(super) struct Channel {
    pub(super) limits: LinkLimits,
    pub(super) outgoing: Outgoing,
    pub(super) pending: Pending,
    pub(super) traffic: Traffic,
    pub(super) timeouts: AtomicU64,
    pub(super) breaker_open: AtomicBool,
    pub(super) breaker_opened: AtomicU64,
    pub(super) connected: AtomicBool,
    pub(super) connects: AtomicU64,
    pub(super) refused: AtomicU64,
    /// Bytes of a frame.
    pub(super) frame: usize,
}

impl Channel {
    pub(super) fn new(class: Class, limits: &LinkLimits) -> Self {
        Self {
            limits: limits.clone(),
            outgoing: Outgoing::new(limits.queue(class)),
            pending: Pending::new(limits.outstanding),
            traffic: Traffic::default(),
            timeouts: AtomicU64::new(0),
            breaker_open: AtomicBool::new(false),
            breaker_opened: AtomicU64::new(0),
            connected: AtomicBool::new(false),
            connects: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            frame: limits.frame(class),
        }
    }
}

/// Marks a channel as connected. However the connection ends, all its requests fail then.
pub(super) struct ConnectedGuard<'a>(&'a Channel);

impl<'a> ConnectedGuard<'a> {
    pub(super) fn new(channel: &'a Channel) -> Self {
        channel.connects.fetch_add(1, Relaxed);
        channel.outgoing.open();
        channel.connected.store(true, Relaxed);
        channel.pending.accept();
        Self(channel)
    }
}

impl Drop for ConnectedGuard<'_> {
    fn drop(&mut self) {
        self.0.connected.store(false, Relaxed);
        self.0.breaker_open.store(false, Relaxed);
        self.0.outgoing.close();
        self.0.pending.refuse(LinkError::Broken);
    }
}
