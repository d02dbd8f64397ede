//! With `cluster.ack = "replica"` a trace shows how long the reply has waited for the replica.

use super::probe::{self, Caller};
use super::receiver::Receiver;
use super::{SOON, tree};
use tidings::testkit::cluster::Cluster;
use tidings::testkit::network::Network;
use tidings::testkit::udp_client::{Announce, Client, leecher};
use tidings::testkit::wait::wait_for;

const CALL: &str = "tidings.Link/Announces";

#[test]
fn the_wait_for_a_replica_is_a_span_wherever_the_owner_is() {
    let receiver = Receiver::start();
    let settings = [
        &receiver.setting(),
        "telemetry.sample_ratio=0",
        "telemetry.trusted_probes=[\"127.0.0.0/8\"]",
        "cluster.ack=\"replica\"",
    ];
    let mut cluster = Cluster::new(Network::loopback(), &settings);
    cluster.environment = SOON.to_vec();
    ["eu-1", "eu-2"].iter().for_each(|node| cluster.start_node(node));
    cluster.wait_ready();

    let client = Client::new(cluster.announce("eu-1"));
    let mut owners = [0; 2];
    for number in 0..20 {
        let caller = Caller::new();
        let announce = Announce { info_hash: [number; 20], ..leecher(4001) };
        assert_eq!(probe::udp(&client, &announce, &caller).leechers, 1);
        let spans = wait_for("the trace of an announce, of both nodes", || {
            let spans = receiver.trace(&caller.trace);
            let names = tree::names(&spans);
            let count = if names.contains(&CALL) { 8 } else { 6 };
            (names.contains(&"announce") && names.len() >= count).then_some(spans)
        });
        tree::check(&spans, &caller.span);
        let names = tree::names(&spans);
        let forwarded = names.contains(&CALL);
        let mut expected = vec!["admit", "announce", "partition.announce", "replica.acknowledge", "reply", "route"];
        expected.extend([CALL; 2].iter().filter(|_| forwarded));
        assert_eq!(names, expected, "{}", tree::waterfall(&spans));
        owners[usize::from(forwarded)] += 1;
    }
    assert!(owners.iter().all(|owned| *owned > 0), "{owners:?}");
}
