//! Six nodes in three regions are one tracker: what is announced anywhere is soon told everywhere.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use super::client::{Announce, COMPLETED, Client, STARTED, STOPPED, leecher};
use super::cluster::{Cluster, SIX};
use super::scale::{Figures, choose};
use super::{http, wait_until};

fn hash(kind: u8, number: usize) -> [u8; 20] {
    let mut hash = [kind; 20];
    // Any bits will do: nodes hash it once more.
    hash[..8].copy_from_slice(&(number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
    hash
}

/// How long it takes from the answer to an announce until another node tells of its peer.
fn seen_after(from: Instant, client: &Client, swarm: [u8; 20], peer: SocketAddr, limit: Duration) -> Duration {
    loop {
        let observer = Announce { info_hash: swarm, ..leecher(9) };
        if client.announce(&observer).peers.contains(&peer) || from.elapsed() > limit {
            return from.elapsed();
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn a_peer_announced_at_any_node_is_told_by_all_others() {
    let cluster = Cluster::start(&SIX, &[]);
    let clients: HashMap<_, _> = SIX.map(|node| (node, Client::new(cluster.announce(node)))).into();
    let region = |node: &str| node.split_once('-').unwrap().0.to_owned();
    let (mut near, mut far) = (Duration::ZERO, Duration::ZERO);
    let limit = Duration::from_secs(10);
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
                    assert!(http::announce(cluster.announce(from), &swarm, port, "").holds(b"5:peers"));
                }
                let peer = if round % 2 == 0 { peer } else { SocketAddr::new(IpAddr::from([127, 0, 0, 1]), port) };
                let took = seen_after(Instant::now(), &clients[to], swarm, peer, limit);
                let most = if region(from) == region(to) { &mut near } else { &mut far };
                *most = took.max(*most);
            }
        }
    }
    let mut figures = Figures::default();
    // Six nodes without optimisation share two cores, and a single turn of the scheduler may take 100 ms.
    let [near_bound, far_bound] = choose([400, 1000], [100, 500]).map(Duration::from_millis);
    figures.within("a peer is told in its own region after", near, near_bound);
    figures.within("a peer is told in another region after", far, far_bound);
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
    let told = Instant::now();
    let mut figures = Figures::default();
    for (node, client) in SIX.into_iter().zip(&clients) {
        let by_udp = || swarms.chunks(70).flat_map(|some| client.scrape(some)).collect::<Vec<_>>();
        let by_http = || {
            let scraped = swarms.chunks(70).flat_map(|some| http::scrape(cluster.announce(node), some));
            scraped.collect::<Vec<_>>()
        };
        wait_until(&format!("{node} knows all by UDP"), Duration::from_secs(10), || by_udp() == expected);
        assert_eq!(by_http(), expected, "{node} by HTTP");
    }
    // Of the last announce, and with the time that twelve scrapes of each node take.
    let bound = Duration::from_millis(choose(3000, 500));
    figures.within("seeders, leechers and completed of 140 swarms agree at all nodes after", told.elapsed(), bound);
    figures.verdict();
}
