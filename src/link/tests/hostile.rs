//! Peers that break the protocol, on either side.

use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use super::raw::{Raw, opening, request};
use super::*;

#[tokio::test]
async fn strangers_are_cut_short() {
    let mut config = config("b");
    config.limits.handshake = SECOND / 2;
    let node = Node::start(config).await;
    let too_long = [&5000u32.to_be_bytes()[..], &[1; 10]].concat();
    let no_hello = [0, 0, 0, 10, 6, 0, 0, 0, 0, 0, 0, 0, 0, 1].to_vec();
    let no_opening = [0, 0, 0, 11, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xc1].to_vec();
    let short = vec![0, 0, 0, 1, 1];
    let http = b"GET / HTTP/1.1\r\n\r\n".to_vec();
    let cut = opening(&hello("a"), "b")[..20].to_vec();
    let bytes = [too_long, no_hello, no_opening, short, http, cut, Vec::new()];
    for bytes in &bytes {
        let mut raw = Raw::connect(node.links.local_addr()).await;
        raw.send(bytes).await;
        raw.closed().await;
    }
    let mut raw = Raw::connect(node.links.local_addr()).await;
    raw.send(&opening(&hello("a"), "b")[..20]).await;
    raw.stream.shutdown().await.unwrap();
    raw.closed().await;
    until("all are counted", || node.links.inbound().refused == bytes.len() as u64 + 1).await;
    assert_eq!(node.links.inbound().connections, 0);
}

#[tokio::test]
async fn an_address_has_few_strangers_at_a_time() {
    let mut config = config("b");
    config.limits.handshake = SECOND;
    let node = Node::start(config).await;
    let mut strangers = Vec::new();
    for _ in 0..8 {
        strangers.push(Raw::connect(node.links.local_addr()).await);
    }
    until("they are there", || node.links.inbound().connections == 8).await;
    Raw::connect(node.links.local_addr()).await.closed().await;
    assert_eq!(node.links.inbound().too_many, 1);
    until("they had their time", || node.links.inbound().connections == 0).await;
    Raw::greeted(node.links.local_addr(), "a", "b").await;
}

#[tokio::test]
async fn what_is_no_frame_ends_the_connection() {
    let node = Node::start(config("b")).await;
    let reply = [0, 0, 0, 11, 5, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0xc0].to_vec();
    let unknown = [0, 0, 0, 10, 9, 0, 0, 0, 0, 0, 0, 0, 0, 1].to_vec();
    let too_long = ((1u32 << 20) + 1).to_be_bytes().to_vec();
    let no_incarnation = [0, 0, 0, 11, 4, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1].to_vec();
    for bytes in [reply, unknown, too_long, no_incarnation, vec![0, 0, 0, 9]] {
        let mut raw = Raw::greeted(node.links.local_addr(), "a", "b").await;
        raw.send(&bytes).await;
        raw.closed().await;
    }
    until("all are counted", || node.links.inbound().broken == 5).await;
}

#[tokio::test]
async fn requests_that_cannot_be_read_or_are_for_another_start_are_refused() {
    let node = Node::start(config("b")).await;
    let mut raw = Raw::greeted(node.links.local_addr(), "a", "b").await;
    raw.send(&request(7, 2, &announces(b"x"))).await;
    assert_eq!(raw.reply().await, (7, Reply::Refused(Refusal::Incarnation)));
    // A request of a later version.
    let body = rmp_serde::to_vec_named(&std::collections::BTreeMap::from([("Dance", 1)])).unwrap();
    let mut bytes = (18 + body.len() as u32).to_be_bytes().to_vec();
    bytes.extend_from_slice(&[4, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 1]);
    bytes.extend_from_slice(&body);
    raw.send(&bytes).await;
    assert_eq!(raw.reply().await, (8, Reply::Refused(Refusal::Malformed)));
    raw.send(&request(9, 1, &announces(b"x"))).await;
    assert_eq!(raw.reply().await, (9, Reply::Announces(ByteBuf::from("x"))));
}

