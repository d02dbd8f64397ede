//! Scrapes over UDP, which are positional.

use super::node::{Node, settings};
use tidings::testkit::udp_client::{Announce, HASH, SCRAPE, head, leecher, scraped};

/// Info hashes that spread over all partitions.
fn hash(number: u8) -> [u8; 20] {
    [number.wrapping_mul(151); 20]
}

#[test]
fn trap_16_a_scrape_takes_whole_hashes_only() {
    let node = Node::start(settings());
    let client = node.v4();
    client.announce(&leecher(1));
    for extra in 1..20 {
        let request = [&head(client.id, SCRAPE, 9)[..], &HASH, &vec![7; extra]].concat();
        assert_eq!(scraped(&client.request(&request).unwrap()), [[0, 0, 1]], "{extra} bytes more");
    }
    assert_eq!(client.error(&[&head(client.id, SCRAPE, 9)[..], &[7; 19]].concat()), "no hash");
    // As many as fit into an Ethernet frame.
    assert_eq!(client.scrape(&[HASH; 72]), [[0, 0, 1]; 72]);
}

#[test]
fn trap_17_a_scrape_is_positional_over_all_partitions() {
    let node = Node::start(settings());
    let client = node.v4();
    // Swarm n has n leechers.
    for number in 1..=20 {
        (1..=u16::from(number))
            .for_each(|port| _ = client.announce(&Announce { info_hash: hash(number), ..leecher(port) }));
    }
    // In several orders, with duplicates and with unknown hashes.
    for step in [1, 3, 7, 11] {
        let numbers: Vec<u8> = (0..70u8).map(|at| at.wrapping_mul(step) % 25).collect();
        let hashes: Vec<_> = numbers.iter().map(|number| hash(*number)).collect();
        let expected: Vec<_> =
            numbers.iter().map(|number| [0, 0, if *number > 20 { 0 } else { (*number).into() }]).collect();
        assert_eq!(client.scrape(&hashes), expected);
    }
}
