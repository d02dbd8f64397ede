//! Sends the replies to the requests of one connection.

use super::outgoing::{Outgoing, PushError};
use crate::telemetry::trace::TraceContext;
use crate::wire::peer::{self, Refusal, Reply, RequestTraces};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::AcqRel, Ordering::Relaxed};

/// What the replies of one connection share.
pub(super) struct ReplySender {
    pub(super) outgoing: Outgoing,
    pub(super) version: u16,
    /// Bytes of a frame.
    pub(super) frame: usize,
    pub(super) cut_off: Arc<AtomicU64>,
    /// Requests whose last reply is due.
    unanswered: AtomicUsize,
    /// Their bytes.
    unanswered_bytes: AtomicUsize,
    /// The most that these may be.
    limit_bytes: usize,
}

impl ReplySender {
    /// A new connection. `queue` bounds the bytes of requests that are not answered yet, and those of replies that wait.
    pub(super) fn new(queue: usize, version: u16, frame: usize, cut_off: Arc<AtomicU64>) -> Self {
        let outgoing = Outgoing::new(queue);
        outgoing.open();
        Self {
            outgoing,
            version,
            frame,
            cut_off,
            unanswered: AtomicUsize::new(0),
            unanswered_bytes: AtomicUsize::new(0),
            limit_bytes: queue,
        }
    }

    /// Whether a request of this many bytes is too much beside those that are not answered yet.
    pub(super) fn is_full(&self, outstanding: usize, bytes: usize) -> bool {
        let waiting = self.unanswered_bytes.load(Relaxed);
        self.unanswered.load(Relaxed) >= outstanding || waiting.saturating_add(bytes) > self.limit_bytes
    }

    pub(super) fn reply(&self, id: u64, reply: &Reply, last: bool) {
        match self.outgoing.push(|out| peer::write_reply(out, id, last, reply, self.frame)) {
            Ok(()) | Err(PushError::Closed) => {}
            Err(PushError::Frame) => {
                tracing::warn!(worker = "link", "a reply does not fit into {} bytes: refused", self.frame);
                let refused = Reply::Refused(Refusal::Malformed);
                let _ = self.outgoing.push(|out| peer::write_reply(out, id, true, &refused, self.frame));
            }
            Err(PushError::Full) => self.cut_off(),
        }
    }

    /// The peer sends more requests than it reads replies.
    pub(super) fn cut_off(&self) {
        self.cut_off.fetch_add(1, Relaxed);
        self.outgoing.close();
    }
}

/// Where the reply to a request goes. It may be sent from any thread, also in parts. When the last clone is dropped before a last
/// reply was sent, the request is refused as [`Refusal::Overloaded`], so that the peer does not wait for it.
#[derive(Clone)]
pub struct ReplyTo(Arc<Answer>);

struct Answer {
    connection: Arc<ReplySender>,
    id: u64,
    /// Bytes of the request.
    bytes: usize,
    /// The spans that the request was made for.
    traces: RequestTraces,
    done: AtomicBool,
}

impl ReplyTo {
    /// For a request of this many bytes.
    pub(super) fn new(connection: Arc<ReplySender>, id: u64, bytes: usize, traces: RequestTraces) -> Self {
        connection.unanswered.fetch_add(1, Relaxed);
        connection.unanswered_bytes.fetch_add(bytes, Relaxed);
        Self(Arc::new(Answer { connection, id, bytes, traces, done: AtomicBool::new(false) }))
    }

    /// Queues a reply, which is the last one or a part. Nothing happens after the last one, or when the connection is
    /// gone. A peer that leaves too many bytes unread loses the connection.
    pub fn send(&self, reply: &Reply, last: bool) {
        let Answer { connection, id, done, bytes, .. } = &*self.0;
        let answered = if last { done.swap(true, AcqRel) } else { done.load(Relaxed) };
        if answered {
            return;
        }
        if last {
            connection.unanswered.fetch_sub(1, Relaxed);
            connection.unanswered_bytes.fetch_sub(*bytes, Relaxed);
        }
        connection.reply(*id, reply, last);
    }

    /// The spans that the request was made for, each with the position of its announce in the request.
    pub fn traces(&self) -> &[(u16, TraceContext)] {
        &self.0.traces
    }

    /// The version of the protocol that the peer speaks with this node.
    pub fn version(&self) -> u16 {
        self.0.connection.version
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if !*self.done.get_mut() {
            self.connection.unanswered.fetch_sub(1, Relaxed);
            self.connection.unanswered_bytes.fetch_sub(self.bytes, Relaxed);
            self.connection.reply(self.id, &Reply::Refused(Refusal::Overloaded), true);
        }
    }
}
