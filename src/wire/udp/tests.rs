use std::net::SocketAddr;

use proptest::prelude::*;

use super::*;
use crate::swarm::{Counts, Event, Family, InfoHash, PeerAddr};

const ID: ConnectionId = ConnectionId(0x0102_0304_0506_0708);
const TRANSACTION: TransactionId = TransactionId(0x0a0b_0c0d);
const PEER_ID: &[u8; 20] = b"-TR4060-0123456789ab";
const COUNTS: Counts = Counts { seeders: 3, leechers: 5, partial_seeds: 2, completed: 7 };

const ANNOUNCE: Announce<'_> = Announce {
    connection_id: ID,
    transaction_id: TRANSACTION,
    info_hash: InfoHash(*b"aaaaaaaaaaaaaaaaaaaa"),
    event: Event::Started,
    left: 1 << 20,
    key: 0xdead_beef,
    num_want: -1,
    port: 6881,
    options: Options::new(b""),
};

fn encoded(announce: &Announce<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    encode_announce(&mut out, announce, PEER_ID);
    out
}

fn written(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    write(&mut out);
    out
}

/// A scrape request with this body.
fn scrape(body: &[u8]) -> Vec<u8> {
    [&b"\x01\x02\x03\x04\x05\x06\x07\x08\0\0\0\x02\x0a\x0b\x0c\x0d"[..], body].concat()
}

fn refused(reason: Malformed) -> Result<Request<'static>, ParseError> {
    Err(ParseError::Sendable { connection_id: ID, transaction_id: TRANSACTION, reason })
}

#[test]
fn golden_connect() {
    let request = b"\0\0\x04\x17\x27\x10\x19\x80\0\0\0\0\x0a\x0b\x0c\x0d";
    assert_eq!(written(|out| encode_connect(out, TRANSACTION)), request);
    assert_eq!(parse_request(request), Ok(Request::Connect { transaction_id: TRANSACTION }));

    let reply = b"\0\0\0\0\x0a\x0b\x0c\x0d\x01\x02\x03\x04\x05\x06\x07\x08";
    assert_eq!(written(|out| write_connect(out, TRANSACTION, ID)), reply);
    let response = Response::Connect { transaction_id: TRANSACTION, connection_id: ID };
    assert_eq!(parse_response(reply, Family::V4), Ok(response));
}

#[test]
fn golden_announce() {
    let request = [
        &b"\x01\x02\x03\x04\x05\x06\x07\x08"[..], // connection id
        b"\0\0\0\x01",                            // action
        b"\x0a\x0b\x0c\x0d",                      // transaction id
        b"aaaaaaaaaaaaaaaaaaaa",                  // info hash
        PEER_ID,                                  // peer id
        b"\0\0\0\0\0\0\0\0",                      // downloaded
        b"\0\0\0\0\0\x10\0\0",                    // left
        b"\0\0\0\0\0\0\0\0",                      // uploaded
        b"\0\0\0\x02",                            // event: started
        b"\0\0\0\0",                              // IP address
        b"\xde\xad\xbe\xef",                      // key
        b"\xff\xff\xff\xff",                      // num_want
        b"\x1a\xe1",                              // port
    ]
    .concat();
    assert_eq!(request.len(), ANNOUNCE_REQUEST_LEN);
    assert_eq!(encoded(&ANNOUNCE), request);
    assert_eq!(parse_request(&request), Ok(Request::Announce(ANNOUNCE)));

    let mut reply = written(|out| write_announce(out, TRANSACTION, 1800, &COUNTS));
    assert_eq!(reply, b"\0\0\0\x01\x0a\x0b\x0c\x0d\0\0\x07\x08\0\0\0\x05\0\0\0\x03");
    reply.extend_from_slice(b"\xc0\x00\x02\x01\x1a\xe1\x7f\x00\x00\x01\x00\x50");
    let Ok(Response::Announce { interval: 1800, leechers: 5, seeders: 3, peers, .. }) =
        parse_response(&reply, Family::V4)
    else {
        panic!("no announce reply")
    };
    let peers: Vec<SocketAddr> = peers.iter().map(SocketAddr::from).collect();
    assert_eq!(peers, ["192.0.2.1:6881".parse().unwrap(), "127.0.0.1:80".parse().unwrap()]);
}

