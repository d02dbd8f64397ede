//! Announces and scrapes.

use std::sync::Arc;

use tidings::frontend::access_list::AccessList;
use tidings::frontend::http::{Action, Outcome};
use tidings::swarm::{Counts, InfoHash};
use tidings::wire::bencode;

use super::harness::{Client, HASH, Reply, Tracker, context, options};

fn announce(client: &mut Client, rest: &str) -> Reply {
    client.get(&format!("/announce?info_hash={HASH}&peer_id=-TR4060-0123456789ab&left=1&{rest}"))
}

#[test]
fn two_peers_find_each_other() {
    let tracker = Tracker::new();
    let mut client = tracker.connect();
    let first = announce(&mut client, "port=6881&event=started");
    assert_eq!((first.status, first.header("content-type")), (200, Some("text/plain")));
    assert_eq!(first.bytes("peers"), b"");
    let second = announce(&mut client, "port=6882");
    assert_eq!(second.bytes("peers"), b"\x7f\x00\x00\x01\x1a\xe1");
    assert_eq!((second.int("incomplete"), second.int("complete")), (2, 0));
    assert_eq!((second.int("interval"), second.int("min interval")), (1800, 900));
    assert_eq!(second.bytes("external ip"), [127, 0, 0, 1], "BEP 24");
    assert_eq!(tracker.context.metrics.requests(Action::Announce, Outcome::Ok), 2);
}

#[test]
fn ipv6_peers_are_in_peers6() {
    let tracker = Tracker::at("[::1]:0", context(options()));
    let mut client = tracker.connect();
    announce(&mut client, "port=6881");
    let reply = announce(&mut client, "port=6882");
    assert_eq!(reply.bytes("peers"), b"");
    assert_eq!(reply.bytes("peers6"), b"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\x1a\xe1");
    assert_eq!(reply.bytes("external ip"), b"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01");
}

#[test]
fn trap_09_the_ip_parameter_is_ignored() {
    let tracker = Tracker::new();
    let mut client = tracker.connect();
    announce(&mut client, "port=6881&ip=198.51.100.1");
    assert_eq!(announce(&mut client, "port=6882").bytes("peers"), b"\x7f\x00\x00\x01\x1a\xe1");
}

fn forwarded(client: &mut Client, header: &str, port: u16) -> Reply {
    client.send(format!("GET /announce?info_hash={HASH}&port={port}&left=1 HTTP/1.1\r\nhost: a\r\n{header}\r\n"));
    client.reply()
}

#[test]
fn trap_09_the_right_most_forwarded_address_is_the_client() {
    let mut options = options();
    options.proxies.trusted = vec!["127.0.0.0/8".parse().unwrap()];
    let tracker = Tracker::with(context(options));
    let mut client = tracker.connect();
    let reply = forwarded(&mut client, "X-Forwarded-For: 203.0.113.9, 198.51.100.1, 127.0.0.9\r\n", 6881);
    assert_eq!(reply.bytes("external ip"), [198, 51, 100, 1]);
    let reply = forwarded(&mut client, "x-forwarded-for: 198.51.100.2\r\n", 6881);
    assert_eq!(reply.bytes("peers"), [198, 51, 100, 1, 0x1a, 0xe1]);
}

#[test]
fn trap_09_a_missing_or_garbled_forwarded_header_is_a_failure() {
    let mut options = options();
    options.proxies.trusted = vec!["127.0.0.1/32".parse().unwrap()];
    let tracker = Tracker::with(context(options));
    let mut client = tracker.connect();
    for header in ["", "X-Forwarded-For:\r\n", "X-Forwarded-For: unknown\r\n", "Forwarded: for=198.51.100.1\r\n"] {
        assert!(forwarded(&mut client, header, 6881).failure().contains("proxy"), "{header}");
    }
    assert_eq!(tracker.context.metrics.requests(Action::Announce, Outcome::BadProxy), 4);
}

#[test]
fn trap_09_a_stranger_cannot_forward() {
    let tracker = Tracker::new();
    let reply = forwarded(&mut tracker.connect(), "X-Forwarded-For: 198.51.100.1\r\n", 6881);
    assert_eq!(reply.bytes("external ip"), [127, 0, 0, 1]);
}

