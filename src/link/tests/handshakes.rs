//! Nodes that do not fit together, and those that do.

use super::*;
use crate::wire::peer::Hello;

/// What a node says of the link to another one that it does not get.
async fn refusal(ours: Hello, theirs: Hello, to: &str) -> String {
    let limits = LinkLimits { retry_refused: SECOND / 20, ..LinkLimits::default() };
    let node = |hello| Node::start(LinkConfig { hello, security: Security::Plain, limits: limits.clone() });
    let (a, b) = (node(ours).await, node(theirs).await);
    a.links.set_peers(&[b.target(to)]);
    let link = a.links.link(&to.into()).unwrap();
    until("it is refused", || a.links.status()[0].refusal.is_some() && b.links.inbound().refused >= 2).await;
    assert_eq!(a.links.status()[0].state, LinkState::Refused);
    assert!(!link.is_routable());
    a.links.status().remove(0).refusal.unwrap()
}

#[tokio::test]
async fn nodes_that_do_not_fit_say_why() {
    let b = hello("b");
    let says = |theirs, to, sentence: &'static str| async move {
        let text = refusal(hello("a"), theirs, to).await;
        assert!(text.contains(sentence), "{text}");
    };
    says(Hello { cluster: "other".into(), ..b.clone() }, "b", "check cluster.name").await;
    says(Hello { partitions: 512, ..b.clone() }, "b", "512 and 256 partitions").await;
    says(Hello { replicas: 3, ..b.clone() }, "b", "3 and 2 replicas").await;
    says(Hello { versions: [2, 3], ..b.clone() }, "b", "2-3 and 1-1; update the older node").await;
    says(Hello { incarnation: 2, ..b.clone() }, "b", "of incarnation 2, not 1").await;
    says(b.clone(), "c", "\"b\", not \"c\"").await;
    says(hello("a"), "b", "two nodes are called \"a\"").await;
}

#[tokio::test]
async fn a_newer_node_speaks_the_older_version() {
    let versions = |mut config: LinkConfig, versions| {
        config.hello.versions = versions;
        config
    };
    let a = Node::start(versions(config("a"), [1, 7])).await;
    let b = Node::start(versions(config("b"), [2, 3])).await;
    let (there, back) = (up(&a.links, b.target("b")).await, up(&b.links, a.target("a")).await);
    assert_eq!((there.version(), back.version()), (3, 3));
    let recorder = Recorder::default();
    there.send(Class::Request, &announces(b"keep"), SECOND, Box::new(recorder));
    until("it has come", || b.echo.kept.lock().len() == 1).await;
    assert_eq!(b.echo.kept.lock()[0].version(), 3);
}

#[tokio::test]
async fn a_link_comes_up_once_the_other_node_does() {
    let a = Node::start(config("a")).await;
    let b = Node::start(config("b")).await;
    let addr = b.links.local_addr();
    let link = up(&a.links, b.target("b")).await;
    let recorder = Recorder::default();
    link.send(Class::Request, &announces(b"keep"), 10 * SECOND, Box::new(recorder.clone()));
    until("it has come", || b.echo.kept.lock().len() == 1).await;
    b.links.stop().await;
    until("it failed at once", || recorder.count() == 1).await;
    assert_eq!(*recorder.0.lock(), [Err(LinkError::Broken)]);
    assert!(!link.is_routable());

    // The next start is another incarnation: the old link stays away from it.
    let mut again = config("b");
    again.hello.incarnation = 2;
    let clock = Arc::new(SystemClock::start());
    let links = Links::start(addr, again, Arc::new(SystemNet), clock, b.echo.clone()).await.unwrap();
    until("it is refused", || a.links.status()[0].state == LinkState::Refused).await;
    assert!(!link.is_routable());
    let next = up(&a.links, PeerTarget { incarnation: 2, ..target("b", addr) }).await;
    assert_eq!(next.call(Class::Request, &announces(b"x"), SECOND).await, Ok(Reply::Announces(ByteBuf::from("x"))));
    assert!(!Arc::ptr_eq(&link, &next) && !link.is_routable());
    links.stop().await;
}