#[test]
fn golden_scrape() {
    let hashes = [*b"aaaaaaaaaaaaaaaaaaaa", *b"bbbbbbbbbbbbbbbbbbbb"];
    let request = written(|out| encode_scrape(out, ID, TRANSACTION, &hashes));
    assert_eq!(request, scrape(b"aaaaaaaaaaaaaaaaaaaabbbbbbbbbbbbbbbbbbbb"));

    let reply = written(|out| {
        write_scrape(out, TRANSACTION);
        write_scrape_entry(out, &COUNTS);
    });
    assert_eq!(reply, b"\0\0\0\x02\x0a\x0b\x0c\x0d\0\0\0\x03\0\0\0\x07\0\0\0\x05");
    let Ok(Response::Scrape { entries, .. }) = parse_response(&reply, Family::V6) else { panic!("no scrape reply") };
    assert_eq!(entries.iter().collect::<Vec<_>>(), [Counts { partial_seeds: 0, ..COUNTS }]);
}

#[test]
fn golden_error() {
    let reply = written(|out| write_error(out, TRANSACTION, "no hash", 1232));
    assert_eq!(reply, b"\0\0\0\x03\x0a\x0b\x0c\x0dno hash");
    let response = Response::Error { transaction_id: TRANSACTION, message: b"no hash" };
    assert_eq!(parse_response(&reply, Family::V4), Ok(response));
}

#[test]
fn trap_08_the_family_of_the_packet_decides_the_stride() {
    let reply = |peers: &[u8]| {
        let mut out = written(|out| write_announce(out, TRANSACTION, 1800, &COUNTS));
        out.extend_from_slice(peers);
        out
    };
    let count = |reply: &[u8], family| match parse_response(reply, family) {
        Ok(Response::Announce { peers, .. }) => Some(peers.len()),
        _ => None,
    };
    assert_eq!(count(&reply(&[1; 18]), Family::V4), Some(3));
    assert_eq!(count(&reply(&[1; 18]), Family::V6), Some(1));
    assert_eq!(count(&reply(&[1; 12]), Family::V6), None);
    assert_eq!(count(&reply(&[1; 7]), Family::V4), None);
}

#[test]
fn trap_13_port_zero_only_on_stopped() {
    for event in [Event::None, Event::Started, Event::Completed] {
        let request = encoded(&Announce { port: 0, event, ..ANNOUNCE });
        assert_eq!(parse_request(&request), refused(Malformed::PortZero));
    }
    let stopped = Announce { port: 0, event: Event::Stopped, ..ANNOUNCE };
    assert_eq!(parse_request(&encoded(&stopped)), Ok(Request::Announce(stopped)));
}

#[test]
fn trap_14_num_want_keeps_its_sign() {
    for num_want in [i32::MIN, -1, 0, 1, i32::MAX] {
        let announce = Announce { num_want, ..ANNOUNCE };
        assert_eq!(parse_request(&encoded(&announce)), Ok(Request::Announce(announce)));
    }
}

#[test]
fn trap_15_replies_fit_the_path_mtu() {
    assert_eq!((max_peers(Family::V4, 1232), max_peers(Family::V6, 1232)), (202, 67));
    assert_eq!((max_peers(Family::V4, 25), max_peers(Family::V6, 0)), (0, 0));
    assert_eq!((max_scrape(1232), max_scrape(19), max_scrape(0)), (102, 0, 0));
}

#[test]
fn trap_16_scrape_takes_the_whole_hashes() {
    for extra in 0..20 {
        let request = scrape(&vec![b'a'; 40 + extra]);
        let info_hashes: &[_] = &[[b'a'; 20]; 2];
        let expected = Request::Scrape { connection_id: ID, transaction_id: TRANSACTION, info_hashes };
        assert_eq!(parse_request(&request), Ok(expected), "{extra} bytes left over");
    }
    for len in 0..20 {
        assert_eq!(parse_request(&scrape(&vec![b'a'; len])), refused(Malformed::NoInfoHash), "{len} bytes");
    }
}

