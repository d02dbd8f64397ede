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

use super::Service;
use super::answering::{Answerer, Answering};
use super::connection::{Connection, End, Traffic};
use super::handshake::{self, HandshakeError, Mismatch, Opened};
use super::limits::Class;
use super::net::{Listener, Stream};
use super::shared::Shared;
use super::status::InboundStatus;
use crate::cluster::NodeId;
use crate::wire::peer::{Hello, Opening};

/// The pause after a connection could not be accepted, such as for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The connections that others have opened.
pub(super) struct Inbound {
    shared: Arc<Shared>,
    service: Arc<dyn Service>,
    /// Connections in their handshake, by address.
    strangers: Mutex<HashMap<IpAddr, usize>>,
    /// Connections after it: a node has one of each class.
    known: Mutex<HashMap<(NodeId, Class), Known>>,
    connections: AtomicUsize,
    too_many: AtomicU64,
    refused: AtomicU64,
    cut_off: Arc<AtomicU64>,
    broken: AtomicU64,
    traffic: Traffic,
}

struct Known {
    incarnation: u64,
    task: AbortHandle,
}

impl Inbound {
    pub(super) fn new(shared: Arc<Shared>, service: Arc<dyn Service>) -> Self {
        Self {
            shared,
            service,
            strangers: Mutex::default(),
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
                    Some(guest) => {
                        let (sender, own) = oneshot::channel();
                        let inbound = self.clone();
                        let task = tasks.spawn(async move {
                            if let Ok(task) = own.await {
                                inbound.serve(stream, guest, task).await;
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

    /// Counts a connection, if it may stay.
    fn admit(self: &Arc<Self>, peer: SocketAddr) -> Option<Guest> {
        let address = peer.ip();
        let mut strangers = self.strangers.lock();
        let here = strangers.get(&address).copied().unwrap_or(0);
        if here >= self.shared.limits.unauthenticated || self.connections.load(Relaxed) >= self.shared.limits.inbound {
            return None;
        }
        strangers.insert(address, here + 1);
        self.connections.fetch_add(1, Relaxed);
        Some(Guest { inbound: self.clone(), address, stranger: true })
    }

    async fn serve(&self, stream: Box<dyn Stream>, mut guest: Guest, task: AbortHandle) {
        let meeting = timeout(self.shared.limits.handshake, self.meet(stream, task)).await;
        let (opened, known) = match meeting.unwrap_or(Err(HandshakeError::Slow)) {
            Ok(met) => met,
            Err(error) => return self.note_refusal(&error, guest.address),
        };
        guest.introduced();
        let (from, class) = &known.key;
        let end = self.work(opened, from, *class).await;
        if matches!(end, End::Frame(_)) {
            self.broken.fetch_add(1, Relaxed);
        }
        // This side closes what is still wanted only if the peer does not read.
        if matches!(end, End::Frame(_) | End::Shut) && self.shared.quiet.may_say(format!("of {from}")) {
            let why = if matches!(end, End::Shut) { "it does not read the answers".into() } else { end.to_string() };
            tracing::warn!(worker = "link", peer = %from, ?class, "a connection of that node was closed: {why}");
        }
        tracing::debug!(worker = "link", peer = %from, ?class, "the inbound connection ended: {end}");
    }

    async fn meet(&self, stream: Box<dyn Stream>, task: AbortHandle) -> Result<(Opened, Place<'_>), HandshakeError> {
        let security = self.shared.security.load_full();
        let called = handshake::hear(&self.shared.hello, &security, stream).await?;
        match self.take_place(&called.opening, task) {
            Ok(place) => Ok((called.welcome(&self.shared.hello).await?, place)),
            Err(mismatch) => {
                called.refuse(&mismatch).await;
                Err(mismatch.into())
            }
        }
    }

    /// A node's new connection takes the place of the one that it had, which may be dead without anybody having noticed;
    /// unless it is from an earlier start than that.
    fn take_place(&self, opening: &Opening, task: AbortHandle) -> Result<Place<'_>, Mismatch> {
        let Hello { node, incarnation, .. } = &opening.hello;
        let key = (NodeId::from(node.as_str()), if opening.bulk { Class::Bulk } else { Class::Request });
        let mut known = self.known.lock();
        if let Some(before) = known.get(&key) {
            if before.incarnation > *incarnation {
                return Err(Mismatch::Superseded(node.clone()));
            }
            before.task.abort();
        }
        known.insert(key.clone(), Known { incarnation: *incarnation, task: task.clone() });
        Ok(Place { inbound: self, key, task })
    }

    async fn work(&self, opened: Opened, from: &NodeId, class: Class) -> End {
        let Opened { stream, input, version } = opened;
        let limits = &self.shared.limits;
        let frame = limits.frame(class);
        let connection = Arc::new(Answering::new(limits.queue(class), version, frame, self.cut_off.clone()));
        let _closing = Closing(connection.clone());
        let role = Answerer {
            connection: connection.clone(),
            from,
            service: &*self.service,
            incarnation: self.shared.hello.incarnation,
            outstanding: limits.outstanding,
            silence: limits.inbound_silence,
            look: Instant::now() + limits.inbound_silence,
            heard: false,
        };
        let (outgoing, traffic) = (&connection.outgoing, &self.traffic);
        Connection { stream, input, limit: frame, outgoing, traffic, role }.run().await
    }

    fn note_refusal(&self, error: &HandshakeError, address: IpAddr) {
        self.refused.fetch_add(1, Relaxed);
        if error.is_refusal() && self.shared.quiet.may_say(format!("from {address}")) {
            tracing::warn!(worker = "link", %address, "a link from there was refused: {error}");
        }
    }
}

/// One connection in the counts.
struct Guest {
    inbound: Arc<Inbound>,
    address: IpAddr,
    stranger: bool,
}

impl Guest {
    /// The handshake is done.
    fn introduced(&mut self) {
        if !std::mem::take(&mut self.stranger) {
            return;
        }
        let mut strangers = self.inbound.strangers.lock();
        if let Some(count) = strangers.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                strangers.remove(&self.address);
            }
        }
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.introduced();
        self.inbound.connections.fetch_sub(1, Relaxed);
    }
}

/// The place of a connection among those that are known; it ends with the connection.
struct Place<'a> {
    inbound: &'a Inbound,
    key: (NodeId, Class),
    task: AbortHandle,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut known = self.inbound.known.lock();
        // Another connection may have taken it.
        if known.get(&self.key).is_some_and(|known| known.task.id() == self.task.id()) {
            known.remove(&self.key);
        }
    }
}

/// Replies that come later find no connection.
struct Closing(Arc<Answering>);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.outgoing.close();
    }
}