#[tokio::test]
async fn a_peer_has_its_share_of_open_requests() {
    let mut config = config("b");
    config.limits.outstanding = 2;
    let node = Node::start(config).await;
    let mut raw = Raw::greeted(node.links.local_addr(), "a", "b").await;
    for id in 1..=3 {
        raw.send(&request(id, 1, &announces(b"keep"))).await;
    }
    assert_eq!(raw.reply().await, (3, Reply::Refused(Refusal::Overloaded)));
    node.echo.kept.lock().clear();
    assert_eq!(raw.reply().await.1, Reply::Refused(Refusal::Overloaded));
    assert_eq!(raw.reply().await.1, Reply::Refused(Refusal::Overloaded));
    raw.send(&request(4, 1, &announces(b"x"))).await;
    assert_eq!(raw.reply().await, (4, Reply::Announces(ByteBuf::from("x"))));
}

#[tokio::test]
async fn a_peer_that_does_not_read_is_cut_off() {
    let mut config = config("b");
    config.limits.request_queue = 1 << 20;
    let node = Node::start(config).await;
    let mut raw = Raw::greeted(node.links.local_addr(), "a", "b").await;
    let bytes = request(1, 1, &announces(&[7; 100_000]));
    let mut sent = 0;
    let sending = async {
        while raw.stream.write_all(&bytes).await.is_ok() {
            sent += bytes.len();
        }
    };
    tokio::time::timeout(10 * SECOND, sending).await.expect("the connection ends");
    until("it is counted", || node.links.inbound().cut_off == 1).await;
    assert!(sent < 64 << 20, "{sent} bytes were taken");
}

#[tokio::test]
async fn a_silent_caller_loses_its_connection() {
    let mut config = config("b");
    config.limits.inbound_silence = SECOND / 10;
    let node = Node::start(config).await;
    Raw::greeted(node.links.local_addr(), "a", "b").await.closed().await;
    until("it is gone", || node.links.inbound().connections == 0).await;
}

#[tokio::test]
async fn a_new_connection_takes_the_place_of_the_old_one() {
    let node = Node::start(config("b")).await;
    let mut old = Raw::greeted(node.links.local_addr(), "a", "b").await;
    let mut new = Raw::greeted(node.links.local_addr(), "a", "b").await;
    old.closed().await;
    new.send(&request(1, 1, &announces(b"x"))).await;
    new.reply().await;
    let earlier = Hello { incarnation: 0, ..hello("a") };
    let mut raw = Raw::connect(node.links.local_addr()).await;
    raw.send(&opening(&earlier, "b")).await;
    raw.frame(|frame| assert_eq!(frame, crate::wire::peer::Frame::Refuse("a later start of \"a\" is connected"))).await;
}

#[tokio::test]
async fn a_client_side_survives_a_hostile_server_side() {
    let mut config = config("a");
    config.limits.retry_refused = SECOND / 100;
    let node = Node::start(config).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    node.links.set_peers(&[target("b", listener.local_addr().unwrap())]);
    let link = node.links.link(&"b".into()).unwrap();
    // A reply that cannot be read, one to nothing, a frame of no kind, one that is too long, half of one.
    let unreadable = [0, 0, 0, 11, 5, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0xc1].to_vec();
    let to_nothing = [0, 0, 0, 11, 5, 1, 9, 9, 9, 9, 9, 9, 9, 9, 0xa0].to_vec();
    let unknown = [0, 0, 0, 10, 77, 0, 0, 0, 0, 0, 0, 0, 0, 1].to_vec();
    for bytes in [[to_nothing, unreadable].concat(), unknown, vec![255; 9], vec![0, 0, 0, 10, 5]] {
        let (mut one, mut other) = tokio::join!(Raw::accept(&listener, "b"), Raw::accept(&listener, "b"));
        until("it is up", || link.is_routable() && link.is_connected(Class::Bulk)).await;
        let recorder = Recorder::default();
        link.send(Class::Request, &announces(b"x"), 5 * SECOND, Box::new(recorder.clone()));
        one.send(&bytes).await;
        other.send(&bytes).await;
        tokio::time::sleep(SECOND / 20).await;
        drop((one, other));
        until("it failed", || recorder.count() == 1).await;
        assert_eq!(*recorder.0.lock(), [Err(LinkError::Broken)]);
        until("it is down", || !link.is_connected(Class::Request) && !link.is_connected(Class::Bulk)).await;
    }
}
