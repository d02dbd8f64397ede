//! Connections that other nodes open.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep, timeout};

use super::api::Service;
use super::connection::{Connection, End, Traffic};
use super::handshake::{self, HandshakeError, Mismatch, Opened};
use super::limits::Class;
use super::net::{Listener, Stream};
use super::reply_sender::ReplySender;
use super::server_side::ServerSide;
use super::shared::Shared;
use super::status::InboundStatus;
use crate::cluster::NodeId;
use crate::wire::peer::{Hello, Opening};

/// The pause after a connection could not be accepted, for example without free file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The connections that others have opened.
pub(super) struct Inbound {
    shared: Arc<Shared>,
    service: Arc<dyn Service>,
    /// Connections in their handshake, by address.
    handshaking_by_ip: Mutex<HashMap<IpAddr, usize>>,
    /// Connections after it: a node has one of each class.
    known: Mutex<HashMap<(NodeId, Class), PeerConnection>>,
    connections: AtomicUsize,
    too_many: AtomicU64,
    refused: AtomicU64,
    cut_off: Arc<AtomicU64>,
    broken: AtomicU64,
    traffic: Traffic,
}

struct PeerConnection {
    incarnation: u64,
    task: AbortHandle,
}

impl Inbound {
    pub(super) fn new(shared: Arc<Shared>, service: Arc<dyn Service>) -> Self {
        Self {
            shared,
            service,
            handshaking_by_ip: Mutex::default(),
            known: Mutex::default(),
            connections: AtomicUsize::new(0),
            too_many: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            cut_off: Arc::default(),
            broken: AtomicU64::new(0),
            traffic: Traffic::default(),
        }
    }

    pub(super) fn status(&self) -> InboundStatus {
        InboundStatus {
            connections: self.connections.load(Relaxed),
            too_many: self.too_many.load(Relaxed),
            refused: self.refused.load(Relaxed),
            cut_off: self.cut_off.load(Relaxed),
            broken: self.broken.load(Relaxed),
            bytes_in: self.traffic.bytes_in.load(Relaxed),
            bytes_out: self.traffic.bytes_out.load(Relaxed),
        }
    }

