//! The side of a connection that answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::AcqRel, Ordering::Relaxed};
use std::time::Duration;

use tokio::time::Instant;

use super::Service;
use super::connection::{End, Role};
use super::outgoing::{Outgoing, PushError};
use crate::cluster::NodeId;
use crate::faults;
use crate::telemetry::trace::TraceContext;
use crate::wire::peer::{self, Frame, FrameError, Refusal, Reply, Request, RequestTraces};

/// What the replies of one connection share.
pub(super) struct Answering {
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

impl Answering {
    /// A new connection. `queue` bounds the bytes of requests that are not answered yet, and those of replies that wait.
    pub(super) fn new(queue: usize, version: u16, frame: usize, cut_off: Arc<AtomicU64>) -> Self {
        let outgoing = Outgoing::new(queue);
        outgoing.open();
        let (unanswered, unanswered_bytes) = Default::default();
        Self { outgoing, version, frame, cut_off, unanswered, unanswered_bytes, limit_bytes: queue }
    }

    fn reply(&self, id: u64, reply: &Reply, last: bool) {
        match self.outgoing.push(|out| peer::write_reply(out, id, last, reply, self.frame)) {
            Ok(()) | Err(PushError::Closed) => {}
            Err(PushError::Frame) => {
                tracing::warn!(worker = "link", "a reply of {} bytes at most does not fit: refused", self.frame);
                let refused = Reply::Refused(Refusal::Malformed);
                let _ = self.outgoing.push(|out| peer::write_reply(out, id, true, &refused, self.frame));
            }
            Err(PushError::Full) => self.cut_off(),
        }
    }

    /// The peer asks more than it reads.
    fn cut_off(&self) {
        self.cut_off.fetch_add(1, Relaxed);
        self.outgoing.close();
    }
}

/// Where the reply to a request goes. It may be sent from any thread, also in parts. When the last clone goes and no last
/// reply was sent, the request is refused as [`Refusal::Overloaded`], so that nobody waits for it.
#[derive(Clone)]
pub struct ReplyTo(Arc<Answer>);

struct Answer {
    connection: Arc<Answering>,
    id: u64,
    /// Bytes of the request.
    bytes: usize,
    /// The spans that the request was made for.
    traces: RequestTraces,
    done: AtomicBool,
}

impl ReplyTo {
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

/// The role.
pub(super) struct Answerer<'a> {
    pub(super) connection: Arc<Answering>,
    pub(super) from: &'a NodeId,
    pub(super) service: &'a dyn Service,
    /// That of this node.
    pub(super) incarnation: u64,
    /// Requests that may be unanswered.
    pub(super) outstanding: usize,
    pub(super) silence: Duration,
    /// When it is time to look again whether anything has come, and whether it has.
    pub(super) look: Instant,
    pub(super) heard: bool,
}

impl Answerer<'_> {
    fn request(&self, id: u64, incarnation: u64, body: &[u8], traces: &[u8]) {
        let refuse = |refusal| self.connection.reply(id, &Reply::Refused(refusal), true);
        if incarnation != self.incarnation && !faults::NO_FENCING.is_on() {
            return refuse(Refusal::Incarnation);
        }
        let waiting = self.connection.unanswered_bytes.load(Relaxed);
        if self.connection.unanswered.load(Relaxed) >= self.outstanding
            || waiting.saturating_add(body.len()) > self.connection.limit_bytes
        {
            return refuse(Refusal::Overloaded);
        }
        let Ok(request) = peer::decode::<Request>(body) else {
            return refuse(Refusal::Malformed);
        };
        self.connection.unanswered.fetch_add(1, Relaxed);
        self.connection.unanswered_bytes.fetch_add(body.len(), Relaxed);
        let (connection, bytes) = (self.connection.clone(), body.len());
        let answer = Answer { connection, id, bytes, traces: peer::traces(traces), done: AtomicBool::new(false) };
        self.service.handle(self.from, request, ReplyTo(Arc::new(answer)));
    }
}

impl Role for Answerer<'_> {
    fn frame(&mut self, frame: Frame<'_>) -> Result<(), End> {
        self.heard = true;
        match frame {
            Frame::Request { id, incarnation, body, traces } => self.request(id, incarnation, body, traces),
            Frame::Ping(id) => {
                let pushed = self.connection.outgoing.push(|out| {
                    peer::write_pong(out, id);
                    Ok(())
                });
                if pushed == Err(PushError::Full) {
                    self.connection.cut_off();
                }
            }
            _ => return Err(FrameError::Kind.into()),
        }
        Ok(())
    }

    fn tick_at(&self) -> Instant {
        self.look
    }

    fn tick(&mut self, now: Instant) -> Result<(), End> {
        if !std::mem::take(&mut self.heard) {
            return Err(End::Silent);
        }
        self.look = now + self.silence;
        Ok(())
    }
}
