//! Responders whose answers are garbage, late, stale, or have wrong peers: the probe reports phase and reason of each.

use std::time::Duration;

use super::http_responder::{HttpResponder, response, response_with};
use super::probe;
use super::swarms::Received;
use super::udp_responder::UdpResponder;
use tidings::testkit::figures::Figures;

const PHASES: [&str; 5] = ["connect", "announce", "re-announce", "scrape", "stopped"];
/// Limits for answers that never come, and for those that come after [`LATE`].
const SILENT: &str = "--timeout 5s";
const SLOW: &str = "--slow 3s";
const LATE: Duration = Duration::from_secs(4);

/// Changes the answers of one phase.
fn at(
    phase: &'static str,
    change: impl Fn(&Received, Vec<u8>) -> Option<Vec<u8>> + Send + 'static,
) -> impl FnMut(&Received, Vec<u8>) -> Option<Vec<u8>> + Send + 'static {
    move |request, answer| if request.phase == phase { change(request, answer) } else { Some(answer) }
}

type Answer = Option<Vec<u8>>;

/// A UDP responder with this fault fails the probe in this phase and for this reason.
fn fails_udp(phase: &'static str, reason: &str, change: impl Fn(&Received, Vec<u8>) -> Answer + Send + 'static) {
    fails_udp_with("", phase, reason, change);
}

/// [`fails_udp`] with other limits.
fn fails_udp_with(
    limits: &str,
    phase: &'static str,
    reason: &str,
    change: impl Fn(&Received, Vec<u8>) -> Answer + Send + 'static,
) {
    let responder = UdpResponder::start(at(phase, change));
    probe(&format!("--json {limits} --target {}", responder.url())).assert_failed(phase, reason);
}

/// An HTTP responder with this fault fails the probe likewise; `change` makes the whole response.
fn fails_http(phase: &'static str, reason: &str, change: impl Fn(&Received, Vec<u8>) -> Answer + Send + 'static) {
    fails_http_with("", phase, reason, change);
}

/// [`fails_http`] with other limits.
fn fails_http_with(
    limits: &str,
    phase: &'static str,
    reason: &str,
    change: impl Fn(&Received, Vec<u8>) -> Answer + Send + 'static,
) {
    let responder = HttpResponder::start(move |request, body| match request.phase == phase {
        true => change(request, body),
        false => Some(response(&body)),
    });
    probe(&format!("--json {limits} --target {}", responder.url())).assert_failed(phase, reason);
}

/// A row for `tests/must_show`: the probe has found all of these faults.
fn found(what: &str) {
    Figures::default().row(&format!("responders: {what}"), "found", "phase and reason are named", true);
}

#[test]
fn responders_without_a_fault_pass() {
    let (udp, http) = (UdpResponder::correct(), HttpResponder::correct());
    probe(&format!("--json --target {} --target {} --independent", udp.url(), http.url())).assert_success();
    assert_eq!((udp.swarms.peers(), http.swarms.peers()), (0, 0), "all are stopped");
    Figures::default().row("responders: without a fault", "passes", "passes", true);
}

#[test]
fn garbage_is_found_at_every_phase() {
    for phase in PHASES {
        fails_udp(phase, "malformed", |_, answer| Some(vec![0xff; answer.len()]));
    }
    found("garbage at any phase");
}

#[test]
fn a_wrong_transaction_id_is_found_at_every_phase() {
    for phase in PHASES {
        fails_udp(phase, "transaction_id", |_, mut answer| {
            answer[4] ^= 0x80;
            Some(answer)
        });
    }
    found("a wrong transaction id at any phase");
}

#[test]
fn a_byte_too_few_or_too_many_is_found_at_every_phase() {
    for phase in PHASES {
        fails_udp(phase, "malformed", |_, mut answer| answer.pop().map(|_| answer));
        fails_udp(phase, "malformed", |_, answer| Some([&answer[..], b"!"].concat()));
    }
    found("a byte too few or too many at any phase");
}

#[test]
fn a_late_answer_is_found_at_every_phase() {
    for phase in PHASES {
        fails_udp_with(SLOW, phase, "late", |_, answer| {
            std::thread::sleep(LATE);
            Some(answer)
        });
    }
    found("late answers at any phase");
}

#[test]
fn no_answer_is_found_at_every_phase() {
    for phase in PHASES {
        fails_udp_with(SILENT, phase, "no_answer", |_, _| None);
    }
    found("no answer at any phase");
}

#[test]
fn another_kind_of_answer_and_a_refusal_are_distinguished() {
    for phase in PHASES {
        fails_udp(phase, "refused", |_, answer| Some([&[0, 0, 0, 3][..], &answer[4..8], b"go away"].concat()));
    }
    for phase in ["announce", "re-announce", "scrape", "stopped"] {
        fails_udp(phase, "wrong_kind", |_, answer| Some([&[0; 4][..], &answer[4..8], &[1; 8]].concat()));
    }
    found("refusals and other kinds of answers");
}

