//! Owners that panic or are too slow.

use std::sync::atomic::Ordering::Relaxed;

use tidings::partition::OwnerIndex;
use tidings::swarm::InfoHash;

use tidings::testkit::wait::wait_until;

use super::node::{Node, settings};
use tidings::testkit::udp_client::{ANNOUNCE, Announce, Client, be32, leecher};

fn swarm(number: u8) -> Announce {
    Announce { info_hash: [number.wrapping_mul(151); 20], ..leecher(1) }
}

#[test]
fn a_panic_in_one_owner_is_counted_and_the_others_go_on() {
    let node = Node::start(settings());
    let (client, router) = (node.v4(), node.get().router());
    let owner_of = |number| router.owners().owner_of_swarm(router.owners().hash(&InfoHash(swarm(number).info_hash)));
    (0..64).for_each(|number| _ = client.announce(&swarm(number)));

    let visit = router.visit_owner(OwnerIndex(0), |_, _| -> () { panic!("on purpose") });
    assert!(node.runtime.block_on(visit).is_err());

    // The others still have their peers.
    for number in (0..64).filter(|number| owner_of(*number) != OwnerIndex(0)) {
        assert_eq!(client.scrape(&[swarm(number).info_hash]), [[0, 0, 1]], "swarm {number}");
    }
    wait_until("the owner is replaced", || router.owners().restarts.load(Relaxed) > 0);
    assert_eq!(router.owners().restarts.load(Relaxed), 1);
    // The new owner starts empty and serves.
    let lost: Vec<_> = (0..64).filter(|number| owner_of(*number) == OwnerIndex(0)).collect();
    assert!(!lost.is_empty());
    for number in lost {
        assert_eq!(client.announce(&swarm(number)).leechers, 1, "swarm {number}");
    }
}

#[test]
fn trap_37_an_owner_that_is_behind_has_a_bounded_queue() {
    let mut settings = settings();
    settings.limits.in_flight = 16;
    let node = Node::start(settings);
    let router = node.get().router();
    // For the sockets of both threads: the kernel chooses by the source port.
    let clients: Vec<Client> = (0..16).map(|_| node.v4()).collect();
    let owners = router.owners();
    let of_first =
        |number: &u8| owners.owner_of_swarm(owners.hash(&InfoHash(swarm(*number).info_hash))) == OwnerIndex(0);
    let swarms: Vec<u8> = (0..64).filter(of_first).take(4).collect();
    let (held, wait) = std::sync::mpsc::channel::<()>();
    let visit = router.clone();
    let busy = node.runtime.spawn(async move { visit.visit_owner(OwnerIndex(0), move |_, _| wait.recv()).await });
    let mut round = 0;
    wait_until("announces are shed", || {
        round += 1;
        for client in &clients {
            swarms.iter().for_each(|number| _ = client.socket.send(&swarm(*number).bytes(client.id, round)).unwrap());
        }
        let in_flight = router.owners().load()[0].status().in_flight.load(Relaxed);
        assert!(in_flight <= 16, "{in_flight} in flight");
        router.owners().shed.load(Relaxed) > 0
    });
    drop(held);
    // The visit may have missed its deadline.
    let _ = node.runtime.block_on(busy);
    // An announce that was shed is lost like a packet; the next one is answered.
    for client in &clients {
        let reply = client.request(&swarm(1).bytes(client.id, 1)).unwrap();
        assert_eq!(be32(&reply), ANNOUNCE);
    }
}
