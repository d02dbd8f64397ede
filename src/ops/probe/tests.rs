use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};
use tokio::time::timeout;

use super::*;
use crate::wire::udp::ConnectionId;

/// A UDP tracker that answers each datagram with what `answer` makes of it.
async fn tracker(answer: impl Fn(&[u8]) -> Vec<u8> + Send + 'static) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let addr = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut buffer = [0; 2048];
        loop {
            let (len, from) = socket.recv_from(&mut buffer).await.unwrap();
            let reply = answer(&buffer[..len]);
            if !reply.is_empty() {
                socket.send_to(&reply, from).await.unwrap();
            }
        }
    });
    addr
}

/// What a good tracker answers, with `interval` and `extra` bytes behind an announce reply.
fn good(request: &[u8], interval: u32, extra: usize) -> Vec<u8> {
    let mut out = Vec::new();
    match udp::parse_request(request).unwrap() {
        udp::Request::Connect { transaction_id } => udp::write_connect(&mut out, transaction_id, ConnectionId(7)),
        udp::Request::Announce(announce) => {
            assert_eq!((announce.connection_id, announce.info_hash), (ConnectionId(7), INFO_HASH));
            udp::write_announce(&mut out, announce.transaction_id, interval, &Default::default());
            out.resize(out.len() + extra, 1);
        }
        udp::Request::Scrape { .. } => panic!("no probe scrapes"),
    }
    out
}

#[tokio::test]
async fn good_udp_tracker_passes_and_bad_ones_fail() {
    let probed = |extra, interval| async move { udp(tracker(move |data| good(data, interval, extra)).await).await };
    assert_eq!(probed(0, 1800).await.unwrap(), Answer::Announced);
    assert_eq!(probed(6, 1800).await.unwrap(), Answer::Announced);
    assert!(matches!(probed(5, 1800).await, Err(ProbeError::Udp(_))), "a peer that is not whole");
    assert!(matches!(probed(0, 0).await, Err(ProbeError::UdpKind)), "no interval");
    let garbage = tracker(|_| vec![0xff; 16]).await;
    assert!(matches!(udp(garbage).await, Err(ProbeError::Udp(_))));
    let refusing = tracker(|data| {
        let mut out = Vec::new();
        udp::write_error(&mut out, TransactionId(u32::from_be_bytes(data[12..16].try_into().unwrap())), "no", 16);
        out
    });
    assert_eq!(udp(refusing.await).await.unwrap(), Answer::Refused("no".into()));
}

#[tokio::test]
async fn a_lost_datagram_is_sent_again() {
    let seen = std::sync::atomic::AtomicUsize::new(0);
    let lossy = tracker(move |data| match seen.fetch_add(1, std::sync::atomic::Ordering::Relaxed) {
        0 | 2 => Vec::new(),
        _ => good(data, 1800, 0),
    });
    assert_eq!(udp(lossy.await).await.unwrap(), Answer::Announced);
}

#[tokio::test]
async fn a_silent_udp_tracker_never_answers() {
    let silent = tracker(|_| Vec::new()).await;
    assert!(timeout(2 * RESEND.after, udp(silent)).await.is_err());
}

#[tokio::test]
async fn closed_udp_port_fails_at_once() {
    let addr = UdpSocket::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    assert!(matches!(udp(addr).await, Err(ProbeError::Udp(UdpError::Io(_)))));
}

/// The probe's answer to an HTTP tracker that sends `reply` to every request.
async fn http_answer(reply: &'static str) -> Result<Answer, ProbeError> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut buffer = [0; 4096];
        while stream.read(&mut buffer).await.is_ok_and(|len| len > 0) {
            stream.write_all(reply.as_bytes()).await.unwrap();
        }
    });
    http(addr, "X-Forwarded-For").await
}

#[tokio::test]
async fn good_http_tracker_passes_and_bad_ones_fail() {
    let good = "HTTP/1.1 200 OK\r\nContent-Length: 55\r\n\r\nd8:completei0e10:incompletei1e8:intervali900e5:peers0:e";
    assert_eq!(http_answer(good).await.unwrap(), Answer::Announced);
    let failure = "HTTP/1.1 200 OK\r\nContent-Length: 23\r\n\r\nd14:failure reason2:noe";
    assert_eq!(http_answer(failure).await.unwrap(), Answer::Refused("no".into()));
    for bad in [
        "HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nde",
        "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nspam",
        "tracker\r\n\r\n",
    ] {
        let answer = http_answer(bad).await;
        assert!(answer.is_err(), "{bad:?}: {answer:?}");
    }
}

#[tokio::test]
async fn a_silent_http_tracker_never_answers() {
    assert!(timeout(RESEND.after, http_answer("")).await.is_err());
}

#[test]
fn every_key_of_an_http_reply_is_checked() {
    let valid = b"d8:completei0e10:incompletei1e8:intervali900e5:peers6:aaaaaae";
    assert_eq!(check_reply(valid).unwrap(), Answer::Announced);
    let valid = b"d8:completei0e10:incompletei1e8:intervali900e6:peers618:aaaaaaaaaaaaaaaaaae";
    assert_eq!(check_reply(valid).unwrap(), Answer::Announced);
    for (bad, key) in [
        (&b"d8:completei0e10:incompletei1e8:intervali0e5:peers0:e"[..], "interval"),
        (b"d10:incompletei1e8:intervali900e5:peers0:e", "complete"),
        (b"d8:completei0e8:intervali900e5:peers0:e", "incomplete"),
        (b"d8:completei0e10:incompletei1e8:intervali900ee", "peers"),
    ] {
        assert!(matches!(check_reply(bad), Err(ProbeError::Key(found)) if found == key), "{}", bad.escape_ascii());
    }
    for bad in [&b"de"[..], b"d8:completei-1e10:incompletei1e8:intervali900e5:peers0:e"] {
        assert!(matches!(check_reply(bad), Err(ProbeError::Reply(_))), "{}", bad.escape_ascii());
    }
    assert!(check_reply(b"d5:peers0:").is_err());
}