#[test]
fn trap_17_scrape_keeps_order_and_duplicates() {
    let hashes = [[2; 20], [1; 20], [2; 20], [2; 20]];
    let request = written(|out| encode_scrape(out, ID, TRANSACTION, &hashes));
    let Ok(Request::Scrape { info_hashes, .. }) = parse_request(&request) else { panic!("no scrape") };
    assert_eq!(info_hashes, hashes);

    let counts = [9, 1, 9, 4].map(|seeders| Counts { seeders, ..Counts::default() });
    let reply = written(|out| {
        write_scrape(out, TRANSACTION);
        counts.iter().for_each(|counts| write_scrape_entry(out, counts));
    });
    let Ok(Response::Scrape { entries, .. }) = parse_response(&reply, Family::V4) else { panic!("no scrape reply") };
    assert_eq!(entries.iter().collect::<Vec<_>>(), counts);
}

#[test]
fn trap_18_bytes_after_an_announce_are_accepted() {
    for options in [&b"\x02\x09/announce"[..], b"\x02\xff", b"\x00", b"\xff\xff\xff", &[0; 500]] {
        let announce = Announce { options: Options::new(options), ..ANNOUNCE };
        assert_eq!(parse_request(&encoded(&announce)), Ok(Request::Announce(announce)));
    }
}

#[test]
fn trap_19_unknown_events_are_no_event() {
    let mut request = encoded(&ANNOUNCE);
    for event in [4u32, 5, 256, 0x0100_0000, u32::MAX] {
        request[80..84].copy_from_slice(&event.to_be_bytes());
        assert_eq!(parse_request(&request), Ok(Request::Announce(Announce { event: Event::None, ..ANNOUNCE })));
    }
}

#[test]
fn trap_20_unknown_left_is_a_leecher() {
    for (left, seeder) in [(0, true), (1, false), (-1, false), (i64::MAX, false), (i64::MIN, false)] {
        let request = encoded(&Announce { left, ..ANNOUNCE });
        let Ok(Request::Announce(announce)) = parse_request(&request) else { panic!("no announce") };
        assert_eq!(announce.is_seeder(), seeder, "{left}");
    }
}

#[test]
fn trap_21_connect_needs_the_magic_and_16_bytes() {
    let request = written(|out| encode_connect(out, TRANSACTION));
    for len in 0..16 {
        assert_eq!(parse_request(&request[..len]), Err(ParseError::Unsendable(Malformed::TooShort)));
    }
    for byte in 0..8 {
        let mut request = request.clone();
        request[byte] ^= 1;
        assert_eq!(parse_request(&request), Err(ParseError::Unsendable(Malformed::NoMagic)));
    }
    let longer = [&request[..], &[0; 100]].concat();
    assert_eq!(parse_request(&longer), Ok(Request::Connect { transaction_id: TRANSACTION }));
}

#[test]
fn trap_21_errors_never_amplify() {
    for limit in [8, 9, 16, 98] {
        let reply = written(|out| write_error(out, TRANSACTION, "connection id expired: connect again", limit));
        assert!(reply.len() <= limit);
    }
}

#[test]
fn replies_of_trackers_are_never_answered() {
    let error = written(|out| write_error(out, TRANSACTION, "reflected to another tracker", 98));
    assert!(matches!(parse_request(&error), Err(ParseError::Unsendable(_))));
    for action in [3, 4, u32::MAX] {
        let mut request = scrape(&[0; 40]);
        request[8..12].copy_from_slice(&action.to_be_bytes());
        assert_eq!(parse_request(&request), Err(ParseError::Unsendable(Malformed::UnknownAction)));
    }
}

