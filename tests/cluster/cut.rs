//! Two regions that do not reach each other for a while.

use std::thread::sleep;
use std::time::{Duration, Instant};

use super::load::Load;
use tidings::testkit::cluster::Cluster;
use tidings::testkit::figures::{Figures, choose};
use tidings::testkit::namespace;
use tidings::testkit::network::{Namespaces, Network};
use tidings::testkit::skipped::skipped;
use tidings::testkit::wait::wait_until;

const NODES: [&str; 4] = ["eu-1", "eu-2", "us-1", "us-2"];

/// The swarms, leechers and seeders that a node holds.
fn holds(cluster: &Cluster, node: &str) -> [f64; 3] {
    [("tidings_swarms", ""), ("tidings_peers", "leecher"), ("tidings_peers", "seeder")].map(|(name, label)| {
        cluster.metric(node, name, if label.is_empty() { &[] } else { std::slice::from_ref(&label) })
    })
}

/// Bytes that all nodes have pulled to repair their copies.
fn repaired(cluster: &Cluster) -> f64 {
    let bytes = |node: &&str| cluster.metric(node, "tidings_cluster_pulled_bytes_total", &["purpose=\"repair\""]);
    NODES.iter().map(bytes).sum()
}

/// A load on each side, with peers of its own.
fn both_sides(cluster: &Cluster, rate: u64, seconds: u64) -> [Load; 2] {
    let (peers, swarms) = (60_000, 1000);
    [("eu", 7), ("us", 8)].map(|(region, seed)| {
        let nodes = [format!("{region}-1"), format!("{region}-2")];
        let nodes: Vec<&str> = nodes.iter().map(String::as_str).collect();
        let args = format!(
            "--mode open --rate {rate} --duration {seconds}s --peers {peers} --swarms {swarms} --sources 16 \
             --spread uniform --stops 0 --scrapes 0 --seed {seed}"
        );
        Load::start(cluster, region, &nodes, &nodes, &args)
    })
}

#[test]
fn two_regions_that_were_cut_from_each_other_become_equal() {
    if let Some(missing) = namespace::missing() {
        return skipped("two_regions_that_were_cut_from_each_other_become_equal", &missing);
    }
    let seconds = choose(10, 60);
    let mut figures = Figures::default();
    let mut bytes = Vec::new();
    // At full scale four times as many peers differ after the second cut. Queues are too short for all of them, because this
    // test is about the repair of what queues have dropped.
    for &rate in choose(&[500][..], &[200, 800]) {
        let network = Network::Namespaces(Namespaces::new(&["eu", "us"]));
        let mut cluster = Cluster::new(network, &["limits.hint_bytes=65536"]);
        NODES.iter().for_each(|node| cluster.start_node(node));
        cluster.wait_ready();
        let Network::Namespaces(namespaces) = &cluster.network else { unreachable!() };
        let before = repaired(&cluster);
        let loads = both_sides(&cluster, rate, seconds + 2);
        sleep(Duration::from_secs(2));
        namespaces.cut();
        sleep(Duration::from_secs(seconds));
        let reports = loads.map(Load::finish);
        let apart = NODES.map(|node| holds(&cluster, node));
        namespaces.heal();
        let healed = Instant::now();
        let expected: u64 = reports.iter().map(|report| report.recall().expected).sum();
        let equal = || {
            let all = NODES.map(|node| holds(&cluster, node));
            all.iter().all(|node| *node == all[0] && node[1] + node[2] >= expected as f64)
        };
        wait_until("all copies are equal", equal);
        let took = healed.elapsed();
        println!("apart {apart:?}; after the heal {:?}", NODES.map(|node| holds(&cluster, node)));
        assert!(apart[0] != apart[2], "the regions were not cut from each other");
        for (report, side) in reports.iter().zip(["eu", "us"]) {
            let recall = report.recall();
            figures.none(&format!("client errors in {side} at {rate}/s"), report.errors());
            figures.none(&format!("peers that {side} itself lacks"), recall.missing + recall.uncounted);
        }
        figures.within(&format!("all copies equal after a cut at {rate}/s"), took, Duration::from_secs(30));
        let differed = (apart[2][1] + apart[2][2] - expected as f64).abs();
        bytes.push((repaired(&cluster) - before, differed));
        println!("{:.0} bytes of repair for {differed} peers that one side lacked", bytes[bytes.len() - 1].0);
    }
    let each: Vec<f64> = bytes.iter().map(|(bytes, differed)| bytes / differed.max(1.0)).collect();
    assert!(bytes[0].0 > 0.0, "the queues carried everything, so nothing was repaired");
    // Buckets are sent as a whole, so each of a few differences costs more. A record has 40 bytes with its swarm.
    let (first, last) = (each[0], each[each.len() - 1]);
    figures.row(
        "bytes of repair for each peer that differed, with few and with many",
        format!("{first:.0}, {last:.0}"),
        "second ≤ 1.5 × first ≤ 1000",
        last <= 1.5 * first && first <= 1000.0,
    );
    figures.verdict();
}
