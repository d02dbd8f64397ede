//! A region without nodes, and partitions that no reachable node holds.

use rustix::process::Signal;

use super::load::Load;
use tidings::testkit::cluster::{Cluster, SIX};
use tidings::testkit::figures::{Figures, choose};
use tidings::testkit::http;
use tidings::testkit::udp_client::{Announce, Client, leecher};
use tidings::testkit::wait::wait_until;

#[test]
fn clients_of_a_region_without_nodes_are_answered_by_another() {
    let mut cluster = Cluster::start(&SIX, &[]);
    let (peers, swarms) = choose((5000, 200), (100_000, 2000));
    let population = format!("--peers {peers} --swarms {swarms} --sources 60 --spread uniform");
    let filled =
        Load::start(&cluster, "eu", &["eu-1", "eu-2"], &["eu-1"], &format!("{population} --fill --duration 0s"));
    let mut figures = Figures::default();
    figures.none("peers that the region itself lacks", filled.finish().recall().missing);
    wait_until("other regions have all peers", || {
        let peers = |node| cluster.metric(node, "tidings_peers", &[]);
        ["us-1", "us-2", "ap-1", "ap-2"].map(peers).iter().all(|count| *count >= peers("eu-1"))
    });
    ["eu-1", "eu-2"].into_iter().for_each(|node| cluster.signal(node, Signal::KILL));
    // This load expects the peers of the fill.
    let verify = Load::start(&cluster, "us", &["us-1"], &["us-1", "us-2", "ap-1", "ap-2"], &population);
    let recall = verify.finish_verify();
    figures.none("peers that other regions lack", recall.missing + recall.uncounted);
    figures.none("peers too many", recall.extra);
    figures.verdict();
}

#[test]
fn answers_of_another_region_are_counted_as_such() {
    let mut cluster = Cluster::start(&["eu-1", "us-1", "us-2"], &["cluster.replicas_per_region=1"]);
    let front = cluster.announce("us-1");
    let client = Client::new(front);
    let announce = |port: u16| {
        for number in 0..40u8 {
            let info_hash = [number.wrapping_mul(37); 20];
            client.announce(&Announce { info_hash, ..leecher(1111) });
            http::announce(front, &info_hash, port, "");
        }
    };
    // Readiness checks announce, too.
    let answered =
        |cluster: &Cluster| ["owner", "replica", "remote_region", "stale"].map(|by| cluster.answered_by("us-1", by));
    announce(2222);
    let [owner, others @ ..] = answered(&cluster);
    assert!(owner >= 80.0 && others == [0.0; 3], "{owner} {others:?}");
    cluster.signal("us-2", Signal::STOP);
    wait_until("requests no longer go to the other node", || {
        cluster.status("us-1")["members"].as_array().unwrap().iter().any(|member| member["state"] != "up")
    });
    announce(3333);
    let [.., replica, remote, stale] = answered(&cluster);
    assert!(remote >= 20.0 && (replica, stale) == (0.0, 0.0), "{remote} of 80, {replica}, {stale}");
    cluster.signal("us-2", Signal::CONT);
}

#[test]
fn swarms_of_an_unreachable_owner_are_answered_from_the_stale_cache_and_marked() {
    // One copy of each partition, so that it goes with its owner.
    let mut cluster = Cluster::start(&["eu-1", "eu-2"], &["cluster.replicas_per_region=1", "cluster.deadline=100"]);
    let (front, other) = (cluster.announce("eu-1"), cluster.announce("eu-2"));
    let swarms: Vec<[u8; 20]> = (0..60u8).map(|number| [number.wrapping_mul(37); 20]).collect();
    let peer = [&cluster.network.ip("eu-2").octets()[..], &1111u16.to_be_bytes()].concat();
    let [client, there] = [front, other].map(Client::new);
    for swarm in &swarms {
        there.announce(&Announce { info_hash: *swarm, ..leecher(1111) });
        // From now on the frontend has an answer in its cache.
        let reply = http::announce(front, swarm, 2222, "");
        assert!(!reply.head.contains("x-tracker-stale") && !reply.contains(b"tracker stale"), "{}", reply.head);
        assert!(reply.contains(&peer), "the peer is not returned: {}", reply.body.escape_ascii());
    }
    cluster.signal("eu-2", Signal::STOP);
    wait_until("requests no longer go to the other node", || {
        cluster.status("eu-1")["members"].as_array().unwrap().iter().any(|member| member["state"] != "up")
    });
    let mut stale = 0;
    for swarm in &swarms {
        let reply = http::announce(front, swarm, 2222, "");
        assert!(!reply.contains(b"failure reason"), "{}", reply.body.escape_ascii());
        assert!(reply.contains(&peer), "the peer is gone: {}", reply.body.escape_ascii());
        let marks = [reply.head.contains("x-tracker-stale: true"), reply.contains(b"13:tracker stalei1e")];
        assert_eq!(marks[0], marks[1], "header and key: {} {}", reply.head, reply.body.escape_ascii());
        stale += usize::from(marks[0]);
        // A UDP reply cannot be marked, but it has the same peers.
        let reply = client.announce(&Announce { info_hash: *swarm, ..leecher(2222) });
        assert!(reply.peers.iter().any(|peer| peer.port() == 1111), "by UDP: {reply:?}");
    }
    assert!(
        (10..50).contains(&stale),
        "about half of {} swarms belonged to the other node, {stale} were stale",
        swarms.len()
    );
    assert!(cluster.metric("eu-1", "tidings_stale_answers_total", &[]) >= stale as f64);
    assert!(cluster.answered_by("eu-1", "stale") >= 2.0 * stale as f64, "by HTTP and by UDP");

    // The node comes back, and gets what was announced to its stand-in.
    cluster.signal("eu-2", Signal::CONT);
    cluster.wait_ready();
    wait_until("no answer is stale", || {
        swarms.iter().all(|swarm| !http::announce(front, swarm, 3333, "").head.contains("x-tracker-stale"))
    });
    for swarm in &swarms {
        let reply = there.announce(&Announce { info_hash: *swarm, ..leecher(1111) });
        assert!(reply.peers.iter().any(|peer| peer.port() == 2222), "lost what the stand-in knew: {reply:?}");
    }
}