#[test]
fn counts_never_look_negative() {
    let counts = Counts { seeders: u32::MAX, leechers: 1 << 31, partial_seeds: 0, completed: i32::MAX as u32 };
    let reply = written(|out| {
        write_scrape(out, TRANSACTION);
        write_scrape_entry(out, &counts);
    });
    assert_eq!(reply[8..], [0x7f, 0xff, 0xff, 0xff].repeat(3));
}

fn event() -> impl Strategy<Value = Event> {
    prop::sample::select(vec![Event::None, Event::Started, Event::Completed, Event::Stopped])
}

proptest! {
    #[test]
    fn announces_round_trip(
        ids: (u64, u32), hash: [u8; 20], event in event(), left: i64, key: u32, num_want: i32, port in 1u16..,
        options: Vec<u8>,
    ) {
        let announce = Announce {
            connection_id: ConnectionId(ids.0), transaction_id: TransactionId(ids.1), info_hash: InfoHash(hash),
            event, left, key, num_want, port, options: Options::new(&options),
        };
        let request = encoded(&announce);
        prop_assert_eq!(parse_request(&request), Ok(Request::Announce(announce)));
    }

    #[test]
    fn an_announce_cut_short_is_refused(len in 0..ANNOUNCE_REQUEST_LEN) {
        let request = encoded(&ANNOUNCE);
        let error = parse_request(&request[..len]).unwrap_err();
        match len {
            0..17 => prop_assert_eq!(error, ParseError::Unsendable(Malformed::TooShort)),
            _ => prop_assert_eq!(Err(error), refused(Malformed::TooShort)),
        }
    }

    #[test]
    fn no_request_panics_and_no_error_is_longer(
        mut datagram in prop::collection::vec(any::<u8>(), 0..200), action in 0u8..5,
    ) {
        if let Some(field) = datagram.get_mut(8..12) {
            field.copy_from_slice(&[0, 0, 0, action]);
        }
        match parse_request(&datagram) {
            Ok(Request::Announce(announce)) => prop_assert!(announce.options.url_data().flatten().count() < 200),
            Err(ParseError::Sendable { transaction_id, reason, .. }) => {
                let reply = written(|out| write_error(out, transaction_id, reason.message(), usize::MAX));
                prop_assert!(reply.len() <= datagram.len());
            }
            Ok(_) | Err(ParseError::Unsendable(_)) => {}
        }
    }

    #[test]
    fn announce_replies_round_trip(v6: bool, peers in prop::collection::vec(any::<([u8; 16], u16)>(), 0..70), cut in 1usize..6) {
        let family = if v6 { Family::V6 } else { Family::V4 };
        let mut reply = written(|out| write_announce(out, TRANSACTION, 1800, &COUNTS));
        let mut expected = Vec::new();
        for (ip, port) in peers {
            let (ip, octets): (std::net::IpAddr, _) = match v6 {
                true => (ip.into(), &ip[..]),
                false => ([ip[0], ip[1], ip[2], ip[3]].into(), &ip[..4]),
            };
            reply.extend_from_slice(octets);
            reply.extend_from_slice(&port.to_be_bytes());
            expected.push(PeerAddr::new(ip, port));
        }
        let Ok(Response::Announce { peers, .. }) = parse_response(&reply, family) else { panic!("no announce reply") };
        prop_assert_eq!(peers.iter().collect::<Vec<_>>(), expected);
        prop_assert!(parse_response(&reply[..reply.len() - cut], family).is_err());
    }

    #[test]
    fn no_response_panics(mut datagram: Vec<u8>, action in 0u8..5) {
        if let Some(field) = datagram.get_mut(..4) {
            field.copy_from_slice(&[0, 0, 0, action]);
        }
        for family in [Family::V4, Family::V6] {
            match parse_response(&datagram, family) {
                Ok(Response::Announce { peers, .. }) => prop_assert_eq!(peers.iter().count(), peers.len()),
                Ok(Response::Scrape { entries, .. }) => prop_assert_eq!(entries.iter().count(), entries.len()),
                Ok(Response::Connect { .. } | Response::Error { .. }) | Err(_) => {}
            }
        }
    }
}
