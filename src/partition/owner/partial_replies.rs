//! The reply to another node's announces, to which several owners contribute.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::link::ReplyTo;
use crate::wire::peer::Reply;

/// A reply in several parts. Dropping it before the last part fails the other node's request.
pub struct PartialReplies {
    reply: ReplyTo,
    /// Parts to come. Locked while one is sent, so that the last is sent last.
    left: Mutex<usize>,
}

impl PartialReplies {
    /// A reply in this many parts.
    pub fn new(reply: ReplyTo, parts: usize) -> Arc<Self> {
        Arc::new(Self { reply, left: Mutex::new(parts) })
    }

    /// Announces this many additional parts.
    pub fn reserve(&self, more: usize) {
        *self.left.lock() += more;
    }

    /// Sends a part.
    pub fn send(&self, part: &Reply) {
        let mut left = self.left.lock();
        *left = left.saturating_sub(1);
        self.reply.send(part, *left == 0);
    }
}
