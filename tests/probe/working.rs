//! Trackers that work: a node over each transport and family, and a cluster of two regions.

use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::time::Duration;

use rustix::process::Signal;

use super::{Probed, probe};
use tidings::testkit::cluster::Cluster;
use tidings::testkit::http;
use tidings::testkit::tracker::TrackerProcess;
use tidings::testkit::wait::wait_until;

fn settings(region: &str) -> Vec<String> {
    vec!["node.id=probed-1".into(), format!("node.region={region}"), "announce.threads=1".into()]
}

/// Asserts that the only target is the node.
fn assert_node(probed: &Probed, region: &str) {
    probed.assert_success();
    let json = probed.json();
    let target = &json["targets"][0];
    assert_eq!(target["nodes"], serde_json::json!([{"node": "probed-1", "region": region}]), "{json:#}");
    assert_eq!(target["warnings"], serde_json::json!([]), "{json:#}");
    let phases = target["phases"].as_array().unwrap().iter().map(|phase| phase["phase"].as_str().unwrap());
    let phases: Vec<_> = phases.collect();
    assert_eq!(phases, ["connect", "announce", "re-announce", "scrape", "stopped"]);
}

#[test]
fn a_node_passes_over_udp_and_http_ipv4_and_ipv6() {
    let tracker = TrackerProcess::start(&settings("eu"));
    for addr in &tracker.udp {
        let probed = probe(&format!("--json --target udp://{addr}"));
        assert_node(&probed, "eu");
        assert_eq!(probed.json()["targets"][0]["seen_as"], addr.ip().to_string());
    }
    for addr in &tracker.http {
        assert_node(&probe(&format!("--json --target http://{addr}")), "eu");
        assert_node(&probe(&format!("--json --target http://{addr}/announce?key=1")), "eu");
    }
    // A name, whose addresses are of both families or of one.
    let port = tracker.udp[0].port();
    let probed = probe(&format!("--json -4 --target udp://localhost:{port}"));
    probed.assert_success();
    assert_eq!(probed.json()["targets"][0]["address"], format!("127.0.0.1:{port}"));
    // Nothing but tombstones is left, once the owners have published their totals.
    wait_until("all peers have stopped", || tracker.metrics().sum("tidings_peers", &[]) == 0.0);
    assert_eq!(tracker.metrics().sum("tidings_requests_total", &["outcome=\"malformed\""]), 0.0);
    assert!(tracker.terminate().success());
}

#[test]
fn transports_of_a_node_share_their_peers_within_a_family() {
    let tracker = TrackerProcess::start(&settings("eu"));
    let targets: Vec<_> = tracker.udp.iter().map(|addr| format!("--target udp://{addr}")).collect();
    let more: Vec<_> = tracker.http.iter().map(|addr| format!("--target http://{addr}")).collect();
    let probed = probe(&format!("--json {} {}", targets.join(" "), more.join(" ")));
    probed.assert_success();
    let json = probed.json();
    let pairs = json["replication"].as_array().unwrap();
    assert_eq!(pairs.len(), 4, "two families of two targets each: {json:#}");
}

#[test]
fn https_certificates_are_trusted_as_the_command_line_says() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str| dir.path().join(name).display().to_string();
    let certificate = |name: &str| {
        let pair = rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
        std::fs::write(Path::new(&file(name)), pair.cert.pem()).unwrap();
        pair.signing_key.serialize_pem()
    };
    std::fs::write(file("key.pem"), certificate("cert.pem")).unwrap();
    certificate("other.pem");
    let tls = [format!("tls.cert={}", file("cert.pem")), format!("tls.key={}", file("key.pem"))];
    let tracker = TrackerProcess::start(&[&settings("eu")[..], &tls].concat());
    let port = tracker.http[0].port();
    for host in ["localhost", "127.0.0.1"] {
        let target = format!("--json -4 --target https://{host}:{port}/announce");
        let probed = probe(&format!("{target} --ca {}", file("cert.pem")));
        probed.assert_success();
        assert_eq!(probed.json()["targets"][0]["nodes"][0]["node"], "probed-1");
        probe(&format!("{target} --insecure")).assert_success();
        probe(&format!("{target} --ca {}", file("other.pem"))).assert_failed("connect", "tls");
    }
    // The environment may name the trusted certificates.
    let target = format!("--json --target https://127.0.0.1:{port}");
    let mut command = super::command(&target);
    super::finished(command.env("SSL_CERT_FILE", file("cert.pem")).output().unwrap()).assert_success();
    // Plain HTTP is not TLS.
    let plain = TrackerProcess::start(&settings("eu"));
    probe(&format!("--json --insecure --target https://{}", plain.http[0])).assert_failed("connect", "tls");
}