#[test]
fn trap_10_a_peer_beside_the_tracker_is_returned_with_the_external_address() {
    let mut options = options();
    options.external.ipv4 = Some([203, 0, 113, 7].into());
    let tracker = Tracker::with(context(options));
    let mut client = tracker.connect();
    assert_eq!(announce(&mut client, "port=6881").bytes("external ip"), [203, 0, 113, 7]);
    assert_eq!(announce(&mut client, "port=6882").bytes("peers"), [203, 0, 113, 7, 0x1a, 0xe1]);
}

#[test]
fn trap_14_numwant_is_exact_and_capped() {
    let mut options = options();
    (options.max_peers, options.default_peers) = (7, 4);
    let tracker = Tracker::with(context(options));
    let mut client = tracker.connect();
    for port in 1..20 {
        announce(&mut client, &format!("port={port}"));
    }
    for (numwant, peers) in [("", 4), ("&numwant=-1", 4), ("&numwant=0", 0), ("&numwant=3", 3), ("&numwant=70000", 7)] {
        assert_eq!(announce(&mut client, &format!("port=99{numwant}")).bytes("peers").len(), peers * 6, "{numwant}");
    }
    assert_eq!(announce(&mut client, "port=99&event=stopped&numwant=9").bytes("peers"), b"");
}

#[test]
fn a_client_that_stops_with_port_0_is_answered_and_leaves_nothing() {
    let tracker = Tracker::new();
    let mut client = tracker.connect();
    announce(&mut client, "port=6881");
    let reply = announce(&mut client, "port=0&event=stopped&numwant=9");
    assert_eq!((reply.bytes("peers"), reply.int("incomplete")), (vec![], 1));
    assert!(announce(&mut client, "port=0").failure().contains("port"));
}

#[test]
fn trap_26_paused_is_no_failure() {
    assert_eq!(announce(&mut Tracker::new().connect(), "port=6881&event=paused").int("interval"), 1800);
}

#[test]
fn trap_27_the_interval_varies_by_a_tenth() {
    for (random, interval) in [((|| 0) as fn() -> u32, 1620), (|| u32::MAX, 1980), (|| 1 << 31, 1800)] {
        let mut context = context(options());
        context.random = random;
        let tracker = Tracker::with(context);
        assert_eq!(announce(&mut tracker.connect(), "port=6881").int("interval"), interval);
    }
}

#[test]
fn trap_28_failures_have_status_200_and_a_reason() {
    let tracker = Tracker::new();
    for (target, reason) in [
        ("/announce", "info_hash"),
        ("/announce?info_hash=short&port=1", "info_hash"),
        (&format!("/announce?info_hash={HASH}"), "port"),
        ("/scrape?info_hash=short", "info_hash"),
        ("/scrape", "single"),
        ("/0123456789abcdef/announce?info_hash=x", "/announce"),
        ("/announce.php", "/announce"),
        (&format!("/stats?info_hash={HASH}&port=1"), "/announce"),
        (&format!("/?info_hash={HASH}&port=1"), "/announce"),
    ] {
        let failure = tracker.get(target).failure();
        assert!(failure.contains(reason), "{target}: {failure}");
    }
}

#[test]
fn trap_28_an_overloaded_tracker_says_when_to_come_back() {
    let tracker = Tracker::without_owners();
    let mut client = tracker.connect();
    let reply = announce(&mut client, "port=6881");
    reply.failure();
    assert_eq!(reply.int("retry in"), 5, "BEP 31, in minutes");
    client.get(&format!("/scrape?info_hash={HASH}")).failure();
    assert_eq!(tracker.context.metrics.requests(Action::Announce, Outcome::Unavailable), 1);
    assert_eq!(tracker.context.metrics.requests(Action::Scrape, Outcome::Unavailable), 1);
}

#[test]
fn trap_29_compact_unless_asked_otherwise() {
    let tracker = Tracker::new();
    let mut client = tracker.connect();
    announce(&mut client, "port=6881");
    let dictionaries = announce(&mut client, "port=6882&compact=0");
    assert!(dictionaries.body.ends_with(b"5:peersld2:ip9:127.0.0.14:porti6881eeee"));
    assert_eq!(announce(&mut client, "port=6882&compact=1").bytes("peers").len(), 6);
}

