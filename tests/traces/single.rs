//! One node: which clients may request a trace, and which announces are traced after the fact.

use opentelemetry_proto::tonic::trace::v1::span::SpanKind::Server;
use rustix::process::Signal;

use super::probe::{self, Caller};
use super::receiver::{Receiver, Seen};
use super::{SOON, tree};
use tidings::testkit::tracker::TrackerProcess;
use tidings::testkit::udp_client::{Client, leecher};
use tidings::testkit::wait::wait_for;

/// The spans of an announce, by name.
const NAMES: [&str; 5] = ["admit", "announce", "partition.announce", "reply", "route"];

fn start(receiver: &Receiver, settings: &[&str]) -> TrackerProcess {
    let more = ["announce.threads=1".to_owned(), receiver.setting()];
    let settings: Vec<String> = settings.iter().map(|setting| (*setting).to_owned()).chain(more).collect();
    TrackerProcess::start_with(None, &settings, &SOON)
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
        let spans = wait_for(transport, || {
            Some(receiver.trace(&caller.trace)).filter(|spans| tree::names(spans).len() >= NAMES.len())
        });
        tree::check(&spans, &caller.span);
        assert_eq!(tree::find(&spans, "announce", Server).attribute("network.transport").unwrap(), transport);
        assert_eq!(tree::find(&spans, "announce", Server).attribute("network.type").unwrap(), "ipv6");
        assert!(tree::names(&spans) == NAMES, "{}", tree::waterfall(&spans));
    }
    // On a busy machine others may be slow, and traced for that.
    let requested =
        |seen: &&Seen| seen.span.name == "announce" && seen.attribute("tracker.traced_afterwards").is_none();
    assert_eq!(receiver.spans().iter().filter(requested).count(), 2, "only those of the probe");
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
    let roots = wait_for("a hundred traces", || {
        let spans = receiver.spans();
        let roots: Vec<_> = spans.into_iter().filter(|seen| seen.span.name == "announce").collect();
        (roots.len() == 100).then_some(roots)
    });
    for root in roots {
        let spans = wait_for("the whole trace", || {
            Some(receiver.trace(&root.span.trace_id)).filter(|spans| tree::names(spans).len() >= NAMES.len())
        });
        tree::check(&spans, &[]);
        assert_eq!(tree::names(&spans), NAMES);
    }
    assert!(tracker.terminate().success());
}

/// Datagrams that wait together are one batch, which exceeds the owner's limit.
#[test]
fn announces_that_are_shed_are_traced_afterwards() {
    let receiver = Receiver::start();
    let mut tracker = start(&receiver, &["telemetry.sample_ratio=0", "limits.in_flight=16"]);
    let client = Client::new(tracker.udp[0]);
    tracker.signal(Signal::STOP);
    for port in 1..=60 {
        client.socket.send(&leecher(port).bytes(client.id, 1)).unwrap();
    }
    tracker.signal(Signal::CONT);
    let seen = wait_for("the trace of a failed announce", || {
        receiver.spans().into_iter().find(|seen| seen.span.name == "announce")
    });
    assert_eq!(seen.attribute("tracker.traced_afterwards").unwrap(), "failed");
    assert_eq!(seen.attribute("error.type").unwrap(), "overloaded");
    assert!(tracker.is_alive());
    assert!(tracker.terminate().success());
}
