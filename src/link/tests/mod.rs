//! Links as a user, an operator and an attacker meet them.

mod basic;
mod breaker;
mod handshakes;
mod hostile;
mod raw;
mod throughput;
mod tls;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde_bytes::ByteBuf;

use super::net::SystemNet;
use super::*;
use crate::clock::SystemClock;
use crate::cluster::NodeId;
use crate::wire::peer::{Hello, Refusal, Reply, Request};

const SECOND: Duration = Duration::from_secs(1);

fn hello(node: &str) -> Hello {
    Hello {
        cluster: "tracker".into(),
        node: node.into(),
        region: "eu".into(),
        incarnation: 1,
        versions: VERSIONS,
        partitions: 256,
        replicas: 2,
    }
}

fn config(node: &str) -> LinkConfig {
    LinkConfig { hello: hello(node), security: Security::Plain, limits: LinkLimits::default() }
}

/// Answers with what it was asked, and keeps what asks for partition 1 without an answer.
#[derive(Default)]
struct Echo {
    kept: Mutex<Vec<ReplyTo>>,
}

impl Service for Echo {
    fn handle(&self, from: &NodeId, request: Request, reply: ReplyTo) {
        match request {
            Request::Announces(bytes) if bytes.starts_with(b"keep") => self.kept.lock().push(reply),
            Request::Announces(bytes) if bytes.starts_with(b"drop") => {}
            Request::Announces(bytes) if bytes.starts_with(b"who") => {
                reply.send(&Reply::Announces(ByteBuf::from(from.as_str())), true);
            }
            Request::Announces(bytes) => reply.send(&Reply::Announces(bytes), true),
            _ => reply.send(&Reply::Done, true),
        }
    }
}

struct Node {
    links: Arc<Links>,
    echo: Arc<Echo>,
}

impl Node {
    async fn start(config: LinkConfig) -> Self {
        let echo = Arc::new(Echo::default());
        let clock = Arc::new(SystemClock::start());
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let links = Links::start(any, config, Arc::new(SystemNet), clock, echo.clone()).await.unwrap();
        Self { links, echo }
    }

    fn target(&self, id: &str) -> PeerTarget {
        target(id, self.links.local_addr())
    }
}

fn target(id: &str, addr: SocketAddr) -> PeerTarget {
    PeerTarget { id: id.into(), incarnation: 1, addr }
}

/// Waits until something holds.
async fn until(what: &str, holds: impl Fn() -> bool) {
    let all = tokio::time::timeout(10 * SECOND, async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    });
    all.await.unwrap_or_else(|_| panic!("waited for too long until {what}"));
}

/// A link from one node to the other, both classes connected.
async fn up(from: &Links, to: PeerTarget) -> Arc<Link> {
    let id = to.id.clone();
    from.set_peers(&[to]);
    let link = from.link(&id).unwrap();
    until("the link is up", || link.is_routable() && link.is_connected(Class::Bulk)).await;
    link
}

fn announces(bytes: &[u8]) -> Request {
    Request::Announces(ByteBuf::from(bytes))
}

/// A reply and whether it is the last one.
type Outcome = Result<(Reply, bool), LinkError>;

/// Records what a completion is called with.
#[derive(Clone, Default)]
struct Recorder(Arc<Mutex<Vec<Outcome>>>);

impl Completion for Recorder {
    fn reply(&mut self, reply: Reply, last: bool) {
        self.0.lock().push(Ok((reply, last)));
    }

    fn failed(self: Box<Self>, error: LinkError) {
        self.0.lock().push(Err(error));
    }
}

impl Recorder {
    fn count(&self) -> usize {
        self.0.lock().len()
    }
}
