//! Whatever another node sends: no panic, and what is read and written again reads the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidings::wire::peer::{
    Frame, Opening, Parsed, Reply, Request, Welcome, decode, parse, traces, write_hello, write_ping, write_pong,
    write_refuse, write_reply, write_request, write_welcome,
};

const LIMIT: usize = 1 << 20;

fuzz_target!(|input: &[u8]| {
    let mut rest = input;
    while let Ok(Parsed::Frame(frame, used)) = parse(rest, LIMIT) {
        rest = &rest[used..];
        again(frame);
    }
});

/// Writes and reads once more what could be read.
fn again(frame: Frame<'_>) {
    let mut out = Vec::new();
    // Numbers may become longer when they are written, so more is allowed.
    let limit = 16 * LIMIT;
    let written = match frame {
        Frame::Hello(body) => decode::<Opening>(body).map(|opening| write_hello(&mut out, &opening, limit)),
        Frame::Welcome(body) => decode::<Welcome>(body).map(|welcome| write_welcome(&mut out, &welcome, limit)),
        Frame::Refuse(why) => Ok(write_refuse(&mut out, why, limit)),
        Frame::Request { id, incarnation, body, traces: list } => {
            let list = traces(list);
            decode::<Request>(body).map(|request| write_request(&mut out, id, incarnation, &request, &list, limit))
        }
        Frame::Reply { id, last, body } => {
            decode::<Reply>(body).map(|reply| write_reply(&mut out, id, last, &reply, limit))
        }
        Frame::Ping(id) => Ok(Ok(write_ping(&mut out, id))),
        Frame::Pong(id) => Ok(Ok(write_pong(&mut out, id))),
    };
    let Ok(written) = written else { return };
    written.expect("it fits");
    let Ok(Parsed::Frame(second, used)) = parse(&out, limit) else { panic!("not a frame") };
    assert_eq!(used, out.len());
    match (frame, second) {
        (Frame::Hello(one), Frame::Hello(two)) => assert_eq!(decode::<Opening>(one), decode(two)),
        (Frame::Welcome(one), Frame::Welcome(two)) => assert_eq!(decode::<Welcome>(one), decode(two)),
        (Frame::Request { body: one, .. }, Frame::Request { body: two, .. }) => {
            assert_eq!(decode::<Request>(one), decode(two));
        }
        (Frame::Reply { body: one, .. }, Frame::Reply { body: two, .. }) => {
            assert_eq!(decode::<Reply>(one), decode(two));
        }
        (one, two) => assert_eq!(one, two),
    }
}
