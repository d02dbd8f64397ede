//! Links in a simulated network, where time costs nothing and cables can be cut.

mod simulated_net;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde_bytes::ByteBuf;
use simulated_net::SimulatedNet;
use tidings::clock::{Clock, Now};
use tidings::cluster::NodeId;
use tidings::link::{
    Class, Link, LinkConfig, LinkError, LinkLimits, Links, PeerTarget, ReplyTo, Security, Service, VERSIONS,
};
use tidings::wire::peer::{Hello, Reply, Request};
use tokio::time::{Instant, sleep};

const PORT: u16 = 4000;

struct NoClock;

impl Clock for NoClock {
    fn now(&self) -> Now {
        Now::default()
    }
}

struct Echo;

impl Service for Echo {
    fn handle(&self, _: &NodeId, request: Request, reply: ReplyTo) {
        if let Request::Announces(bytes) = request {
            reply.send(&Reply::Announces(bytes), true);
        }
    }
}

async fn start(node: &str) -> Arc<Links> {
    let hello = Hello {
        cluster: "tracker".into(),
        node: node.into(),
        region: "eu".into(),
        incarnation: 1,
        versions: VERSIONS,
        partitions: 256,
        replicas: 2,
    };
    let config = LinkConfig { hello, security: Security::Plain, limits: LinkLimits::default() };
    let listen = SocketAddr::from(([0, 0, 0, 0], PORT));
    Links::start(listen, config, Arc::new(SimulatedNet), Arc::new(NoClock), Arc::new(Echo)).await.unwrap()
}

async fn until(holds: impl Fn() -> bool) {
    while !holds() {
        sleep(Duration::from_millis(1)).await;
    }
}

async fn exchange(link: &Link) -> Result<Reply, LinkError> {
    link.call(Class::Request, &Request::Announces(ByteBuf::from("x")), Duration::from_millis(200)).await
}

#[test]
fn a_link_works_breaks_and_heals() {
    let mut sim = turmoil::Builder::new().simulation_duration(Duration::from_secs(60)).rng_seed(1).build();
    sim.host("b", || async {
        let _links = start("b").await;
        std::future::pending().await
    });
    sim.client("a", async {
        let links = start("a").await;
        let addr = SocketAddr::from((turmoil::lookup("b"), PORT));
        links.set_peers(&[PeerTarget { id: "b".into(), incarnation: 1, addr }]);
        let link = links.link(&"b".into()).ok_or("no link")?;
        until(|| link.is_routable()).await;
        let answer = Ok(Reply::Announces(ByteBuf::from("x")));
        assert_eq!(exchange(&link).await, answer);

        turmoil::partition("a", "b");
        let cut = Instant::now();
        assert_eq!(exchange(&link).await, Err(LinkError::Timeout));
        assert!(cut.elapsed() < Duration::from_millis(300), "{:?}", cut.elapsed());
        assert!(!link.is_routable());
        sleep(Duration::from_secs(5)).await;

        turmoil::repair("a", "b");
        let healed = Instant::now();
        until(|| link.is_routable()).await;
        assert!(healed.elapsed() < Duration::from_secs(4), "{:?}", healed.elapsed());
        assert_eq!(exchange(&link).await, answer);
        assert!(links.status()[0].request.reconnects > 0);
        links.stop().await;
        Ok(())
    });
    sim.run().unwrap();
}
