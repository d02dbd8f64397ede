//! Six nodes: one announce is one trace across all nodes that took part in it.

use std::collections::BTreeSet;
use std::time::Duration;

use opentelemetry_proto::tonic::trace::v1::span::SpanKind::{Client as Calls, Internal, Server};
use rustix::process::Signal;

use super::probe::{self, Caller};
use super::receiver::{Receiver, Seen};
use super::{SOON, tree};
use tidings::testkit::cluster::{Cluster, SIX};
use tidings::testkit::network::Network;
use tidings::testkit::promtool;
use tidings::testkit::udp_client::{Announce, Client, leecher};
use tidings::testkit::wait::{wait_for, wait_until};

const ANNOUNCES: &str = "tidings.Link/Announces";
const DELTAS: &str = "tidings.Link/Deltas";
/// The spans of an announce that another node owns, by name.
const FORWARDED: [&str; 7] = ["admit", "announce", "partition.announce", "reply", "route", ANNOUNCES, ANNOUNCES];

fn hash(number: u8) -> [u8; 20] {
    let mut hash = [0x5e; 20];
    hash[..8].copy_from_slice(&u64::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
    hash
}

/// Announces with a trace context until another node of the region owns the info hash, and returns that trace.
fn forwarded(receiver: &Receiver, mut announce: impl FnMut([u8; 20], &Caller)) -> (u8, Caller, Vec<Seen>) {
    for number in 0..50 {
        let caller = Caller::new();
        announce(hash(number), &caller);
        let spans = wait_for("the trace of an announce", || {
            let spans = receiver.trace(&caller.trace);
            spans.iter().any(|seen| seen.span.name == "announce").then_some(spans)
        });
        if spans.iter().any(|seen| seen.span.name == ANNOUNCES) {
            // The other node exports its spans itself.
            let spans = wait_for("the part of the owner", || {
                let spans = receiver.trace(&caller.trace);
                (tree::names(&spans).len() >= FORWARDED.len()).then_some(spans)
            });
            return (number, caller, spans);
        }
    }
    panic!("eu-1 owns all partitions");
}

/// Checks the trace of an announce that eu-1 has received and eu-2 owns.
fn check_announce(spans: &[Seen], caller: &Caller, transport: &str) {
    tree::check(spans, &caller.span);
    assert_eq!(tree::names(spans), FORWARDED);
    let (root, calls, serves) = (
        tree::find(spans, "announce", Server),
        tree::find(spans, ANNOUNCES, Calls),
        tree::find(spans, ANNOUNCES, Server),
    );
    assert_eq!((root.node.as_str(), calls.node.as_str(), serves.node.as_str()), ("eu-1", "eu-1", "eu-2"));
    assert_eq!(calls.span.parent_span_id, root.span.span_id);
    assert_eq!(serves.span.parent_span_id, calls.span.span_id);
    assert_eq!(tree::find(spans, "partition.announce", Internal).span.parent_span_id, serves.span.span_id);
    assert_eq!(root.attribute("network.transport").unwrap(), transport);
    assert_eq!(root.attribute("tracker.source").unwrap(), "remote");
    assert_eq!(root.attribute("tracker.event").unwrap(), if transport == "udp" { "started" } else { "none" });
    assert_eq!(calls.attribute("server.address").unwrap(), "eu-2");
    assert_eq!(calls.attribute("rpc.system.name").unwrap(), "tidings");
    assert_eq!(calls.attribute("rpc.response.status_code").unwrap(), "OK");
    assert_eq!(root.attribute("tracker.info_hash.prefix").unwrap().len(), 8);
    let client = root.attribute("client.address").unwrap();
    assert!(client.starts_with("keyed-"), "{client}");
    assert!(spans.iter().all(|seen| seen.attribute("error.type").is_none()), "{}", tree::waterfall(spans));
}

/// The traces of the batches that replicate an announce, each with its own root, once both other regions have them.
fn replication(receiver: &Receiver, of: &[Seen]) -> Vec<Vec<Seen>> {
    let cause = tree::find(of, "partition.announce", Internal);
    let linked = || {
        let links = |seen: &Seen| {
            let linked = |link: &opentelemetry_proto::tonic::trace::v1::span::Link| {
                link.trace_id == cause.span.trace_id && link.span_id == cause.span.span_id
            };
            seen.span.links.iter().any(linked)
        };
        let roots = receiver.spans().into_iter().filter(|seen| seen.span.name == "replicate" && links(seen));
        let traces: Vec<_> = roots.map(|root| receiver.trace(&root.span.trace_id)).collect();
        let merged =
            |trace: &Vec<Seen>| trace.iter().any(|seen| seen.span.name == DELTAS && seen.span.kind == Server as i32);
        let nodes: BTreeSet<_> =
            traces.iter().flatten().map(|seen| seen.node.split('-').next().unwrap().to_owned()).collect();
        (traces.iter().all(merged) && nodes.len() == 3).then_some(traces)
    };
    wait_for("replication to both other regions", linked)
}

#[test]
fn a_forwarded_announce_is_one_trace() {
    let receiver = Receiver::start();
    let endpoint = receiver.setting();
    // One copy in each region: eu-1 does not hold what eu-2 owns.
    let settings = [
        "cluster.replicas_per_region=1",
        &endpoint,
        "telemetry.sample_ratio=0",
        "telemetry.slow=100",
        "telemetry.trusted_probes=[\"127.0.0.0/8\"]",
    ];
    let mut cluster = Cluster::new(Network::loopback(), &settings);
    cluster.environment = SOON.to_vec();
    SIX.iter().for_each(|node| cluster.start_node(node));
    cluster.wait_ready();

    let client = Client::new(cluster.announce("eu-1"));
    let (number, caller, spans) = forwarded(&receiver, |info_hash, caller| {
        let announce = Announce { info_hash, ..leecher(4001) };
        assert!(probe::udp(&client, &announce, caller).leechers > 0);
    });
    println!("{}", tree::waterfall(&spans));
    promtool::check("metrics of a node of six", &cluster.get("eu-1", "/metrics").unwrap());
    check_announce(&spans, &caller, "udp");
    let prefix = hex::encode(&hash(number)[..4]);
    assert_eq!(tree::find(&spans, "announce", Server).attribute("tracker.info_hash.prefix").unwrap(), prefix);

    let batches = replication(&receiver, &spans);
    let mut nodes: BTreeSet<String> = spans.iter().map(|seen| seen.node.clone()).collect();
    for batch in &batches {
        println!("{}", tree::waterfall(batch));
        tree::check(batch, &[]);
        assert_eq!(tree::names(batch), ["partition.merge", "replicate", DELTAS, DELTAS]);
        assert_ne!(batch[0].span.trace_id, caller.trace, "a batch has a trace of its own");
        assert_eq!(tree::find(batch, "replicate", Internal).attribute("tracker.cross_region").unwrap(), "true");
        nodes.extend(batch.iter().map(|seen| seen.node.clone()));
    }
    assert!(nodes.len() >= 3, "{nodes:?}");

    let (number, caller, spans) = forwarded(&receiver, |info_hash, caller| {
        let body = probe::http(cluster.announce("eu-1"), &Announce { info_hash, ..leecher(4002) }, caller);
        assert!(body.windows(8).any(|window| window == b"8:interv"), "{}", body.escape_ascii());
    });
    check_announce(&spans, &caller, "tcp");
    assert!(!replication(&receiver, &spans).is_empty());

    // Of announces without a trace context only the slow ones have spans: the owner is paused, and another region answers.
    let prefix = hex::encode(&hash(number)[..4]);
    let is_slow = |seen: &Seen| {
        (seen.node.as_str(), seen.span.name.as_str()) == ("eu-1", "announce")
            && seen.attribute("tracker.traced_afterwards").is_some()
            && seen.attribute("tracker.info_hash.prefix").as_ref() == Some(&prefix)
    };
    cluster.signal("eu-2", Signal::STOP);
    client.announce(&Announce { info_hash: hash(number), ..leecher(4003) });
    let slow = wait_for("the trace of a slow announce", || receiver.spans().into_iter().find(is_slow));
    cluster.signal("eu-2", Signal::CONT);
    assert_eq!(slow.attribute("tracker.traced_afterwards").unwrap(), "slow");
    assert!(slow.duration() >= Duration::from_millis(100), "{slow:?}");
    let spans =
        wait_for("its other spans", || Some(receiver.trace(&slow.span.trace_id)).filter(|spans| spans.len() >= 3));
    tree::check(&spans, &[]);

    // The start of the cluster itself.
    for name in ["cluster.membership", "cluster.placement"] {
        wait_until(&format!("{name} of all six nodes"), || {
            let spans = receiver.spans().into_iter().filter(|seen| seen.span.name == name);
            spans.map(|seen| seen.node).collect::<BTreeSet<_>>().len() == 6
        });
    }
    receiver.spans().iter().for_each(tree::check_private);
}
