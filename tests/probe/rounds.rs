//! What a run leaves behind, its output, and its exit code.

use std::process::Stdio;
use std::sync::{Arc, Mutex};

use serde_json::Value;

use super::http_responder::{HttpResponder, response};
use super::swarms::{Received, Swarms};
use super::udp_responder::UdpResponder;
use super::{command, finished, probe};
use tidings::testkit::wait::wait_until;

#[test]
fn peers_are_stopped_after_a_failure() {
    let responder = UdpResponder::start(|request, answer| match request.phase {
        "re-announce" => Some(answer[..20].to_vec()),
        _ => Some(answer),
    });
    probe(&format!("--json --target {}", responder.url())).assert_failed("re-announce", "missing_peer");
    assert_eq!((responder.swarms.swarms(), responder.swarms.peers()), (1, 0));
}

#[test]
fn peers_are_stopped_after_a_signal() {
    for signal in ["-INT", "-TERM"] {
        let responder = UdpResponder::start(|request, answer| (request.phase != "scrape").then_some(answer));
        // The scrape is not answered, so that the signal comes in the middle of the run.
        let args = format!("--slow 20s --target {}", responder.url());
        let child = command(&args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        wait_until("two peers are announced", || responder.swarms.peers() == 2);
        let kill = std::process::Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
        assert!(kill.success());
        let ended = finished(child.wait_with_output().unwrap());
        assert_eq!(ended.code, Some(1), "{}", ended.err);
        assert!(ended.err.contains("ended by a signal"), "{}", ended.err);
        assert_eq!(responder.swarms.peers(), 0);
    }
}

#[test]
fn a_lost_datagram_is_no_failure() {
    // Every other datagram is lost, starting with the first.
    let mut lost = false;
    let responder = UdpResponder::start(move |_, answer| {
        lost = !lost;
        (!lost).then_some(answer)
    });
    probe(&format!("--json --slow 6s --target {}", responder.url())).assert_success();
}

#[test]
fn rounds_go_on_after_a_failure_and_the_exit_code_reports_it() {
    let mut scrapes = 0;
    let responder = UdpResponder::start(move |request, answer| {
        scrapes += u32::from(request.phase == "scrape");
        if request.phase == "scrape" && scrapes == 1 { Some(vec![0; 9]) } else { Some(answer) }
    });
    let probed = probe(&format!("--json --every 1s --count 2 --target {}", responder.url()));
    let rounds: Vec<Value> = probed.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(rounds.iter().map(|round| &round["ok"]).collect::<Vec<_>>(), [false, true]);
    assert_eq!(probed.code, Some(1));
    assert!(probed.err.contains("1 of 2 rounds failed") && probed.err.contains("scrape at udp://"), "{}", probed.err);
    assert_eq!(responder.swarms.swarms(), 2, "each round has a swarm of its own");

    let lines = probe(&format!("--every 1s --count 2 --target {}", responder.url()));
    lines.assert_success();
    assert_eq!(lines.out.lines().filter(|line| line.contains("Z ok ")).count(), 2, "{}", lines.out);
}

#[test]
fn a_health_check_prints_nothing_unless_it_fails() {
    let well = UdpResponder::correct();
    let probed = probe(&format!("--quiet --target {}", well.url()));
    probed.assert_success();
    assert_eq!(probed.out, "");

    let silent = UdpResponder::start(|_, _| None);
    let probed = probe(&format!("--quiet --timeout 100ms --target {}", silent.url()));
    assert_eq!((probed.code, probed.out.as_str()), (Some(1), ""));
    assert_eq!(
        probed.err,
        format!("error: connect at {}: no answer within 100 ms\n", silent.url()),
        "one line names phase and reason"
    );
}

#[test]
fn without_json_it_prints_a_table_and_a_sentence() {
    let well = UdpResponder::correct();
    let probed = probe(&format!("--target {}", well.url()));
    probed.assert_success();
    let lines: Vec<_> = probed.out.lines().collect();
    assert_eq!(lines.len(), 7, "{}", probed.out);
    assert!(lines[0].starts_with(&format!("{} at {}, sees this host as 127.0.0.1", well.url(), well.addr)));
    for (line, phase) in lines[1..].iter().zip(["connect", "announce", "re-announce", "scrape", "stopped"]) {
        assert!(line.starts_with(&format!("  {phase:<13}ok ")) && line.ends_with(" ms"), "{line}");
    }
    assert!(lines[6].starts_with(&format!("{} passed in ", well.url())), "{}", lines[6]);
}

#[test]
fn each_target_has_to_return_the_peers_of_the_others() {
    let shared = Swarms::default();
    let [a, b] = [0, 1].map(|_| UdpResponder::start_with(shared.clone(), |_, answer| Some(answer)));
    let probed = probe(&format!("--json --target {} --target {}", a.url(), b.url()));
    probed.assert_success();
    let json = probed.json();
    let pairs = json["replication"].as_array().unwrap();
    assert_eq!(pairs.len(), 2, "{json:#}");
    assert!(pairs.iter().all(|pair| pair["ok"] == true && pair["millis"].is_f64()), "{json:#}");
    assert_eq!(shared.peers(), 0);

    let strangers = UdpResponder::correct();
    let args = format!("--json --replication 300ms --target {} --target {}", a.url(), strangers.url());
    let probed = probe(&args);
    let json = probed.json();
    assert_eq!(probed.code, Some(1));
    for pair in json["replication"].as_array().unwrap() {
        assert_eq!((&pair["ok"], &pair["reason"]), (&false.into(), &"not_replicated".into()), "{json:#}");
    }
    let sentence = format!("replication from {} to {}: not replicated within 300 ms", a.url(), strangers.url());
    assert!(probed.err.contains(&sentence), "{}", probed.err);
    assert_eq!((shared.peers(), strangers.swarms.peers()), (0, 0));
    probe(&format!("{args} --independent")).assert_success();
}

#[test]
fn a_failed_target_is_left_out_of_the_replication_check() {
    let (well, silent) = (UdpResponder::correct(), UdpResponder::start(|_, _| None));
    let args = format!("--json --timeout 10s --target {} --target {}", silent.url(), well.url());
    let probed = probe(&args);
    probed.assert_failed("connect", "no_answer");
    let json = probed.json();
    assert_eq!(json["targets"][1]["ok"], true, "{json:#}");
    for pair in json["replication"].as_array().unwrap() {
        assert_eq!(pair["reason"], "not_tried", "{json:#}");
    }
    assert!(!probed.err.contains("not tried"), "one failure is one line: {}", probed.err);
}

#[test]
fn a_trace_is_requested_and_named() {
    let seen = Arc::new(Mutex::new(Vec::<Vec<u8>>::new()));
    let note = |seen: &Arc<Mutex<Vec<Vec<u8>>>>| {
        let seen = seen.clone();
        move |request: &Received| {
            if request.phase == "announce" {
                seen.lock().unwrap().push(request.rest.clone());
            }
        }
    };
    let (by_udp, by_http) = (note(&seen), note(&seen));
    let udp = UdpResponder::start(move |request, answer| {
        by_udp(request);
        Some(answer)
    });
    let http = HttpResponder::start(move |request, body| {
        by_http(request);
        Some(response(&body))
    });
    for url in [udp.url(), http.url()] {
        let probed = probe(&format!("--json --trace --target {url}"));
        probed.assert_success();
        let json = probed.json();
        let id = json["trace_id"].as_str().unwrap();
        assert!(id.len() == 32 && id.bytes().all(|digit| digit.is_ascii_hexdigit()), "{id}");
        let seen = String::from_utf8(seen.lock().unwrap().drain(..).next_back().unwrap()).unwrap();
        let parent = format!("00-{id}-");
        if url.starts_with("udp") {
            // BEP 41: type, length, path and query.
            assert!(seen.starts_with(&format!("\u{2}\u{4d}/announce?traceparent={parent}")), "{seen:?}");
            assert_eq!(seen.len(), 2 + 0x4d);
        } else {
            assert!(seen.contains(&format!("\r\ntraceparent: {parent}")), "{seen}");
            assert!(seen.contains("\r\nx-tracker-probe: 1\r\n"), "{seen}");
        }
        assert!(seen.trim_end().contains("-01"), "sampled: {seen}");
    }
    let plain = probe(&format!("--json --target {}", udp.url()));
    assert_eq!(plain.json()["trace_id"], Value::Null);
    assert_eq!(seen.lock().unwrap().pop().unwrap(), b"", "without a trace there are no options, as clients send none");
}

#[test]
fn wrong_usage_is_exit_code_2() {
    for args in ["", "--target nonsense", "--target udp://127.0.0.1:1 --count 3", "--target https://h --ca /none"] {
        let probed = probe(args);
        assert_eq!((probed.code, probed.out.as_str()), (Some(2), ""), "{args}: {}", probed.err);
    }
    let help = probe("--help");
    assert!(help.out.contains("Examples:") && help.out.contains("Exit codes:"), "{}", help.out);
}
