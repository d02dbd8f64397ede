//! Every datagram is counted by its outcome.

use std::net::UdpSocket;
use std::sync::Arc;
use std::time::Duration;

use tidings::clock::SystemClock;
use tidings::config::Settings;
use tidings::frontend::udp::Outcome;
use tidings::node::Node;
use tidings::swarm::{Event, Family, InfoHash};
use tidings::wire::udp::{
    Announce, ConnectionId, Options, Response, TransactionId, encode_announce, encode_connect, encode_scrape,
    parse_response,
};

const TRANSACTION: TransactionId = TransactionId(7);

fn announce(connection_id: ConnectionId, event: Event, port: u16) -> Vec<u8> {
    let announce = Announce {
        connection_id,
        transaction_id: TRANSACTION,
        info_hash: InfoHash([0xab; 20]),
        event,
        left: 1,
        key: 0,
        num_want: -1,
        port,
        options: Options::new(&[]),
    };
    let mut out = Vec::new();
    encode_announce(&mut out, &announce, b"-TR4060-0123456789ab");
    out
}

fn scrape(connection_id: ConnectionId) -> Vec<u8> {
    let mut out = Vec::new();
    encode_scrape(&mut out, connection_id, TRANSACTION, &[[0xab; 20]]);
    out
}

/// Sends a datagram and returns the reply.
fn exchange(socket: &UdpSocket, datagram: &[u8]) -> Vec<u8> {
    socket.send(datagram).unwrap();
    let mut reply = [0; 2048];
    let length = socket.recv(&mut reply).expect("an answer");
    reply[..length].to_vec()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_datagram_is_counted_once_by_its_outcome() {
    let mut settings = Settings::default();
    settings.announce.udp = vec!["127.0.0.1:0".parse().unwrap()];
    settings.announce.http.clear();
    settings.announce.threads = 1;
    settings.ops.listen = None;
    let node = Node::start(settings, Arc::new(SystemClock::start()), None).await.unwrap();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(node.addrs().udp[0]).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();

    let mut connect = Vec::new();
    encode_connect(&mut connect, TRANSACTION);
    let reply = exchange(&socket, &connect);
    let Ok(Response::Connect { connection_id, .. }) = parse_response(&reply, Family::V4) else { panic!("{reply:?}") };
    let reply = |datagram: &[u8]| exchange(&socket, datagram);
    let action = |reply: &[u8]| reply[3];
    assert_eq!(action(&reply(&announce(connection_id, Event::Started, 6881))), 1);
    let stopped = reply(&announce(connection_id, Event::Stopped, 0));
    assert_eq!((action(&stopped), stopped.len()), (1, 20), "a stop with port 0 is answered without peers");
    assert_eq!(stopped[12..20], [0, 0, 0, 1, 0, 0, 0, 0], "and does not affect other peers");
    assert_eq!(action(&reply(&scrape(connection_id))), 2);
    assert_eq!(action(&reply(&announce(connection_id, Event::None, 0))), 3, "port 0");
    assert_eq!(action(&reply(&scrape(ConnectionId(1)))), 3, "a made-up connection id");
    // Neither of these is answered: the next answer is that to the connect.
    socket.send(b"not BitTorrent").unwrap();
    socket.send(&[0; 4000]).unwrap();
    assert_eq!(action(&reply(&connect)), 0);

    let count = |outcome| node.context().udp.metrics[Family::V4 as usize].get(outcome);
    for (outcome, expected) in [
        (Outcome::Connect, 2),
        (Outcome::Announce, 2),
        (Outcome::Scrape, 1),
        (Outcome::Malformed, 2),
        (Outcome::BadConnectionId, 1),
        (Outcome::Unanswerable, 1),
        (Outcome::Forbidden, 0),
        (Outcome::Shed, 0),
    ] {
        assert_eq!(count(outcome), expected, "{outcome:?}");
    }
    assert!(
        Outcome::ALL.iter().all(|(outcome, ..)| node.context().udp.metrics[Family::V6 as usize].get(*outcome) == 0)
    );
    node.stop().await;
}