#[test]
fn the_answering_node_is_named_only_on_request() {
    let tracker = TrackerProcess::start(&settings("ap-south"));
    assert_node(&probe(&format!("--json --target udp://{}", tracker.udp[0])), "ap-south");
    let head = |lines: &str| http::get_with(tracker.http[0], "/announce?info_hash=x", lines).head;
    let named = head("X-Tracker-Probe: 1\r\n");
    assert!(named.contains("\r\nx-tracker-node: probed-1"), "{named}");
    assert!(named.contains("\r\nx-tracker-region: ap-south"), "{named}");
    for lines in ["", "X-Tracker-Probe: 0\r\n"] {
        assert!(!head(lines).contains("x-tracker-"), "{}", head(lines));
    }

    // By UDP this needs a valid connection id, as every scrape does.
    let scrape = |connection_id: &[u8]| {
        let question = [connection_id, &[0, 0, 0, 2, 1, 2, 3, 4], b"tidings which node 1"].concat();
        exchange(tracker.udp[0], &question)
    };
    let connected = exchange(tracker.udp[0], &[&0x0417_2710_1980_u64.to_be_bytes()[..], &[0; 8]].concat());
    assert_eq!(scrape(&connected[8..]), b"\0\0\0\x03\x01\x02\x03\x04node=probed-1 region=ap-south");
    let refused = scrape(&[1; 8]);
    assert!(refused.starts_with(b"\0\0\0\x03\x01\x02\x03\x04connection id"), "{}", refused.escape_ascii());
    assert!(refused.len() <= 36, "an unproven address gets no more bytes than it has sent");
}

fn exchange(addr: SocketAddr, request: &[u8]) -> Vec<u8> {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    socket.send_to(request, addr).unwrap();
    let mut buffer = [0; 256];
    let len = socket.recv(&mut buffer).unwrap();
    buffer[..len].to_vec()
}

#[test]
fn two_regions_share_their_peers_until_one_is_paused() {
    let mut cluster = Cluster::start(&["eu-1", "us-1"], &["cluster.replicas_per_region=1"]);
    let targets = [cluster.announce("eu-1"), cluster.announce("us-1")];
    let args = format!("--json --target udp://{} --target http://{}", targets[0], targets[1]);
    let probed = probe(&args);
    probed.assert_success();
    let json = probed.json();
    for (at, (node, region)) in [("eu-1", "eu"), ("us-1", "us")].into_iter().enumerate() {
        assert_eq!(json["targets"][at]["nodes"], serde_json::json!([{"node": node, "region": region}]));
    }
    let pairs = json["replication"].as_array().unwrap();
    assert_eq!(pairs.len(), 2);
    assert!(pairs.iter().all(|pair| pair["ok"] == true), "{json:#}");

    // A paused node.
    cluster.signal("us-1", Signal::STOP);
    let probed = probe(&args.replace("--json", "--json --timeout 5s"));
    assert_eq!(probed.code, Some(1));
    let json = probed.json();
    assert_eq!((&json["targets"][0]["ok"], &json["targets"][1]["ok"]), (&true.into(), &false.into()), "{json:#}");
    cluster.signal("us-1", Signal::CONT);
}