#[test]
fn wrong_peers_are_named() {
    // After the 20 bytes of the head come the peers.
    fails_udp("announce", "unexpected_peer", |_, answer| Some([&answer[..], &[10, 9, 8, 7, 1, 2]].concat()));
    fails_udp("re-announce", "unexpected_peer", |_, answer| Some([&answer[..], &[10, 9, 8, 7, 1, 2]].concat()));
    fails_udp("re-announce", "unexpected_peer", |_, answer| Some([&answer[..20], &[10, 9, 8, 7, 1, 2]].concat()));
    fails_udp("re-announce", "own_address", |request, answer| Some([&answer[..20], &request.me].concat()));
    fails_udp("re-announce", "own_address", |request, answer| Some([&answer[..], &request.me].concat()));
    fails_udp("announce", "own_address", |request, answer| Some([&answer[..20], &request.me].concat()));
    fails_udp("re-announce", "repeated_peer", |_, answer| Some([&answer[..], &answer[20..]].concat()));
    fails_udp("re-announce", "missing_peer", |_, answer| Some(answer[..20].to_vec()));
    fails_udp("re-announce", "wrong_address", |_, answer| {
        Some([&answer[..20], &[127, 0, 0, 9], &answer[24..]].concat())
    });
    found("wrong, missing, repeated or own peers");
}

#[test]
fn wrong_numbers_are_found() {
    let with = |at: usize, number: u32| {
        move |_: &Received, mut answer: Vec<u8>| {
            answer[at..at + 4].copy_from_slice(&number.to_be_bytes());
            Some(answer)
        }
    };
    fails_udp("announce", "interval", with(8, 0));
    fails_udp("announce", "interval", with(8, 10_801));
    fails_udp("re-announce", "counts", with(12, 7));
    fails_udp("re-announce", "counts", with(16, 0));
    fails_udp("scrape", "counts", with(8, 0));
    fails_udp("scrape", "counts", with(12, 1));
    fails_udp("scrape", "counts", with(16, 2));
    fails_udp("scrape", "malformed", |_, answer| Some([&answer[..], &[0; 12]].concat()));
    found("wrong counts and intervals");
}

#[test]
fn http_answers_are_checked_to_the_last_byte() {
    for phase in ["announce", "re-announce", "scrape", "stopped"] {
        fails_http(phase, "malformed", |_, _| Some(b"\xff\x00garbage\r\n\r\n".to_vec()));
        fails_http(phase, "malformed", |_, _| Some(response(b"<html>hello</html>")));
        fails_http(phase, "malformed", |_, body| Some(response(&[&body[..], b"\n"].concat())));
        fails_http(phase, "malformed", |_, body| Some([&response(&body)[..], b"x"].concat()));
        fails_http(phase, "malformed", |_, body| Some(response(&body[..body.len() - 1])));
        fails_http(phase, "malformed", |_, _| Some(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n".to_vec()));
        fails_http(phase, "refused", |_, _| Some(response(b"d14:failure reason7:go awaye")));
        fails_http_with(SILENT, phase, "no_answer", |_, _| None);
        fails_http_with(SLOW, phase, "late", |_, body| {
            std::thread::sleep(LATE);
            Some(response(&body))
        });
    }
    // Keys out of order, which lenient parsers accept.
    fails_http("announce", "malformed", |_, _| {
        Some(response(b"d8:intervali1800e8:completei1e10:incompletei0e5:peers0:e"))
    });
    found("broken HTTP and bencode");
}

#[test]
fn wrong_peers_are_found_by_http() {
    let with = |peers: Vec<u8>| {
        let head = format!("d8:completei1e10:incompletei1e8:intervali1800e5:peers{}:", peers.len());
        Some(response(&[head.as_bytes(), &peers, b"e"].concat()))
    };
    fails_http("re-announce", "unexpected_peer", move |_, _| with(vec![10, 9, 8, 7, 1, 2]));
    fails_http("re-announce", "own_address", move |request, _| with(request.me.clone()));
    fails_http("re-announce", "missing_peer", move |_, _| with(Vec::new()));
    fails_http("re-announce", "malformed", move |_, _| with(vec![0; 5]));
    fails_http("scrape", "counts", |_, _| Some(response(b"d5:filesdee")));
    found("wrong, missing or own peers by HTTP");
}

#[test]
fn a_stale_answer_fails_unless_it_is_allowed() {
    fn by_header(_: &Received, body: Vec<u8>) -> Option<Vec<u8>> {
        Some(response_with("X-Tracker-Stale: true\r\n", &body))
    }
    fn by_key(_: &Received, mut body: Vec<u8>) -> Option<Vec<u8>> {
        body.pop();
        Some(response(&[&body[..], b"13:tracker stalei1ee"].concat()))
    }
    for stale in [by_header, by_key] {
        for phase in ["announce", "re-announce", "stopped"] {
            fails_http(phase, "stale", stale);
        }
        let responder = HttpResponder::start(move |request, body| match request.phase {
            "scrape" => Some(response(&body)),
            _ => stale(request, body),
        });
        let allowed = probe(&format!("--json --allow-stale --target {}", responder.url()));
        allowed.assert_success();
        assert!(allowed.out.contains("may be out of date"), "it is reported nevertheless: {}", allowed.out);
    }
    found("stale answers");
}

#[test]
fn an_address_without_a_tracker_is_unreachable() {
    let addr = std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    probe(&format!("--json --target udp://{addr}")).assert_failed("connect", "unreachable");
    probe(&format!("--json --target http://{addr}")).assert_failed("connect", "unreachable");
    probe("--json --target udp://nowhere.invalid:1").assert_failed("resolve", "unreachable");
    probe("--json --target udp://127.0.0.1:1 -6").assert_failed("resolve", "unreachable");
    found("no tracker there");
}
