//! Changes of membership and placement are always traced.

use rustix::process::Signal;

use super::receiver::{Receiver, text};
use super::{SOON, tree};
use tidings::testkit::cluster::Cluster;
use tidings::testkit::network::Network;
use tidings::testkit::wait::wait_for;

#[test]
fn membership_takeover_and_handoff_are_traced_without_any_sampling() {
    let receiver = Receiver::start();
    let endpoint = receiver.setting();
    let mut cluster = Cluster::new(Network::loopback(), &[&endpoint, "telemetry.sample_ratio=0"]);
    cluster.environment = SOON.to_vec();
    // One after the other: nodes that start together hold nothing that they could hand off.
    for node in ["eu-1", "eu-2"] {
        cluster.start_node(node);
        cluster.wait_ready();
    }
    let has =
        |node: &str, name: &str| receiver.spans().into_iter().any(|seen| seen.node == node && seen.span.name == name);
    wait_for("a handoff", || (has("eu-1", "partition.handoff") || has("eu-2", "partition.handoff")).then_some(()));
    let log_before = cluster.log("eu-1");
    cluster.signal("eu-2", Signal::KILL);
    let takeover =
        wait_for("the takeover", || receiver.spans().into_iter().find(|seen| seen.span.name == "cluster.takeover"));
    assert_eq!((takeover.node.as_str(), takeover.attribute("node").unwrap()), ("eu-1", "eu-2".into()));
    assert!(takeover.attribute("partitions").unwrap().parse::<u32>().unwrap() > 0);
    let resource = &takeover.resource.attributes;
    assert_eq!(text(resource, "service.name").unwrap(), "tidings");
    assert_eq!(text(resource, "service.version").unwrap(), env!("CARGO_PKG_VERSION"));
    assert_eq!(text(resource, "tracker.region").unwrap(), "eu");
    receiver.spans().iter().for_each(tree::check_private);
    // No span is in the log.
    for name in ["cluster.membership", "partition.handoff", "cluster.placement"] {
        assert!(!log_before.contains(name), "{log_before}");
    }
}
