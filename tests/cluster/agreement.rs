//! Six nodes in three regions are one tracker: a peer that announces to any of them is soon returned by all.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use tidings::testkit::cluster::{Cluster, SIX};
use tidings::testkit::figures::{Figures, choose};
use tidings::testkit::http;
use tidings::testkit::udp_client::{Announce, COMPLETED, Client, STARTED, STOPPED, leecher};
use tidings::testkit::wait::{wait_for, wait_until};

fn hash(kind: u8, number: usize) -> [u8; 20] {
    let mut hash = [kind; 20];
    hash[..8].copy_from_slice(&(number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
    hash
}

/// Waits until a node returns a peer, and returns how long that took.
fn time_until_seen(client: &Client, swarm: [u8; 20], peer: SocketAddr) -> Duration {
    let announced = Instant::now();
    let observer = Announce { info_hash: swarm, ..leecher(9) };
    wait_for("the peer is returned", || {
        std::thread::sleep(Duration::from_millis(2));
        client.announce(&observer).peers.contains(&peer).then(|| announced.elapsed())
    })
}

#[test]
fn a_peer_announced_at_any_node_is_returned_by_all_others() {
    let cluster = Cluster::start(&SIX, &[]);
    let clients: HashMap<_, _> = SIX.map(|node| (node, Client::new(cluster.announce(node)))).into();
    let region = |node: &str| node.split_once('-').unwrap().0.to_owned();
    let (mut near, mut far) = (Duration::ZERO, Duration::ZERO);
    for round in 0..choose(3, 20) {
        for (number, from) in SIX.into_iter().enumerate() {
            for (at, to) in SIX.into_iter().enumerate().filter(|(_, to)| *to != from) {
                let swarm = hash(round, number * 6 + at);
                let port = 1000 + number as u16;
                // Its address is that of the node, as this client is on the same host.
                let peer = SocketAddr::new(cluster.announce(from).ip(), port);
                if round % 2 == 0 {
                    clients[from].announce(&Announce { info_hash: swarm, ..leecher(port) });
                } else {
                    assert!(http::announce(cluster.announce(from), &swarm, port, "").contains(b"5:peers"));
                }
                let peer = if round % 2 == 0 { peer } else { SocketAddr::new(IpAddr::from([127, 0, 0, 1]), port) };
                let took = time_until_seen(&clients[to], swarm, peer);
                let slowest = if region(from) == region(to) { &mut near } else { &mut far };
                *slowest = took.max(*slowest);
            }
        }
    }
    let mut figures = Figures::default();
    figures.within("time until a peer is returned in its own region", near, Duration::from_millis(100));
    figures.within("time until a peer is returned in another region", far, Duration::from_millis(500));
    figures.verdict();
}

#[test]
fn totals_agree_at_all_nodes_by_udp_and_http() {
    let cluster = Cluster::start(&SIX, &[]);
    let clients: Vec<_> = SIX.map(|node| Client::new(cluster.announce(node))).into();
    let swarms: Vec<_> = (0..140).map(|number| hash(200, number)).collect();
    let mut expected = vec![[0u32; 3]; swarms.len()];
    for (number, swarm) in swarms.iter().enumerate() {
        for port in 0..(number % 7) as u16 + 1 {
            let client = &clients[(number + usize::from(port)) % SIX.len()];
            let peer = Announce { info_hash: *swarm, ..leecher(2000 + port) };
            client.announce(&peer);
            match port % 3 {
                0 => expected[number][2] += 1,
                1 => {
                    client.announce(&Announce { left: 0, event: COMPLETED, ..peer });
                    expected[number][0] += 1;
                    expected[number][1] += 1;
                }
                _ => _ = client.announce(&Announce { event: STOPPED, ..peer }),
            }
        }
        let seeder = Announce { info_hash: *swarm, left: 0, event: STARTED, ..leecher(3000) };
        clients[number % SIX.len()].announce(&seeder);
        expected[number][0] += 1;
    }
    let announced = Instant::now();
    let mut figures = Figures::default();
    for (node, client) in SIX.into_iter().zip(&clients) {
        let by_udp = || swarms.chunks(70).flat_map(|some| client.scrape(some)).collect::<Vec<_>>();
        let by_http = || {
            let scraped = swarms.chunks(70).flat_map(|some| http::scrape(cluster.announce(node), some));
            scraped.collect::<Vec<_>>()
        };
        wait_until(&format!("{node} has all counts by UDP"), || by_udp() == expected);
        assert_eq!(by_http(), expected, "{node} by HTTP");
    }
    // From the last announce on, including twelve scrapes of each node.
    let took = announced.elapsed();
    figures.within("time until the counts of 140 swarms agree at all nodes", took, Duration::from_millis(500));
    figures.verdict();
}
