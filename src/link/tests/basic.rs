//! Requests and replies.

use super::*;

#[tokio::test]
async fn a_request_is_answered_over_both_classes() {
    let (a, b) = (Node::start(config("a")).await, Node::start(config("b")).await);
    let link = up(&a.links, b.target("b")).await;
    for class in [Class::Request, Class::Bulk] {
        assert_eq!(link.call(class, &announces(b"who"), SECOND).await, Ok(Reply::Announces(ByteBuf::from("a"))));
        let long = vec![7; 700_000];
        assert_eq!(link.call(class, &announces(&long), SECOND).await, Ok(Reply::Announces(ByteBuf::from(long))));
    }
    assert_eq!(link.version(), 1);
    assert_eq!(b.links.inbound().connections, 2);
    let status = &a.links.status()[0];
    assert_eq!((status.state, status.request.in_flight, status.request.queued_bytes), (LinkState::Up, 0, 0));
    assert!(status.request.bytes_out > 700_000 && status.request.bytes_in > 700_000);
}

#[tokio::test]
async fn replies_come_in_parts_and_in_any_order() {
    let (a, b) = (Node::start(config("a")).await, Node::start(config("b")).await);
    let link = up(&a.links, b.target("b")).await;
    let recorder: [Recorder; 3] = Default::default();
    for recorder in &recorder {
        link.send(Class::Request, &announces(b"keep"), SECOND, Box::new(recorder.clone()));
    }
    until("all requests have come", || b.echo.kept.lock().len() == 3).await;
    let kept = std::mem::take(&mut *b.echo.kept.lock());
    kept[2].send(&Reply::Counts(vec![]), false);
    kept[1].send(&Reply::Done, true);
    kept[1].send(&Reply::Done, true);
    kept[2].send(&Reply::Digest(vec![1]), true);
    kept[2].send(&Reply::Done, false);
    until("there are the replies", || recorder[2].count() == 2 && recorder[1].count() == 1).await;
    assert_eq!(*recorder[2].0.lock(), [Ok((Reply::Counts(vec![]), false)), Ok((Reply::Digest(vec![1]), true))]);
    assert_eq!(*recorder[1].0.lock(), [Ok((Reply::Done, true))]);
    assert_eq!(recorder[0].count(), 0);
    // The last clone is gone.
    drop(kept);
    until("it is refused", || recorder[0].count() == 1).await;
    assert_eq!(*recorder[0].0.lock(), [Err(LinkError::Refused(Refusal::Overloaded))]);
    assert_eq!(link.call(Class::Request, &announces(b"drop"), SECOND).await, Err(Refusal::Overloaded.into()));
}

#[tokio::test]
async fn links_follow_the_wanted_peers() {
    let (a, b, c) = (Node::start(config("a")).await, Node::start(config("b")).await, Node::start(config("c")).await);
    let link = up(&a.links, b.target("b")).await;
    a.links.set_peers(&[a.target("a"), b.target("b"), c.target("c")]);
    assert!(Arc::ptr_eq(&link, &a.links.link(&"b".into()).unwrap()), "what is there stays");
    assert!(a.links.link(&"a".into()).is_none(), "no link to oneself");
    let recorder = Recorder::default();
    link.send(Class::Request, &announces(b"keep"), 10 * SECOND, Box::new(recorder.clone()));
    a.links.set_peers(&[c.target("c")]);
    until("what was on its way fails", || recorder.count() == 1).await;
    assert_eq!(*recorder.0.lock(), [Err(LinkError::Broken)]);
    assert!(!link.is_routable());
    assert_eq!(link.call(Class::Request, &announces(b""), SECOND).await, Err(LinkError::NotConnected));
    assert_eq!(link.call(Class::Bulk, &announces(b""), SECOND).await, Err(LinkError::NotConnected));
    until("the connections are closed", || b.links.inbound().connections == 0).await;
    a.links.stop().await;
    until("the connections are closed", || c.links.inbound().connections == 0).await;
    a.links.set_peers(&[c.target("c")]);
    assert!(a.links.status().is_empty());
}
