//! One node: who may have announces traced, and which are traced afterwards.

use std::time::Duration;

use opentelemetry_proto::tonic::trace::v1::span::SpanKind::Server;

use super::client::{Client, leecher};
use super::probe::{self, Caller};
use super::receiver::Receiver;
use super::tracker::Tracker;
use super::{SOON, tree, wait_for};

const LIMIT: Duration = Duration::from_secs(10);

fn start(receiver: &Receiver, settings: &[&str]) -> Tracker {
    let more = ["announce.threads=1".to_owned(), receiver.setting()];
    let settings: Vec<String> = settings.iter().map(|setting| (*setting).to_owned()).chain(more).collect();
    Tracker::start_in(None, &settings, &SOON)
}

#[test]
fn only_trusted_probes_have_their_announces_traced() {
    let receiver = Receiver::start();
    let probes = "telemetry.trusted_probes=[\"::1/128\", \"192.0.2.0/24\"]";
    let tracker = start(&receiver, &["telemetry.sample_ratio=0", probes]);
    let (foreign, trusted) = (Client::new(tracker.udp[0]), Client::new(tracker.udp[1]));
    for _ in 0..20 {
        probe::udp(&foreign, &leecher(1), &Caller::new());
        probe::http(tracker.http[0], &leecher(2), &Caller::new());
        trusted.announce(&leecher(3));
    }
    let [by_udp, by_http] = [Caller::new(), Caller::new()];
    probe::udp(&trusted, &leecher(3), &by_udp);
    probe::http(tracker.http[1], &leecher(4), &by_http);
    for (caller, transport) in [(by_udp, "udp"), (by_http, "tcp")] {
        let spans = wait_for(transport, LIMIT, || {
            Some(receiver.trace(&caller.trace)).filter(|spans| spans.iter().any(|seen| seen.span.name == "announce"))
        });
        tree::check(&spans, &caller.span);
        assert_eq!(tree::find(&spans, "announce", Server).attribute("network.transport").unwrap(), transport);
        assert_eq!(tree::find(&spans, "announce", Server).attribute("network.type").unwrap(), "ipv6");
        assert!(tree::names(&spans).contains(&"partition.announce"), "{}", tree::waterfall(&spans));
    }
    let announces = receiver.spans().iter().filter(|seen| seen.span.name == "announce").count();
    assert_eq!(announces, 2, "only those of the probe");
    assert!(tracker.terminate().success());
}

#[test]
fn every_announce_is_a_whole_trace_if_all_are_sampled() {
    let receiver = Receiver::start();
    let tracker = start(&receiver, &["telemetry.sample_ratio=1"]);
    let clients = [Client::new(tracker.udp[0]), Client::new(tracker.udp[1])];
    for port in 1..=50 {
        clients.iter().for_each(|client| _ = client.announce(&leecher(port)));
    }
    let roots = wait_for("a hundred traces", LIMIT, || {
        let spans = receiver.spans();
        let roots: Vec<_> = spans.into_iter().filter(|seen| seen.span.name == "announce").collect();
        (roots.len() == 100).then_some(roots)
    });
    for root in roots {
        let spans = receiver.trace(&root.span.trace_id);
        tree::check(&spans, &[]);
        let expected = ["admit", "announce", "partition.announce", "reply", "route"];
        assert_eq!(tree::names(&spans), expected);
    }
    assert!(tracker.terminate().success());
}

/// Datagrams that wait together are one batch, of which the owner's limit lets none through.
#[test]
fn announces_that_are_shed_are_traced_afterwards() {
    let receiver = Receiver::start();
    let mut tracker = start(&receiver, &["telemetry.sample_ratio=0", "limits.in_flight=16"]);
    let client = Client::new(tracker.udp[0]);
    tracker.signal("STOP");
    for port in 1..=60 {
        client.socket.send(&leecher(port).bytes(client.id, 1)).unwrap();
    }
    tracker.signal("CONT");
    let seen = wait_for("the trace of what failed", LIMIT, || {
        receiver.spans().into_iter().find(|seen| seen.span.name == "announce")
    });
    assert_eq!(seen.attribute("tracker.traced_afterwards").unwrap(), "failed");
    assert_eq!(seen.attribute("error.type").unwrap(), "overloaded");
    assert!(tracker.is_alive());
    assert!(tracker.terminate().success());
}
