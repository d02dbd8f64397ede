//! All links of a node.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::api::{PeerTarget, Service};
use super::inbound::Inbound;
use super::limits::{Class, LinkLimits};
use super::link::Link;
use super::net::Net;
use super::security::Security;
use super::shared::{LogLimiter, Shared};
use super::status::{InboundStatus, LinkStatus};
use crate::clock::Clock;
use crate::cluster::NodeId;
use crate::wire::peer::Hello;

/// What links need to know.
#[derive(Clone, Debug)]
pub struct LinkConfig {
    /// What this node says of itself; its versions are usually [`VERSIONS`](super::VERSIONS).
    pub hello: Hello,
    /// How connections are secured.
    pub security: Security,
    /// Bounds.
    pub limits: LinkLimits,
}

/// All links of a node, and the connections that others have opened to it.
pub struct Links {
    local_addr: SocketAddr,
    shared: Arc<Shared>,
    inbound: Arc<Inbound>,
    links: ArcSwap<HashMap<NodeId, Arc<Link>>>,
    /// What keeps the links up. Locked for changes of `links` too.
    workers: Mutex<Workers>,
    runtime: Handle,
}

#[derive(Default)]
struct Workers {
    accept: Option<JoinHandle<()>>,
    links: HashMap<NodeId, [JoinHandle<()>; 2]>,
    stopped: bool,
}

impl fmt::Debug for Links {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Links").field("local_addr", &self.local_addr).finish_non_exhaustive()
    }
}

impl Links {
    /// Accepts links at `listen`; [`set_peers`](Self::set_peers) says to which nodes it opens its own. All work is done on
    /// the runtime of this call.
    ///
    /// # Errors
    /// When it cannot listen there.
    pub async fn start(
        listen: SocketAddr,
        config: LinkConfig,
        net: Arc<dyn Net>,
        clock: Arc<dyn Clock>,
        service: Arc<dyn Service>,
    ) -> io::Result<Arc<Self>> {
        let listener = net.listen(listen).await?;
        let local_addr = listener.local_addr()?;
        let LinkConfig { hello, security, limits } = config;
        let security = ArcSwap::from_pointee(security);
        let shared = Arc::new(Shared { hello, security, limits, net, log_limiter: LogLimiter::new(clock) });
        let inbound = Arc::new(Inbound::new(shared.clone(), service));
        let accept = tokio::spawn(inbound.clone().accept(listener));
        Ok(Arc::new(Self {
            local_addr,
            shared,
            inbound,
            links: ArcSwap::default(),
            workers: Mutex::new(Workers { accept: Some(accept), ..Workers::default() }),
            runtime: Handle::current(),
        }))
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Says to which nodes links are wanted. Those that there are stay; a node with another incarnation or address gets a
    /// new one, and links to nodes that are not named are closed: their requests fail as
    /// [`Broken`](super::LinkError::Broken). This node itself is skipped.
    pub fn set_peers(&self, peers: &[PeerTarget]) {
        let mut workers = self.workers.lock();
        if workers.stopped {
            return;
        }
        let before = self.links.load_full();
        let mut links = HashMap::new();
        for peer in peers.iter().filter(|peer| peer.id.as_str() != self.shared.hello.node) {
            if let Some(link) = before.get(&peer.id).filter(|link| link.target() == peer) {
                links.insert(peer.id.clone(), link.clone());
                continue;
            }
            let link = Arc::new(Link::new(peer.clone(), &self.shared.limits));
            let worker = |class| self.runtime.spawn(link.clone().run_reconnect_loop(class, self.shared.clone()));
            let old = workers.links.insert(peer.id.clone(), [worker(Class::Request), worker(Class::Bulk)]);
            old.into_iter().flatten().for_each(|worker| worker.abort());
            links.insert(peer.id.clone(), link);
        }
        workers.links.retain(|id, workers| {
            let wanted = links.contains_key(id);
            if !wanted {
                workers.iter().for_each(JoinHandle::abort);
            }
            wanted
        });
        self.links.store(Arc::new(links));
    }

    /// The link to a node.
    pub fn link(&self, id: &NodeId) -> Option<Arc<Link>> {
        self.links.load().get(id).cloned()
    }

    /// How the links are, in the order of the nodes' names.
    pub fn status(&self) -> Vec<LinkStatus> {
        let mut status: Vec<_> = self.links.load().values().map(|link| link.status()).collect();
        status.sort_by(|a, b| a.target.id.cmp(&b.target.id));
        status
    }

    /// How the connections are that others have opened.
    pub fn inbound(&self) -> InboundStatus {
        self.inbound.status()
    }

    /// Secures new connections in another way, such as with a new certificate. Those that are open stay as they are.
    pub fn set_security(&self, security: Security) {
        self.shared.security.store(Arc::new(security));
    }

    /// Closes everything. Requests that wait fail, here and on the other nodes.
    pub async fn stop(&self) {
        let ended = self.abort();
        self.links.store(Arc::default());
        for worker in ended {
            let _ = worker.await;
        }
    }

    fn abort(&self) -> Vec<JoinHandle<()>> {
        let mut workers = self.workers.lock();
        workers.stopped = true;
        let ended: Vec<_> =
            std::mem::take(&mut workers.links).into_values().flatten().chain(workers.accept.take()).collect();
        ended.iter().for_each(JoinHandle::abort);
        ended
    }
}

impl Drop for Links {
    fn drop(&mut self) {
        self.abort();
    }
}