    /// The worker that accepts, until it is aborted; its connections end with it.
    pub(super) async fn accept(self: Arc<Self>, mut listener: Box<dyn Listener>) {
        let mut tasks = JoinSet::new();
        loop {
            while tasks.try_join_next().is_some() {}
            match listener.accept().await {
                Ok((stream, peer)) => match self.admit(peer) {
                    Some(admitted) => {
                        let (sender, own) = oneshot::channel();
                        let inbound = self.clone();
                        let task = tasks.spawn(async move {
                            if let Ok(task) = own.await {
                                inbound.serve(stream, admitted, task).await;
                            }
                        });
                        let _ = sender.send(task);
                    }
                    None => {
                        self.too_many.fetch_add(1, Relaxed);
                    }
                },
                Err(error) => {
                    tracing::debug!(worker = "link-accept", "cannot accept a connection: {error}");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// Counts a connection, if the limits admit it.
    fn admit(self: &Arc<Self>, peer: SocketAddr) -> Option<AdmittedConnection> {
        let address = peer.ip();
        let mut handshaking_by_ip = self.handshaking_by_ip.lock();
        let here = handshaking_by_ip.get(&address).copied().unwrap_or(0);
        if here >= self.shared.limits.unauthenticated || self.connections.load(Relaxed) >= self.shared.limits.inbound {
            return None;
        }
        handshaking_by_ip.insert(address, here + 1);
        self.connections.fetch_add(1, Relaxed);
        Some(AdmittedConnection { inbound: self.clone(), address, handshaking: true })
    }

    async fn serve(&self, stream: Box<dyn Stream>, mut admitted: AdmittedConnection, task: AbortHandle) {
        let done = timeout(self.shared.limits.handshake, self.accept_handshake(stream, task)).await;
        let (opened, known) = match done.unwrap_or(Err(HandshakeError::Slow)) {
            Ok(registered) => registered,
            Err(error) => return self.note_refusal(&error, admitted.address),
        };
        admitted.handshake_done();
        let (from, class) = &known.key;
        tracing::debug!(event = "peer_admitted", peer = %from, ?class, "inbound connection accepted");
        let end = self.run_connection(opened, from, *class).await;
        if matches!(end, End::Frame(_)) {
            self.broken.fetch_add(1, Relaxed);
        }
        // This side closes what is still wanted only if the peer does not read.
        if matches!(end, End::Frame(_) | End::Shut) && self.shared.log_limiter.allows(format!("of {from}")) {
            let why = if matches!(end, End::Shut) { "it does not read the answers".into() } else { end.to_string() };
            tracing::warn!(worker = "link", peer = %from, ?class, "a connection of that node was closed: {why}");
        }
        tracing::debug!(event = "peer_disconnected", peer = %from, ?class, "inbound connection closed: {end}");
    }

    async fn accept_handshake(
        &self,
        stream: Box<dyn Stream>,
        task: AbortHandle,
    ) -> Result<(Opened, Registration<'_>), HandshakeError> {
        let security = self.shared.security.load_full();
        let called = handshake::hear(&self.shared.hello, &security, stream).await?;
        match self.register(&called.opening, task) {
            Ok(registration) => Ok((called.welcome(&self.shared.hello).await?, registration)),
            Err(mismatch) => {
                called.refuse(&mismatch).await;
                Err(mismatch.into())
            }
        }
    }

    /// A node's new connection replaces the one that it had, which may be dead unnoticed; unless it is of an earlier
    /// incarnation.
    fn register(&self, opening: &Opening, task: AbortHandle) -> Result<Registration<'_>, Mismatch> {
        let Hello { node, incarnation, .. } = &opening.hello;
        let key = (NodeId::from(node.as_str()), if opening.bulk { Class::Bulk } else { Class::Request });
        let mut known = self.known.lock();
        if let Some(before) = known.get(&key) {
            if before.incarnation > *incarnation {
                return Err(Mismatch::Superseded(node.clone()));
            }
            before.task.abort();
        }
        known.insert(key.clone(), PeerConnection { incarnation: *incarnation, task: task.clone() });
        Ok(Registration { inbound: self, key, task })
    }

    async fn run_connection(&self, opened: Opened, from: &NodeId, class: Class) -> End {
        let Opened { stream, input, version } = opened;
        let limits = &self.shared.limits;
        let frame = limits.frame(class);
        let connection = Arc::new(ReplySender::new(limits.queue(class), version, frame, self.cut_off.clone()));
        let _closing = Closing(connection.clone());
        let role = ServerSide {
            connection: connection.clone(),
            from,
            service: &*self.service,
            incarnation: self.shared.hello.incarnation,
            outstanding: limits.outstanding,
            silence: limits.inbound_silence,
            silence_check_at: Instant::now() + limits.inbound_silence,
            received_since_check: false,
        };
        let (outgoing, traffic) = (&connection.outgoing, &self.traffic);
        Connection { stream, input, limit: frame, outgoing, traffic, role }.run().await
    }

    fn note_refusal(&self, error: &HandshakeError, address: IpAddr) {
        self.refused.fetch_add(1, Relaxed);
        if error.is_refusal() && self.shared.log_limiter.allows(format!("from {address}")) {
            tracing::warn!(worker = "link", %address, "a link from there was refused: {error}");
        }
    }
}

/// A connection that counts for the limits.
struct AdmittedConnection {
    inbound: Arc<Inbound>,
    address: IpAddr,
    handshaking: bool,
}

impl AdmittedConnection {
    /// The handshake is done.
    fn handshake_done(&mut self) {
        if !std::mem::take(&mut self.handshaking) {
            return;
        }
        let mut handshaking_by_ip = self.inbound.handshaking_by_ip.lock();
        if let Some(count) = handshaking_by_ip.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                handshaking_by_ip.remove(&self.address);
            }
        }
    }
}

impl Drop for AdmittedConnection {
    fn drop(&mut self) {
        self.handshake_done();
        self.inbound.connections.fetch_sub(1, Relaxed);
    }
}

/// The registration of a connection as that of its node; it ends with the connection.
struct Registration<'a> {
    inbound: &'a Inbound,
    key: (NodeId, Class),
    task: AbortHandle,
}

impl Drop for Registration<'_> {
    fn drop(&mut self) {
        let mut known = self.inbound.known.lock();
        // Another connection may have taken it.
        if known.get(&self.key).is_some_and(|known| known.task.id() == self.task.id()) {
            known.remove(&self.key);
        }
    }
}

/// Replies that come later find no connection.
struct Closing(Arc<ReplySender>);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.outgoing.close();
    }
}