#[test]
fn trap_30_info_hash_is_raw_bytes_in_any_encoding() {
    let tracker = Tracker::new();
    let mut client = tracker.connect();
    for (port, encoded) in (1..).zip(["%124Vx%9a%bc%de%f1%23Eg%89%ab%cd%ef%124Vx%9a", HASH]) {
        client.get(&format!("/announce?info_hash={encoded}&port={port}&left=0"));
    }
    // Unencoded, with bytes that no URI may contain.
    client.send(b"GET /announce?info_hash=\x124Vx\x9a\xbc\xde\xf1#Eg\x89\xab\xcd\xef\x124Vx\x9a&port=3&left=0 HTTP/1.1\r\nhost: a\r\n\r\n");
    assert_eq!(client.reply().int("complete"), 3);
}

#[test]
fn scrapes_count_one_or_many_swarms() {
    let tracker = Tracker::new();
    let mut client = tracker.connect();
    client.get(&format!("/announce?info_hash={HASH}&port=1&left=0"));
    let other = "a".repeat(20);
    let reply = client.get(&format!("/scrape?info_hash={other}&info_hash={HASH}&info_hash={other}"));
    let parsed = bencode::parse(&reply.body).unwrap();
    let files = parsed.get("files").unwrap();
    let hash: InfoHash = "123456789abcdef123456789abcdef123456789a".parse().unwrap();
    assert_eq!(files.get(hash.0).unwrap().get("complete").unwrap().as_int(), Some(1));
    assert_eq!(files.get(&other).unwrap().get("complete").unwrap().as_int(), Some(0));
}

#[test]
fn the_access_list_changes_without_a_restart() {
    let tracker = Tracker::new();
    let mut client = tracker.connect();
    announce(&mut client, "port=6881").int("interval");
    tracker.context.access_list.store(Arc::new(AccessList::Allow(Default::default())));
    assert!(announce(&mut client, "port=6881").failure().contains("does not serve"));
    assert_eq!(client.get(&format!("/scrape?info_hash={HASH}")).body, b"d5:filesdee");
    tracker.context.access_list.store(Arc::new(AccessList::Off));
    announce(&mut client, "port=6881").int("interval");
    assert_eq!(tracker.context.metrics.requests(Action::Announce, Outcome::Denied), 1);
}

#[test]
fn a_full_scrape_is_streamed_if_it_is_on() {
    let mut context = context(options());
    context.full_scrape = Some(Box::new(|_family| {
        let (sender, receiver) = tokio::sync::mpsc::channel(1);
        tokio::spawn(async move {
            for batch in 0..100_u8 {
                let hashes = (0..100_u8).map(|n| {
                    let mut hash = InfoHash([batch; 20]);
                    hash.0[19] = n;
                    (hash, Counts { seeders: n.into(), ..Counts::default() })
                });
                sender.send(Ok(hashes.collect())).await.unwrap();
            }
        });
        receiver
    }));
    let tracker = Tracker::with(context);
    let mut client = tracker.connect();
    client.send("GET /scrape HTTP/1.0\r\n\r\n");
    let raw = client.rest();
    let body = raw.windows(4).position(|bytes| bytes == b"\r\n\r\n").unwrap() + 4;
    let parsed = bencode::parse(&raw[body..]).unwrap();
    let bencode::Value::Dict(files) = parsed.get("files").unwrap() else { panic!() };
    assert_eq!(files.len(), 10_000);
}

#[test]
fn a_full_scrape_that_breaks_off_does_not_look_whole() {
    let mut context = context(options());
    context.full_scrape = Some(Box::new(|_family| {
        let (sender, receiver) = tokio::sync::mpsc::channel(1);
        tokio::spawn(async move {
            sender.send(Ok(vec![(InfoHash([1; 20]), Counts::default())])).await.unwrap();
            sender.send(Err(tidings::router::Unavailable)).await.unwrap();
        });
        receiver
    }));
    let tracker = Tracker::with(context);
    let mut client = tracker.connect();
    client.send("GET /scrape HTTP/1.1\r\nhost: x\r\n\r\n");
    let raw = client.rest();
    assert!(raw.starts_with(b"HTTP/1.1 200"));
    assert!(!raw.ends_with(b"0\r\n\r\n"), "the last chunk of a whole body");
}
