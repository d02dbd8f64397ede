//! The side of a connection that sends requests: replies, pings, deadlines and the breaker.

use std::collections::VecDeque;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::time::Instant;

use super::api::LinkError;
use super::channel::Channel;
use super::connection::{End, Role};
use crate::wire::peer::{self, Frame, FrameError, Reply};

/// How often deadlines are checked while requests are outstanding.
const SCAN: Duration = Duration::from_millis(10);
/// Unanswered pings that are remembered; [`LinkLimits::silence`](super::LinkLimits::silence) ends the connection
/// before there are so many.
const PINGS: usize = 64;

pub(super) struct ClientSide<'a> {
    channel: &'a Channel,
    /// This class has a breaker.
    breaks: bool,
    scanned: Instant,
    next_ping: Instant,
    /// The number of the last ping.
    ping: u64,
    /// Pings that were not answered, and when they were sent.
    unanswered: VecDeque<(u64, Instant)>,
    /// While the breaker is open: the first ping whose answer closes it.
    closes: Option<u64>,
}

impl<'a> ClientSide<'a> {
    /// A connection has just opened.
    pub(super) fn new(channel: &'a Channel, breaks: bool) -> Self {
        let now = Instant::now();
        Self {
            channel,
            breaks,
            scanned: now,
            next_ping: now + channel.limits.ping,
            ping: 0,
            unanswered: VecDeque::new(),
            closes: None,
        }
    }

    fn reply(&mut self, id: u64, last: bool, body: &[u8]) {
        let pending = &self.channel.pending;
        let Ok(reply) = peer::decode::<Reply>(body) else {
            if let Some(completion) = pending.finish(id) {
                completion.failed(LinkError::Broken);
            }
            return;
        };
        if !last {
            if let Some(mut completion) = pending.take_for_part(id) {
                completion.reply(reply, false);
                pending.put_back(id, completion);
            }
            return;
        }
        // None: it came too late.
        let Some(mut completion) = pending.finish(id) else { return };
        match reply {
            Reply::Refused(refusal) => completion.failed(LinkError::Refused(refusal)),
            reply => completion.reply(reply, true),
        }
    }

    fn send_ping(&mut self, now: Instant) {
        self.next_ping = now + self.channel.limits.ping;
        self.ping += 1;
        let id = self.ping;
        // A full queue is a peer that does not read: the ping counts as sent and not answered.
        let _ = self.channel.outgoing.push(|out| {
            peer::write_ping(out, id);
            Ok(())
        });
        if self.unanswered.len() < PINGS {
            self.unanswered.push_back((id, now));
        }
    }

    fn pong(&mut self, id: u64) {
        while self.unanswered.front().is_some_and(|(ping, _)| *ping <= id) {
            self.unanswered.pop_front();
        }
        if self.closes.is_some_and(|closes| id >= closes && id <= self.ping) {
            self.closes = None;
            self.channel.breaker_open.store(false, Relaxed);
            self.channel.pending.accept();
            tracing::debug!(event = "breaker_closed", "a ping was answered, the breaker closes");
        }
    }

    /// Fails all outstanding requests, so that they go to the next replica at once, and rejects new ones until a new ping
    /// is answered.
    fn open_breaker(&mut self, now: Instant) {
        if !self.breaks || self.closes.is_some() {
            return;
        }
        let failed = self.channel.pending.refuse(LinkError::Timeout);
        self.channel.timeouts.fetch_add(failed as u64, Relaxed);
        self.channel.breaker_opened.fetch_add(1, Relaxed);
        self.channel.breaker_open.store(true, Relaxed);
        self.send_ping(now);
        self.closes = Some(self.ping);
        tracing::debug!(event = "breaker_opened", failed, "no answer in time, the breaker opens");
    }
}

impl Role for ClientSide<'_> {
    fn frame(&mut self, frame: Frame<'_>) -> Result<(), End> {
        match frame {
            Frame::Reply { id, last, body } => self.reply(id, last, body),
            Frame::Pong(id) => self.pong(id),
            _ => return Err(FrameError::Kind.into()),
        }
        Ok(())
    }

    fn tick_at(&self) -> Instant {
        if self.channel.pending.len() > 0 { self.next_ping.min(self.scanned + SCAN) } else { self.next_ping }
    }

    fn tick(&mut self, now: Instant) -> Result<(), End> {
        self.scanned = now;
        let waited = self.unanswered.front().map_or(Duration::ZERO, |(_, sent)| now.duration_since(*sent));
        if waited >= self.channel.limits.silence {
            return Err(End::Silent);
        }
        let expired = self.channel.pending.expire(now);
        self.channel.timeouts.fetch_add(expired as u64, Relaxed);
        if expired > 0 || (waited >= self.channel.limits.ping_overdue && self.channel.pending.len() > 0) {
            self.open_breaker(now);
        }
        if now >= self.next_ping {
            self.send_ping(now);
        }
        Ok(())
    }
}
