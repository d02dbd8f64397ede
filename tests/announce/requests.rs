//! Connects and announces.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::time::Duration;

use super::node::{Node, settings};
use tidings::testkit::http;
use tidings::testkit::udp_client::{
    ANNOUNCE, Announce, COMPLETED, CONNECT, CONNECT_MAGIC, Client, ERROR, HASH, SCRAPE, STARTED, STOPPED, be32, head,
    leecher, socket,
};

fn local(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

#[test]
fn trap_01_an_old_or_foreign_id_is_answered_with_an_error_no_longer_than_the_request() {
    let node = Node::start(settings());
    let client = node.v4();
    client.announce(&leecher(1));
    node.clock.advance(Duration::from_secs(119));
    client.announce(&leecher(1));
    node.clock.advance(Duration::from_secs(600));
    for id in [client.id, 0, u64::MAX, CONNECT_MAGIC, client.id ^ 1] {
        let announce = leecher(1).bytes(id, 5);
        assert_eq!(client.error(&announce), "connection id expired, connect again");
        let scrape = [&head(id, SCRAPE, 6)[..], &HASH].concat();
        assert!(8 + client.error(&scrape).len() <= scrape.len());
    }
    // A client that connects again is served: nothing was banned.
    let mut client = client;
    client.connect();
    assert_eq!(client.announce(&leecher(1)).leechers, 1);
}

#[test]
fn trap_02_the_id_is_valid_from_another_port() {
    let node = Node::start(settings());
    let first = node.v4();
    let other = Client { socket: socket(node.get().addrs().udp[0]), id: first.id };
    assert_ne!(first.socket.local_addr().unwrap(), other.socket.local_addr().unwrap());
    assert_eq!(other.announce(&leecher(1)).leechers, 1);
}

#[test]
fn trap_03_a_node_with_the_same_secret_accepts_the_id() {
    let secret = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(secret.path(), "5a".repeat(32)).unwrap();
    let mut settings = settings();
    settings.cluster.secret_file = Some(secret.path().to_owned());
    let (one, other, stranger) =
        (Node::start(settings.clone()), Node::start(settings), Node::start(super::node::settings()));
    let client = one.v4();
    let at = |node: &Node| Client { socket: socket(node.get().addrs().udp[0]), id: client.id };
    assert_eq!(at(&other).announce(&leecher(1)).leechers, 1);
    at(&stranger).error(&leecher(1).bytes(client.id, 5));
}

#[test]
fn trap_05_one_peer_id_at_two_ports_is_two_peers() {
    let node = Node::start(settings());
    let client = node.v4();
    client.announce(&leecher(1));
    let reply = client.announce(&leecher(2));
    assert_eq!((reply.leechers, reply.peers), (2, vec![local(1)]));
    // And two peer ids at one address are one.
    let reply = client.announce(&Announce { peer_id: [b'x'; 20], ..leecher(1) });
    assert_eq!((reply.leechers, reply.peers), (2, vec![local(2)]));
}

#[test]
fn trap_06_families_are_apart() {
    let node = Node::start(settings());
    let (v4, v6) = (node.v4(), node.v6());
    v4.announce(&leecher(1));
    let reply = v6.announce(&leecher(2));
    assert_eq!((reply.leechers, reply.peers), (1, vec![]));
    let reply = v6.announce(&leecher(3));
    assert_eq!((reply.leechers, reply.peers), (2, vec!["[::1]:2".parse().unwrap()]));
    assert_eq!(v4.scrape(&[HASH]), [[0, 0, 1]]);
    assert_eq!(v6.scrape(&[HASH]), [[0, 0, 2]]);
}

#[test]
fn trap_07_the_two_hashes_of_a_hybrid_torrent_are_two_swarms() {
    let node = Node::start(settings());
    let client = node.v4();
    let v2 = *b"a SHA-256, truncated";
    client.announce(&leecher(1));
    let reply = client.announce(&Announce { info_hash: v2, ..leecher(1) });
    assert_eq!((reply.leechers, reply.peers), (1, vec![]));
    assert_eq!(client.scrape(&[HASH, v2]), [[0, 0, 1], [0, 0, 1]]);
}

#[test]
fn trap_13_port_zero_is_refused_unless_stopped() {
    let node = Node::start(settings());
    let client = node.v4();
    assert_eq!(client.error(&leecher(0).bytes(client.id, 5)), "port is 0");
    client.announce(&Announce { event: STOPPED, ..leecher(0) });
    assert_eq!(client.scrape(&[HASH]), [[0, 0, 0]]);
}

#[test]
fn trap_14_numwant_is_exact_and_has_a_default() {
    let node = Node::start(settings());
    let client = node.v4();
    (1..=300).for_each(|port| _ = client.announce(&leecher(port)));
    for (num_want, given) in [(1, 1), (10, 10), (50, 50), (200, 200), (201, 200), (i32::MAX, 200), (-1, 50), (0, 50)] {
        let reply = client.announce(&Announce { num_want, ..leecher(301) });
        let distinct: HashSet<_> = reply.peers.iter().collect();
        assert_eq!((reply.peers.len(), distinct.len()), (given, given), "numwant {num_want}");
        assert!(!reply.peers.contains(&local(301)), "the announcing peer itself");
    }
}

#[test]
fn trap_15_a_reply_fits_the_smallest_mtu_of_ipv6() {
    let node = Node::start(settings());
    let client = node.v6();
    (1..=300).for_each(|port| _ = client.announce(&leecher(port)));
    let reply = client.announce(&Announce { num_want: 300, ..leecher(301) });
    assert_eq!((reply.leechers, reply.peers.len(), reply.bytes), (301, 67, 20 + 67 * 18));
    assert!(reply.bytes <= 1232);
}

#[test]
fn trap_18_options_and_other_bytes_after_an_announce_are_accepted() {
    let node = Node::start(settings());
    let client = node.v4();
    for (port, rest) in [(1, &b"\x02\x09/announce\x00"[..]), (2, b"\x02\xff"), (3, &[0xee; 900])] {
        let request = [&leecher(port).bytes(client.id, 0x0102_0304), rest].concat();
        assert_eq!(client.announce_bytes(&request).leechers, u32::from(port));
    }
}

#[test]
fn trap_19_an_unknown_event_is_a_plain_announce() {
    let node = Node::start(settings());
    let client = node.v4();
    for (port, event) in [(1, 4), (2, 9), (3, u32::MAX)] {
        assert_eq!(client.announce(&Announce { event, ..leecher(port) }).leechers, u32::from(port));
    }
}

#[test]
fn trap_20_a_peer_that_does_not_know_what_is_left_is_a_leecher() {
    let node = Node::start(settings());
    let client = node.v4();
    for (port, left) in [(1, -1), (2, i64::MAX), (3, i64::MIN)] {
        let reply = client.announce(&Announce { left, ..leecher(port) });
        assert_eq!((reply.seeders, reply.leechers), (0, u32::from(port)));
    }
}

#[test]
fn trap_21_an_unproven_source_gets_no_more_bytes_than_it_sent() {
    let node = Node::start(settings());
    let client = node.v4();
    let socket = socket(node.get().addrs().udp[0]);
    let full = [&leecher(1).bytes(client.id ^ 1, 0)[..], &[0; 100]].concat();
    let (mut sent, mut answered) = (0, 0);
    // Sends a connect and reads all answers up to the one to it, which is exactly as long as the request.
    let mut read_up_to = |connect: u32| {
        socket.send(&head(CONNECT_MAGIC, CONNECT, connect)).unwrap();
        let mut buffer = [0; 4096];
        loop {
            let len = socket.recv(&mut buffer).expect("the connect is answered");
            let request = be32(&buffer[4..]);
            if request == connect {
                return assert_eq!((len, be32(&buffer)), (16, CONNECT));
            }
            assert!(len <= request as usize, "{len} bytes for {request}");
            assert_eq!(be32(&buffer), ERROR);
            answered += 1;
        }
    };
    for action in [CONNECT, ANNOUNCE, SCRAPE, ERROR, 77] {
        for len in 0..full.len() {
            // The transaction id is the length of the request.
            let mut request = full.clone();
            request[8..12].copy_from_slice(&action.to_be_bytes());
            request[12..16].copy_from_slice(&(len as u32).to_be_bytes());
            socket.send(&request[..len]).unwrap();
            sent += 1;
            if sent % 32 == 0 {
                read_up_to(10_000 + sent);
            }
        }
    }
    read_up_to(20_000);
    assert!(answered > 0 && answered < sent, "{answered} of {sent}");
}

#[test]
fn trap_22_completed_counts_once_and_not_for_strangers() {
    let node = Node::start(settings());
    let client = node.v4();
    let done = |port| Announce { left: 0, event: COMPLETED, ..leecher(port) };
    client.announce(&done(1));
    assert_eq!(client.scrape(&[HASH]), [[1, 0, 0]]);
    client.announce(&leecher(2));
    (0..3).for_each(|_| _ = client.announce(&done(2)));
    assert_eq!(client.scrape(&[HASH]), [[2, 1, 0]]);
}

#[test]
fn trap_23_stopped_gets_no_peers_and_makes_no_swarm() {
    let node = Node::start(settings());
    let client = node.v4();
    let stopped = |port| Announce { event: STOPPED, ..leecher(port) };
    let reply = client.announce(&stopped(1));
    assert_eq!((reply.leechers, reply.seeders, reply.peers.len()), (0, 0, 0));
    let hash = tidings::swarm::InfoHash(HASH);
    let visit = node.get().router().visit(&hash, |partitions, _| partitions.v4.is_empty());
    assert!(node.runtime.block_on(visit).unwrap(), "a swarm was made");
    (1..=5).for_each(|port| _ = client.announce(&leecher(port)));
    let reply = client.announce(&stopped(1));
    assert_eq!((reply.leechers, reply.peers), (4, vec![]));
}

#[test]
fn trap_24_stopped_and_started_in_one_burst_keep_their_order() {
    let node = Node::start(settings());
    let client = node.v4();
    for round in 0..50 {
        for event in [STARTED, STOPPED, STARTED, STOPPED, STARTED] {
            client.socket.send(&Announce { event, ..leecher(1) }.bytes(client.id, 1)).unwrap();
        }
        (0..5).for_each(|_| _ = client.socket.recv(&mut [0; 2048]).unwrap());
        assert_eq!(client.scrape(&[HASH]), [[0, 0, 1]], "round {round}");
    }
}

#[test]
fn trap_25_a_seeder_gets_leechers_only() {
    let node = Node::start(settings());
    let client = node.v4();
    let seeder = |port| Announce { left: 0, ..leecher(port) };
    (1..=5).for_each(|port| _ = client.announce(&seeder(port)));
    client.announce(&leecher(6));
    assert_eq!(client.announce(&seeder(7)).peers, [local(6)]);
    assert_eq!(client.announce(&leecher(8)).peers.len(), 7);
}

#[test]
fn trap_27_the_interval_varies_by_at_most_a_tenth_within_what_clients_accept() {
    let node = Node::start(settings());
    let client = node.v4();
    let intervals: HashSet<u32> = (0..200).map(|_| client.announce(&leecher(1)).interval).collect();
    assert!(intervals.len() > 20, "it does not vary");
    assert!(intervals.iter().all(|interval| (1620..=1980).contains(interval) && (300..=10_800).contains(interval)));
}

#[test]
fn trap_08_a_mapped_address_behind_a_proxy_is_an_ipv4_peer() {
    let mut settings = settings();
    settings.announce.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
    let node = Node::start(settings);
    let announce = |client: &str, port: u16| {
        let target = http::announce_target(&HASH, port, "");
        http::get_with(node.get().addrs().http[0], &target, &format!("x-forwarded-for: {client}\r\n"))
    };
    announce("::ffff:198.51.100.7", 0x1234);
    let reply = announce("198.51.100.8", 1);
    assert!(reply.contains(b"5:peers6:\xc6\x33\x64\x07\x12\x34"), "{}", reply.body.escape_ascii());
}
