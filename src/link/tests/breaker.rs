//! Peers that stop answering.

use tokio::net::TcpListener;
use tokio::time::Instant;

use super::raw::Raw;
use super::*;
use crate::wire::peer::{self, Frame};

/// A node with a link to a peer that does nothing by itself, and the connection for requests as the peer sees it.
async fn stopped() -> (Node, Arc<Link>, Raw, Raw) {
    let mut config = config("a");
    config.limits.silence = 4 * SECOND;
    let node = Node::start(config).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    node.links.set_peers(&[target("b", listener.local_addr().unwrap())]);
    let link = node.links.link(&"b".into()).unwrap();
    let (one, other) = tokio::join!(Raw::accept(&listener, "b"), Raw::accept(&listener, "b"));
    until("it is up", || link.is_routable() && link.is_connected(Class::Bulk)).await;
    // Which of the two is for requests shows in what comes.
    let recorder = Recorder::default();
    link.send(Class::Request, &announces(b"first"), SECOND, Box::new(recorder.clone()));
    let (mut request, bulk) = {
        let (mut one, mut other) = (one, other);
        let first = tokio::select! {
            first = first_request(&mut one) => (true, first),
            first = first_request(&mut other) => (false, first),
        };
        let (mut request, bulk) = if first.0 { (one, other) } else { (other, one) };
        answer(&mut request, first.1).await;
        (request, bulk)
    };
    until("it is answered", || recorder.count() == 1).await;
    answer_pings(&mut request).await;
    (node, link, request, bulk)
}

async fn first_request(raw: &mut Raw) -> u64 {
    loop {
        let id = raw.frame(|frame| if let Frame::Request { id, .. } = frame { Some(id) } else { None }).await;
        if let Some(id) = id {
            return id;
        }
    }
}

async fn answer(raw: &mut Raw, id: u64) {
    let mut bytes = Vec::new();
    peer::write_reply(&mut bytes, id, true, &Reply::Done, 4096).unwrap();
    raw.send(&bytes).await;
}

/// Answers what has come until nothing has for a little while.
async fn answer_pings(raw: &mut Raw) {
    loop {
        let ping = raw.frame(|frame| if let Frame::Ping(id) = frame { Some(id) } else { None });
        match tokio::time::timeout(SECOND / 20, ping).await {
            Ok(Some(id)) => {
                let mut bytes = Vec::new();
                peer::write_pong(&mut bytes, id);
                raw.send(&bytes).await;
            }
            Ok(None) => {}
            Err(_) => return,
        }
    }
}

#[tokio::test]
async fn a_stopped_peer_costs_one_deadline_in_all() {
    let (node, link, mut request, _bulk) = stopped().await;
    let bulk = Recorder::default();
    link.send(Class::Bulk, &announces(b"x"), 3 * SECOND, Box::new(bulk.clone()));
    let start = Instant::now();
    let recorder: Vec<Recorder> = (0..100).map(|_| Recorder::default()).collect();
    for (at, recorder) in recorder.iter().enumerate() {
        let deadline = if at == 0 { SECOND / 5 } else { 3 * SECOND };
        link.send(Class::Request, &announces(b"x"), deadline, Box::new(recorder.clone()));
    }
    assert_eq!(node.links.status()[0].request.in_flight, 100);
    until("all have failed", || recorder.iter().all(|recorder| recorder.count() == 1)).await;
    let took = start.elapsed();
    assert!(took >= SECOND / 5 && took < SECOND, "{took:?}");
    assert!(recorder.iter().all(|recorder| *recorder.0.lock() == [Err(LinkError::Timeout)]));
    assert!(!link.is_routable() && link.is_connected(Class::Request));
    let status = &node.links.status()[0];
    assert_eq!((status.state, status.request.timeouts, status.breaker_opened), (LinkState::Open, 100, 1));
    assert_eq!(link.call(Class::Request, &announces(b"x"), SECOND).await, Err(LinkError::NotConnected));
    assert_eq!(bulk.count(), 0, "the other class goes on");

    // It wakes up: replies that come too late do no harm, and the ping's answer closes the breaker.
    answer_pings(&mut request).await;
    until("it is routable", || link.is_routable()).await;
    assert_eq!(node.links.status()[0].state, LinkState::Up);
    let after = Recorder::default();
    link.send(Class::Request, &announces(b"y"), SECOND, Box::new(after.clone()));
    let id = first_request(&mut request).await;
    answer(&mut request, 0).await;
    answer(&mut request, id).await;
    until("it is answered", || after.count() == 1).await;
    assert_eq!(*after.0.lock(), [Ok((Reply::Done, true))]);
}

