//! The replies of a thread, sent by one `sendmmsg` per round. A traced reply ends its trace when it is sent.

use std::io;
use std::net::UdpSocket;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;

use super::kernel::{Endpoint, Sender};
use crate::telemetry::trace::{RequestTrace, names::span};

/// Datagrams of one `sendmmsg`.
const BATCH: usize = 64;
/// Replies that may wait; with more of them a writer flushes by itself.
const WAITING: usize = 4 * BATCH;

/// The outbox of one thread. Frontends and owners on that thread share it, so its lock is never waited for but by the
/// odd owner that another thread's metrics ask.
pub struct Outbox {
    queue: Mutex<Queue>,
    flush: Notify,
    sent: AtomicU64,
    dropped: AtomicU64,
}

/// Replies that wait to be sent.
struct Queue {
    sockets: Arc<[UdpSocket]>,
    /// The replies' bytes, one after the other.
    bytes: Vec<u8>,
    replies: Vec<Reply>,
    /// Of the replies, those that are traced: most often none.
    #[expect(clippy::vec_box, reason = "it came in a box, and is far larger than a reply")]
    traced: Vec<Box<RequestTrace>>,
    sender: Sender,
    /// A frontend of this thread will call [`Outbox::flush`] soon.
    flush_due: bool,
}

struct Reply {
    end: usize,
    socket: u8,
    to: Endpoint,
}

/// The outbox, locked for a batch of replies.
pub struct Writer<'a> {
    outbox: &'a Outbox,
    queue: MutexGuard<'a, Queue>,
}

impl Outbox {
    /// An outbox that sends through these sockets, which its replies name by position.
    pub fn new(sockets: Arc<[UdpSocket]>) -> Self {
        let queue = Queue {
            sockets,
            bytes: Vec::new(),
            replies: Vec::with_capacity(WAITING),
            traced: Vec::new(),
            sender: Sender::new(BATCH),
            flush_due: false,
        };
        Self { queue: Mutex::new(queue), flush: Notify::new(), sent: AtomicU64::new(0), dropped: AtomicU64::new(0) }
    }

    /// Locks the outbox for writing.
    pub fn writer(&self) -> Writer<'_> {
        Writer { outbox: self, queue: self.queue.lock() }
    }

    /// Sends all that waits.
    pub fn flush(&self) {
        self.queue.lock().flush(self);
    }

    /// Returns when replies were written while no flush was due: an owner answered another thread's frontend.
    pub async fn written(&self) {
        self.flush.notified().await;
    }

    /// Datagrams sent, since the start.
    pub fn sent(&self) -> u64 {
        self.sent.load(Relaxed)
    }

    /// Datagrams that the kernel refused, since the start.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Relaxed)
    }
}

impl Writer<'_> {
    /// Adds one reply, which `write` appends to the buffer it is given, to be sent by the socket at `socket`.
    pub fn reply(&mut self, socket: u8, to: &Endpoint, write: impl FnOnce(&mut Vec<u8>)) {
        // A writer that panicked may have left the beginnings of a reply.
        let start = self.queue.replies.last().map_or(0, |reply| reply.end);
        self.queue.bytes.truncate(start);
        write(&mut self.queue.bytes);
        let end = self.queue.bytes.len();
        if end > start {
            self.queue.replies.push(Reply { end, socket, to: *to });
        }
        if self.queue.replies.len() >= WAITING {
            self.queue.flush(self.outbox);
        }
    }

    /// Says that the last reply is traced. Its trace ends when the reply is sent.
    pub fn traced(&mut self, trace: Box<RequestTrace>) {
        self.queue.traced.push(trace);
    }

    /// Promises that the caller will flush this outbox soon, after the owners have had their turn.
    pub fn promise_flush(&mut self) {
        self.queue.flush_due = true;
    }

    /// Ends the writing. When no flush is promised, the thread's flusher is woken.
    pub fn finish(self) {
        let empty = self.queue.replies.is_empty() && self.queue.traced.is_empty();
        if !self.queue.flush_due && !empty {
            self.outbox.flush.notify_one();
        }
    }
}

impl Queue {
    fn flush(&mut self, outbox: &Outbox) {
        self.flush_due = false;
        let mut next = 0;
        let (mut sent, mut dropped) = (0, 0);
        while let Some(first) = self.replies.get(next) {
            let Some(socket) = self.sockets.get(usize::from(first.socket)) else {
                next += 1;
                continue;
            };
            let mut start = next.checked_sub(1).map_or(0, |before| self.replies[before].end);
            let same_socket = self.replies[next..].iter().take_while(|reply| reply.socket == first.socket);
            let datagrams = same_socket.map(|reply| {
                let data = &self.bytes[start..reply.end];
                start = reply.end;
                (data, &reply.to)
            });
            match self.sender.send(socket.as_fd(), datagrams) {
                Ok(count) => {
                    sent += count;
                    next += count;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Full send buffer, unreachable network, source port 0, a firewall's refusal: UDP may lose datagrams,
                // and the others must not wait for this one.
                Err(_) => {
                    dropped += 1;
                    next += 1;
                }
            }
        }
        self.replies.clear();
        self.bytes.clear();
        self.traced.drain(..).for_each(|trace| trace.finish_with(span::REPLY));
        outbox.sent.fetch_add(sent as u64, Relaxed);
        outbox.dropped.fetch_add(dropped, Relaxed);
    }
}
