//! Frames as bytes.

use proptest::prelude::*;
use serde_bytes::ByteBuf;

use super::*;
use crate::swarm::Partition;
use crate::wire::peer::Refusal;

const LIMIT: usize = 1 << 20;

fn hello() -> Hello {
    Hello {
        cluster: "tracker".into(),
        node: "a".into(),
        region: "eu".into(),
        incarnation: 1_700_000_000_000,
        versions: [1, 2],
        partitions: 256,
        replicas: 2,
    }
}

/// These bytes are what every version has to understand.
#[test]
fn the_hello_has_its_golden_bytes() {
    let opening = Opening { hello: hello(), bulk: true, target: "b".into(), target_incarnation: 7 };
    let mut bytes = Vec::new();
    write_hello(&mut bytes, &opening, LIMIT).unwrap();
    let golden = [
        b"\x00\x00\x00\x8f\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00".as_slice(),
        b"\x84\xa5hello\x87\xa7cluster\xa7tracker\xa4node\xa1a\xa6region\xa2eu",
        b"\xabincarnation\xcf\x00\x00\x01\x8b\xcf\xe5\x68\x00\xa8versions\x92\x01\x02",
        b"\xaapartitions\xcd\x01\x00\xa8replicas\x02",
        b"\xa4bulk\xc3\xa6target\xa1b\xb2target_incarnation\x07",
    ]
    .concat();
    assert_eq!(bytes, golden, "{}", bytes.escape_ascii());
    let Ok(Parsed::Frame(Frame::Hello(body), used)) = parse(&bytes, LIMIT) else { panic!() };
    assert_eq!((decode(body), used), (Ok(opening), bytes.len()));
}

#[test]
fn pings_and_requests_have_their_golden_bytes() {
    let mut bytes = Vec::new();
    write_ping(&mut bytes, 0x0102);
    write_pong(&mut bytes, 3);
    write_request(&mut bytes, 4, 5, &Request::Announces(ByteBuf::from("xy")), &[], LIMIT).unwrap();
    write_reply(&mut bytes, 6, true, &Reply::Done, LIMIT).unwrap();
    let golden = [
        b"\0\0\0\x0a\x06\0\0\0\0\0\0\0\x01\x02".as_slice(),
        b"\0\0\0\x0a\x07\0\0\0\0\0\0\0\0\x03",
        b"\0\0\0\x21\x04\0\0\0\0\0\0\0\0\x04\0\0\0\0\0\0\0\x05\x81\xa9Announces\xc4\x02xy",
        b"\0\0\0\x0f\x05\x01\0\0\0\0\0\0\0\x06\xa4Done",
    ]
    .concat();
    assert_eq!(bytes, golden, "{}", bytes.escape_ascii());
}

/// A node that knows nothing of traces reads the same request: it looks neither at the flag nor behind the MessagePack.
#[test]
fn traces_follow_a_request_and_whoever_does_not_know_them_does_not_mind() {
    let contexts: Vec<_> = [b"0123456789abcdef01234567\x01", b"fedcba987654321076543210\x01"]
        .into_iter()
        .map(|bytes| TraceContext::from_bytes(bytes).unwrap())
        .collect();
    let traces = [(0, contexts[0]), (0x0102, contexts[1])];
    let request = Request::Announces(ByteBuf::from("xy"));
    let mut bytes = Vec::new();
    write_request(&mut bytes, 4, 5, &request, &traces, LIMIT).unwrap();
    let golden = [
        b"\0\0\0\x59\x04\x02\0\0\0\0\0\0\0\x04\0\0\0\0\0\0\0\x05\x81\xa9Announces\xc4\x02xy".as_slice(),
        b"\0\x000123456789abcdef01234567\x01\x01\x02fedcba987654321076543210\x01\0\x02",
    ]
    .concat();
    assert_eq!(bytes, golden, "{}", bytes.escape_ascii());
    let Ok(Parsed::Frame(Frame::Request { body, traces: read, .. }, _)) = parse(&bytes, LIMIT) else { panic!() };
    assert_eq!((decode::<Request>(body), super::traces(read)), (Ok(request.clone()), traces.to_vec()));

    // As it was read before there were traces.
    bytes[5] = 0;
    let Ok(Parsed::Frame(Frame::Request { body, traces: [], .. }, _)) = parse(&bytes, LIMIT) else { panic!() };
    assert!(body.ends_with(b"\0\x02"));
    assert_eq!(decode::<Request>(body), Ok(request));
}

#[test]
fn traces_that_are_none_do_no_harm() {
    let request = Request::Compare;
    let mut bytes = Vec::new();
    write_request(&mut bytes, 4, 5, &request, &[], LIMIT).unwrap();
    bytes[5] = 2;
    // The last two bytes of the request are no number of traces that would fit.
    assert_eq!(parse(&bytes, LIMIT), Err(FrameError::Body));
    assert_eq!(super::traces(&[0; 27 * 3 + 5]), vec![], "none is sampled");
}