#[tokio::test]
async fn a_pong_to_an_earlier_ping_leaves_the_breaker_open() {
    let (_node, link, mut request, _bulk) = stopped().await;
    link.send(Class::Request, &announces(b"x"), SECOND / 100, Box::new(Recorder::default()));
    until("it is open", || !link.is_routable()).await;
    let mut old = Vec::new();
    peer::write_pong(&mut old, 0);
    peer::write_pong(&mut old, u64::MAX);
    request.send(&old).await;
    tokio::time::sleep(SECOND / 10).await;
    assert!(!link.is_routable());
    answer_pings(&mut request).await;
    until("it is routable", || link.is_routable()).await;
}

#[tokio::test]
async fn an_overdue_ping_opens_the_breaker_and_silence_closes_the_connection() {
    let (node, link, _request, _bulk) = stopped().await;
    let start = Instant::now();
    let recorder = Recorder::default();
    link.send(Class::Request, &announces(b"x"), 60 * SECOND, Box::new(recorder.clone()));
    until("it failed", || recorder.count() == 1).await;
    assert_eq!(*recorder.0.lock(), [Err(LinkError::Timeout)]);
    assert!(start.elapsed() < SECOND, "{:?}", start.elapsed());
    assert_eq!(node.links.status()[0].breaker_opened, 1);
    until("the connection is closed", || !link.is_connected(Class::Request)).await;
    assert!(start.elapsed() > 3 * SECOND, "{:?}", start.elapsed());
}

#[tokio::test]
async fn what_is_too_much_is_not_taken() {
    let mut small = config("a");
    small.limits.outstanding = 3;
    small.limits.request_queue = 1000;
    let (a, b) = (Node::start(small).await, Node::start(config("b")).await);
    let link = up(&a.links, b.target("b")).await;
    let recorder: Vec<Recorder> = (0..5).map(|_| Recorder::default()).collect();
    for recorder in &recorder[..4] {
        link.send(Class::Request, &announces(b"keep"), SECOND, Box::new(recorder.clone()));
    }
    assert_eq!(*recorder[3].0.lock(), [Err(LinkError::Overloaded)]);
    until("they have come", || b.echo.kept.lock().len() == 3).await;
    b.echo.kept.lock().clear();
    until("they are answered", || recorder[..3].iter().all(|recorder| recorder.count() == 1)).await;
    // As long as nothing is written, the second one finds the queue full.
    link.send(Class::Request, &announces(&[1; 5000]), SECOND, Box::new(recorder[3].clone()));
    link.send(Class::Request, &announces(b"x"), SECOND, Box::new(recorder[4].clone()));
    assert_eq!(*recorder[4].0.lock(), [Err(LinkError::Overloaded)]);
    until("the first is answered", || recorder[3].count() == 2).await;
    let long = vec![1; 2 << 20];
    assert_eq!(link.call(Class::Request, &announces(&long), SECOND).await, Err(Refusal::Malformed.into()));
    assert_eq!(link.call(Class::Bulk, &announces(&long), 5 * SECOND).await, Ok(Reply::Announces(ByteBuf::from(long))));
    assert_eq!(a.links.status()[0].request.not_taken, 3);
}
