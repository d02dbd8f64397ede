//! The link to one incarnation of another node: two connections that this node keeps open.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering::Relaxed};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout};

use super::api::{Completion, LinkError, PeerTarget};
use super::channel::{Channel, ConnectedGuard};
use super::client_side::ClientSide;
use super::connection::{Connection, End};
use super::handshake::{self, HandshakeError, Mismatch, Opened};
use super::limits::{Class, LinkLimits};
use super::outgoing::PushError;
use super::shared::Shared;
use super::status::{ClassStatus, LinkState, LinkStatus};
use crate::telemetry::trace::TraceContext;
use crate::wire::peer::{self, Refusal, Reply, Request};

/// A connection that lasted this long was a good one: the backoff starts again.
const LASTED: Duration = Duration::from_secs(5);

/// The link to one incarnation of another node.
pub struct Link {
    target: PeerTarget,
    request: Channel,
    bulk: Channel,
    version: AtomicU16,
    refusal: Mutex<Option<String>>,
}

impl Link {
    pub(super) fn new(target: PeerTarget, limits: &LinkLimits) -> Self {
        let channel = |class| Channel::new(class, limits);
        Self {
            target,
            request: channel(Class::Request),
            bulk: channel(Class::Bulk),
            version: AtomicU16::new(0),
            refusal: Mutex::default(),
        }
    }

    /// The node at its other end.
    pub fn target(&self) -> &PeerTarget {
        &self.target
    }

    /// Whether requests of class [`Request`](Class::Request) get through: connected to the right incarnation, and the
    /// breaker is closed.
    pub fn is_routable(&self) -> bool {
        self.request.pending.is_accepting()
    }

    /// Whether the connection of a class is there. With an open breaker it still is.
    pub fn is_connected(&self, class: Class) -> bool {
        self.channel(class).connected.load(Relaxed)
    }

    /// The version of the protocol that both sides speak; 0 before the first connection.
    pub fn version(&self) -> u16 {
        self.version.load(Relaxed)
    }

    /// Sends a request, which has to be answered within `deadline`. Never blocks. The completion is called from the link's
    /// task, or at once by this call if the request is not accepted: the connection is not there or the breaker is open
    /// ([`LinkError::NotConnected`]), too much waits ([`LinkError::Overloaded`]), or it is longer than a frame
    /// ([`Refusal::Malformed`]).
    pub fn send(&self, class: Class, request: &Request, deadline: Duration, completion: Box<dyn Completion>) {
        self.send_traced(class, request, &[], deadline, completion);
    }

    /// [`send`](Self::send), for these spans.
    pub fn send_traced(
        &self,
        class: Class,
        request: &Request,
        traces: &[(u16, TraceContext)],
        deadline: Duration,
        completion: Box<dyn Completion>,
    ) {
        let channel = self.channel(class);
        let id = match channel.pending.insert(deadline, completion) {
            Ok(id) => id,
            Err((completion, error)) => {
                channel.refused.fetch_add(1, Relaxed);
                return completion.failed(error);
            }
        };
        let incarnation = self.target.incarnation;
        let pushed =
            channel.outgoing.push(|out| peer::write_request(out, id, incarnation, request, traces, channel.frame));
        let error = match pushed {
            Ok(()) => return,
            Err(PushError::Closed) => LinkError::NotConnected,
            Err(PushError::Full) => LinkError::Overloaded,
            Err(PushError::Frame) => LinkError::Refused(Refusal::Malformed),
        };
        channel.refused.fetch_add(1, Relaxed);
        // None: the end of the connection has failed it in the meantime.
        if let Some(completion) = channel.pending.finish(id) {
            completion.failed(error);
        }
    }

    /// [`send`](Self::send), and waits for the last reply. Parts that come before it are lost.
    ///
    /// # Errors
    /// See [`LinkError`].
    pub async fn call(&self, class: Class, request: &Request, deadline: Duration) -> Result<Reply, LinkError> {
        self.call_traced(class, request, &[], deadline).await
    }

    /// [`call`](Self::call), for these spans.
    ///
    /// # Errors
    /// See [`LinkError`].
    pub async fn call_traced(
        &self,
        class: Class,
        request: &Request,
        traces: &[(u16, TraceContext)],
        deadline: Duration,
    ) -> Result<Reply, LinkError> {
        let (sender, receiver) = oneshot::channel();
        self.send_traced(class, request, traces, deadline, Box::new(Call(Some(sender))));
        receiver.await.unwrap_or(Err(LinkError::Broken))
    }

    fn channel(&self, class: Class) -> &Channel {
        match class {
            Class::Request => &self.request,
            Class::Bulk => &self.bulk,
        }
    }

