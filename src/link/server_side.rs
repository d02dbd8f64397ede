//! The side of a connection that answers requests.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::api::Service;
use super::connection::{End, Role};
use super::outgoing::PushError;
use super::reply_sender::{ReplySender, ReplyTo};
use crate::cluster::NodeId;
use crate::faults;
use crate::wire::peer::{self, Frame, FrameError, Refusal, Reply, Request};

/// Answers the requests of one connection.
pub(super) struct ServerSide<'a> {
    pub(super) connection: Arc<ReplySender>,
    pub(super) from: &'a NodeId,
    pub(super) service: &'a dyn Service,
    /// The incarnation of this node.
    pub(super) incarnation: u64,
    /// Requests that may be unanswered.
    pub(super) outstanding: usize,
    pub(super) silence: Duration,
    /// When to check next whether anything was received since the last check, and whether it was.
    pub(super) silence_check_at: Instant,
    pub(super) received_since_check: bool,
}

impl ServerSide<'_> {
    fn request(&self, id: u64, incarnation: u64, body: &[u8], traces: &[u8]) {
        let refuse = |refusal| self.connection.reply(id, &Reply::Refused(refusal), true);
        if incarnation != self.incarnation && !faults::NO_FENCING.is_on() {
            return refuse(Refusal::Incarnation);
        }
        if self.connection.is_full(self.outstanding, body.len()) {
            return refuse(Refusal::Overloaded);
        }
        let Ok(request) = peer::decode::<Request>(body) else {
            return refuse(Refusal::Malformed);
        };
        let (connection, bytes) = (self.connection.clone(), body.len());
        self.service.handle(self.from, request, ReplyTo::new(connection, id, bytes, peer::traces(traces)));
    }
}

impl Role for ServerSide<'_> {
    fn frame(&mut self, frame: Frame<'_>) -> Result<(), End> {
        self.received_since_check = true;
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
        self.silence_check_at
    }

    fn tick(&mut self, now: Instant) -> Result<(), End> {
        if !std::mem::take(&mut self.received_since_check) {
            return Err(End::Silent);
        }
        self.silence_check_at = now + self.silence;
        Ok(())
    }
}
