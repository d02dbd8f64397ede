use super::*;
use crate::cluster::membership::member::PartitionSet;

const OURS: u64 = 1_000;

fn gossip(host: u8) -> SocketAddr {
    ([10, 0, 0, host], 7071).into()
}

fn said(id: &str, incarnation: u64) -> Advertised {
    let me = Me {
        id: id.into(),
        region: "eu".into(),
        incarnation,
        link: ([10, 0, 0, 1], 7072).into(),
        weight: 1,
        partitions: 256,
        replicas: 2,
        protocol: 1,
    };
    Advertised { me, leaving: false, held: PartitionSet::default() }
}

fn heard(id: &str, generation: u64, host: u8, alive: bool, heartbeat: u64) -> ObservedNode {
    let start = Start { id: id.into(), generation, gossip: gossip(host) };
    ObservedNode { start, alive, heartbeat, advertised: Ok(said(id, generation)) }
}

/// Updates its view repeatedly, as a node does.
struct Observer {
    view: View,
    own: Advertised,
    members: Members,
    conflict: Option<Conflict>,
}

impl Observer {
    fn start() -> Self {
        let own = said("me", OURS);
        let members = Members(vec![own.member(true)]);
        Self { view: View::new(own.me.clone(), gossip(1)), own, members, conflict: None }
    }

    fn observe(&mut self, at: u64, hold: bool, heard: &[ObservedNode]) {
        let now = Duration::from_millis(at);
        (self.members, self.conflict) = self.view.update(heard, &self.own, &self.members, hold, now);
    }

    /// The members but this node, with what is alive.
    fn others(&self) -> Vec<(&str, u64, bool)> {
        let others = self.members.0.iter().filter(|member| member.id.as_str() != "me");
        others.map(|member| (member.id.as_str(), member.incarnation, member.alive)).collect()
    }
}

#[test]
fn of_the_starts_of_a_node_the_last_that_lives_counts() {
    let mut observer = Observer::start();
    observer.observe(0, false, &[heard("b", 1, 2, true, 5)]);
    assert_eq!(observer.others(), [("b", 1, true)]);
    // It restarts: first only heard of, then both alive, then the ghost fades, then it dies too.
    for (at, ghost, fresh, expected) in [
        (1_000, true, false, ("b", 1, true)),
        (2_000, true, true, ("b", 2, true)),
        (3_000, false, true, ("b", 2, true)),
        (4_000, false, false, ("b", 2, false)),
    ] {
        observer.observe(at, false, &[heard("b", 1, 2, ghost, 5), heard("b", 2, 2, fresh, 5)]);
        assert_eq!(observer.others(), [expected], "{at}");
    }
    observer.observe(900_000, false, &[]);
    assert_eq!(observer.others(), []);
}

#[test]
fn a_node_that_others_call_dead_is_a_member_only_after_a_while() {
    let mut observer = Observer::start();
    observer.observe(0, false, &[heard("b", 1, 2, false, 5)]);
    assert_eq!(observer.others(), []);
    observer.observe(3_001, false, &[heard("b", 1, 2, false, 5)]);
    assert_eq!(observer.others(), [("b", 1, false)]);
}

#[test]
fn while_judgement_is_held_back_no_node_goes_down() {
    let mut observer = Observer::start();
    observer.observe(0, false, &[heard("b", 1, 2, true, 5), heard("c", 1, 3, true, 5)]);
    // One seems dead, the other is not heard of at all, as after a new start of gossip.
    observer.observe(1_000, true, &[heard("b", 1, 2, false, 5)]);
    assert_eq!(observer.others(), [("b", 1, true), ("c", 1, true)]);
    observer.observe(2_000, true, &[heard("b", 1, 2, true, 9), heard("c", 2, 3, true, 5)]);
    assert_eq!(observer.others(), [("b", 1, true), ("c", 2, true)]);
    observer.observe(3_000, false, &[heard("b", 1, 2, false, 5)]);
    assert_eq!(observer.others(), [("b", 1, false)]);
    observer.observe(4_000, true, &[heard("b", 1, 2, false, 5)]);
    assert_eq!(observer.others(), [("b", 1, false)], "what was down before stays down");
}