/// A later version may add fields, to what opens a connection and to what follows.
#[test]
fn fields_that_are_not_known_are_skipped() {
    #[derive(Serialize)]
    struct Later {
        colour: &'static str,
        hello: Hello,
        bulk: bool,
        target: &'static str,
        target_incarnation: u64,
        nested: Vec<Vec<u8>>,
    }
    let later =
        Later { colour: "red", hello: hello(), bulk: false, target: "b", target_incarnation: 1, nested: vec![vec![1]] };
    let opening: Opening = decode(&rmp_serde::to_vec_named(&later).unwrap()).unwrap();
    assert_eq!((opening.hello, opening.target), (hello(), "b".to_owned()));
}

#[test]
fn what_is_too_long_is_neither_written_nor_read() {
    let mut bytes = vec![1, 2, 3];
    let request = Request::Announces(ByteBuf::from(vec![0; 100]));
    assert_eq!(write_request(&mut bytes, 1, 1, &request, &[], 100), Err(FrameError::TooLong(100)));
    assert_eq!(bytes, [1, 2, 3]);
    // The length alone is enough to know.
    assert_eq!(parse(&[0xff; 4], LIMIT), Err(FrameError::TooLong(LIMIT)));
    assert_eq!(parse(&[0, 0, 0, 9], LIMIT), Err(FrameError::TooShort));
    assert_eq!(parse(&[0, 0, 0], LIMIT), Ok(Parsed::Need(4)));
    assert_eq!(parse(&[0, 0, 1, 0], LIMIT), Ok(Parsed::Need(260)));
    // A list that says that it is longer than the frame, and arrays in arrays without end.
    assert_eq!(decode::<Reply>(b"\x81\xa6Counts\xdd\xff\xff\xff\xff"), Err(FrameError::Body));
    assert_eq!(decode::<Request>(b"\x81\xa9Announces\xc6\xff\xff\xff\xff"), Err(FrameError::Body));
    let deep = [b"\x84\xa4deep".as_slice(), &vec![0x91; 500_000]].concat();
    assert_eq!(decode::<Opening>(&deep), Err(FrameError::Body));
}

fn bytes() -> impl Strategy<Value = ByteBuf> {
    prop::collection::vec(any::<u8>(), 0..300).prop_map(ByteBuf::from)
}

fn request() -> impl Strategy<Value = Request> {
    prop_oneof![
        bytes().prop_map(Request::Announces),
        (any::<bool>(), bytes()).prop_map(|(v6, info_hashes)| Request::Scrape { v6, info_hashes }),
        (any::<bool>(), any::<u32>(), bytes()).prop_map(|(forward, waited, pieces)| Request::Deltas {
            forward,
            waited,
            pieces
        }),
        (any::<u16>(), any::<u64>(), any::<u64>()).prop_map(|(partition, from, to)| Request::Digest {
            partition: Partition(partition),
            from,
            to
        }),
        (any::<u16>(), any::<u64>(), bytes()).prop_map(|(partition, buckets, cursor)| Request::Fetch {
            partition: Partition(partition),
            buckets,
            cursor
        }),
    ]
}

fn reply() -> impl Strategy<Value = Reply> {
    let refusals = [Refusal::Incarnation, Refusal::NotHeld, Refusal::Overloaded, Refusal::Malformed];
    prop_oneof![
        bytes().prop_map(Reply::Announces),
        prop::collection::vec(any::<[u32; 4]>(), 0..9).prop_map(Reply::Counts),
        Just(Reply::Done),
        prop::collection::vec(any::<u64>(), 0..70).prop_map(Reply::Digest),
        (bytes(), bytes()).prop_map(|(pieces, next)| Reply::Chunk { pieces, next }),
        prop::sample::select(refusals.to_vec()).prop_map(Reply::Refused),
    ]
}

proptest! {
    #[test]
    fn messages_survive_their_frames(request in request(), reply in reply(), id: u64, incarnation: u64, last: bool) {
        let mut bytes = Vec::new();
        write_request(&mut bytes, id, incarnation, &request, &[], LIMIT).unwrap();
        write_reply(&mut bytes, id, last, &reply, LIMIT).unwrap();
        let Ok(Parsed::Frame(first, used)) = parse(&bytes, LIMIT) else { panic!() };
        let Frame::Request { id: read, incarnation: meant, body, traces: [] } = first else { panic!() };
        prop_assert_eq!((read, meant, decode(body)), (id, incarnation, Ok(request)));
        let Ok(Parsed::Frame(Frame::Reply { id: read, last: end, body }, rest)) = parse(&bytes[used..], LIMIT) else {
            panic!()
        };
        prop_assert_eq!((read, end, decode(body), used + rest), (id, last, Ok(reply), bytes.len()));
        // Cut anywhere, it is the beginning of a frame.
        for cut in 0..used {
            let Ok(Parsed::Need(need)) = parse(&bytes[..cut], LIMIT) else { panic!() };
            prop_assert!(need > cut && need <= used);
        }
    }

    #[test]
    fn no_bytes_are_too_much(input in prop::collection::vec(any::<u8>(), 0..200), kind in 0u8..9) {
        let _ = parse(&input, LIMIT);
        let framed = [&(input.len() as u32 + 10).to_be_bytes()[..], &[kind, 1, 0, 0, 0, 0, 0, 0, 0, 1], &input].concat();
        let _ = parse(&framed, LIMIT);
        let _ = (decode::<Opening>(&input), decode::<Welcome>(&input));
        let _ = (decode::<Request>(&input), decode::<Reply>(&input));
    }
}