    /// The worker that keeps the connection of a class open, until it is aborted.
    pub(super) async fn run_reconnect_loop(self: Arc<Self>, class: Class, shared: Arc<Shared>) {
        let channel = self.channel(class);
        let limits = &shared.limits;
        let mut attempt = 0u32;
        loop {
            let began = Instant::now();
            let wait = match self.open(class, &shared).await {
                Ok(opened) => {
                    let end = self.run_connection(class, opened).await;
                    tracing::debug!(event = "link_closed", peer = %self.target.id, ?class, "connection closed: {end}");
                    if began.elapsed() >= LASTED {
                        attempt = 0;
                    }
                    None
                }
                Err(error) => {
                    tracing::debug!(event = "link_connect_failed", peer = %self.target.id, ?class, "cannot connect: {error}");
                    error.is_refusal().then(|| self.note_refusal(&error, &shared))
                }
            };
            let wait =
                wait.unwrap_or_else(|| limits.retry_first.saturating_mul(1 << attempt.min(16)).min(limits.retry_last));
            attempt = attempt.saturating_add(1);
            sleep(self.jitter(wait, class, channel.connects.load(Relaxed), attempt, &shared)).await;
        }
    }

    async fn open(&self, class: Class, shared: &Shared) -> Result<Opened, HandshakeError> {
        let limits = &shared.limits;
        let PeerTarget { id, incarnation, addr } = &self.target;
        let opening = async {
            let stream = timeout(limits.connect, shared.net.connect(*addr)).await.map_err(|_| HandshakeError::Slow)?;
            let security = shared.security.load_full();
            handshake::call(&shared.hello, &security, stream.map_err(End::Io)?, id, *incarnation, class).await
        };
        timeout(limits.handshake, opening).await.map_err(|_| HandshakeError::Slow)?
    }

    async fn run_connection(&self, class: Class, opened: Opened) -> End {
        let channel = self.channel(class);
        let Opened { stream, input, version } = opened;
        self.version.store(version, Relaxed);
        tracing::debug!(event = "link_connected", peer = %self.target.id, ?class, version, "link connected");
        *self.refusal.lock() = None;
        let client_side = ClientSide::new(channel, class == Class::Request);
        let _connected = ConnectedGuard::new(channel);
        let (outgoing, traffic) = (&channel.outgoing, &channel.traffic);
        Connection { stream, input, limit: channel.frame, outgoing, traffic, role: client_side }.run().await
    }

    fn note_refusal(&self, error: &HandshakeError, shared: &Shared) -> Duration {
        let text = error.to_string();
        let peer = &self.target.id;
        if shared.log_limiter.allows(format!("to {peer}")) {
            // The peer restarted and gossip has not caught up: nothing for the operator to fix.
            if matches!(error, HandshakeError::Mismatch(Mismatch::Incarnation { .. })) {
                tracing::info!(event = "link_refused", worker = "link", %peer, "no link: {text}");
            } else {
                tracing::warn!(event = "link_refused", worker = "link", %peer, "no link: {text}");
            }
        }
        *self.refusal.lock() = Some(text);
        shared.limits.retry_refused
    }

    /// Up to a quarter less, so that nodes do not call in step. Always the same for the same attempt.
    fn jitter(&self, wait: Duration, class: Class, connects: u64, attempt: u32, shared: &Shared) -> Duration {
        let mut hasher = DefaultHasher::new();
        (&shared.hello.node, shared.hello.incarnation, &self.target.id, class, connects, attempt).hash(&mut hasher);
        let thousandths = (hasher.finish() % 250) as u32;
        wait - wait / 1000 * thousandths
    }

    pub(super) fn status(&self) -> LinkStatus {
        let refusal = self.refusal.lock().clone();
        let of = |class: Class, channel: &Channel| ClassStatus {
            connected: channel.connected.load(Relaxed),
            in_flight: channel.pending.len(),
            in_flight_limit: channel.limits.outstanding,
            queued_bytes: channel.outgoing.len(),
            queued_bytes_limit: channel.limits.queue(class),
            bytes_in: channel.traffic.bytes_in.load(Relaxed),
            bytes_out: channel.traffic.bytes_out.load(Relaxed),
            reconnects: channel.connects.load(Relaxed).saturating_sub(1),
            timeouts: channel.timeouts.load(Relaxed),
            not_taken: channel.refused.load(Relaxed),
        };
        let state = match (&refusal, self.request.connected.load(Relaxed), self.is_routable()) {
            (_, true, true) => LinkState::Up,
            (_, true, false) => LinkState::Open,
            (Some(_), false, _) => LinkState::Refused,
            (None, false, _) => LinkState::Connecting,
        };
        LinkStatus {
            target: self.target.clone(),
            state,
            version: self.version(),
            breaker_opened: self.request.breaker_opened.load(Relaxed),
            request: of(Class::Request, &self.request),
            bulk: of(Class::Bulk, &self.bulk),
            refusal,
        }
    }
}

/// The completion of [`Link::call`].
struct Call(Option<oneshot::Sender<Result<Reply, LinkError>>>);

impl Completion for Call {
    fn reply(&mut self, reply: Reply, last: bool) {
        if let Some(sender) = self.0.take_if(|_| last) {
            let _ = sender.send(Ok(reply));
        }
    }

    fn failed(mut self: Box<Self>, error: LinkError) {
        if let Some(sender) = self.0.take() {
            let _ = sender.send(Err(error));
        }
    }
}