#[test]
fn a_living_node_with_our_name_is_a_conflict_for_the_younger() {
    for (theirs, conflict) in [(OURS - 1, true), (OURS + 1, false)] {
        let mut observer = Observer::start();
        for at in 0..40 {
            observer.observe(at * 250, false, &[heard("me", theirs, 9, true, at)]);
            if at * 250 <= 3_000 {
                assert_eq!(observer.conflict, None, "{at}");
            }
        }
        let expected = Conflict::DuplicateId { id: "me".into(), other: gossip(9) };
        assert_eq!(observer.conflict, conflict.then_some(expected));
        assert_eq!(observer.view.warned_of_duplicate, !conflict);
        assert_eq!(observer.members.get(&"me".into()).unwrap().incarnation, OURS);
        observer.observe(11_000, false, &[heard("me", theirs, 9, false, 40)]);
        assert_eq!(observer.conflict, None, "it ends with the other node");
    }
}

#[test]
fn an_echo_of_our_own_earlier_start_is_no_conflict() {
    let mut observer = Observer::start();
    for at in 0..200 {
        // The last heartbeats trickle in from other nodes, one of them late. The same address may be ours for long.
        let heartbeat = 50 + at.min(10) + u64::from(at > 15);
        observer.observe(at * 250, false, &[heard("me", 1, 9, at < 30, heartbeat), heard("me", 2, 1, true, at)]);
        assert_eq!(observer.conflict, None, "{at}");
    }
}

#[test]
fn a_node_with_other_settings_is_refused_and_reported() {
    type Change = fn(&mut Me);
    let cases: [(Change, &str); 3] = [
        (|me| me.partitions = 512, "node b has 512 partitions and this node has 256: set cluster.partitions"),
        (|me| me.replicas = 3, "node b keeps 3 replicas per region and this node 2: set cluster.replicas_per_region"),
        (|me| me.protocol = 9, "node b speaks version 9 of the protocol between nodes and this node version 1: run"),
    ];
    for (change, sentence) in cases {
        for (incarnation, must_stop) in [(OURS - 1, true), (OURS + 1, false)] {
            let mut observer = Observer::start();
            observer.observe(0, false, &[heard("b", incarnation, 2, true, 5)]);
            let mut changed = heard("b", incarnation, 2, true, 5);
            change(&mut changed.advertised.as_mut().unwrap().me);
            // Not even after a pause.
            observer.observe(1_000, true, &[changed.clone(), heard("c", 1, 3, true, 5)]);
            assert_eq!(observer.others(), [("c", 1, true)]);
            let conflict = observer.conflict.clone().unwrap();
            assert!(conflict.to_string().starts_with(sentence), "{conflict}");
            assert_eq!(conflict.must_stop(), must_stop);
            changed.alive = false;
            observer.observe(2_000, false, &[changed]);
            assert_eq!(observer.conflict, None);
        }
    }
}

#[test]
fn a_node_that_makes_no_sense_is_ignored_and_counted_once() {
    let mut observer = Observer::start();
    let broken = |error| ObservedNode { advertised: Err(error), ..heard("b", 1, 2, true, 5) };
    for at in 0..100 {
        observer.observe(at * 250, false, &[broken(AdvertisedError::Missing("link"))]);
        assert_eq!(observer.view.ignored(), u64::from(at * 250 >= 10_000), "what is missing may be on its way");
    }
    let mut observer = Observer::start();
    for at in 0..3 {
        observer.observe(at, false, &[broken(AdvertisedError::Malformed("link"))]);
        assert_eq!((observer.view.ignored(), observer.others()), (1, vec![]));
    }
}
