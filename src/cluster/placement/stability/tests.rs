use super::*;
use crate::cluster::{Member, PartitionSet};

const STABLE: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, PartialEq)]
enum Is {
    Up,
    Down,
    Leaving,
}
use Is::{Down, Leaving, Up};

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Members called a, b, c and so on, all in one region.
fn members(states: &[Is]) -> Members {
    let member = |(name, is): (u8, &Is)| Member {
        id: std::str::from_utf8(&[name]).unwrap().into(),
        region: "eu".into(),
        incarnation: 1,
        link: ([127, 0, 0, 1], 7000).into(),
        weight: 1,
        leaving: *is == Leaving,
        held: PartitionSet::default(),
        alive: *is != Down,
    };
    Members((b'a'..).zip(states).map(member).collect())
}

impl StableMembership {
    /// The uptime when the next dead member is due to be removed, unless the guard keeps it.
    fn next_removal(&self) -> Option<Duration> {
        let due = |known: &Known| match known.state {
            State::Dead { until, .. } => Some(until),
            _ => None,
        };
        self.known.values().filter_map(due).min()
    }
}

/// The members that count after an update.
fn ids(ring: &mut StableMembership, seconds: u64, states: &[Is]) -> String {
    ring.update(at(seconds), &members(states)).as_slice().iter().map(|member| member.id.as_str().to_owned()).collect()
}

#[test]
fn a_member_that_restarts_in_time_keeps_its_place() {
    let mut ring = StableMembership::new(STABLE);
    assert_eq!(ids(&mut ring, 0, &[Up, Up, Up]), "abc");
    assert_eq!(ring.next_removal(), None);
    assert_eq!(ids(&mut ring, 10, &[Up, Up, Down]), "abc");
    assert_eq!(ring.next_removal(), Some(at(70)));
    assert_eq!(ids(&mut ring, 69, &[Up, Up, Up]), "abc");
    assert_eq!(ring.next_removal(), None);
    // The time starts again.
    assert_eq!(ids(&mut ring, 75, &[Up, Up, Down]), "abc");
    assert_eq!(ids(&mut ring, 134, &[Up, Up, Down]), "abc");
    assert_eq!(ring.next_removal(), Some(at(135)));
}

#[test]
fn a_member_that_stays_away_is_removed_and_returns_at_once() {
    let mut ring = StableMembership::new(STABLE);
    ids(&mut ring, 0, &[Up, Up, Up]);
    ids(&mut ring, 10, &[Up, Up, Down]);
    assert_eq!(ids(&mut ring, 70, &[Up, Up, Down]), "ab");
    assert_eq!(ring.next_removal(), None);
    assert_eq!(ids(&mut ring, 500, &[Up, Up, Down]), "ab", "it does not count as newly dead");
    assert_eq!(ids(&mut ring, 501, &[Up, Up, Up]), "abc");
}

#[test]
fn a_leaving_member_is_removed_at_once_for_good() {
    let mut ring = StableMembership::new(STABLE);
    ids(&mut ring, 0, &[Up, Up, Up]);
    assert_eq!(ids(&mut ring, 1, &[Up, Up, Leaving]), "ab");
    let mut left = members(&[Up, Up, Leaving]);
    left.0[2].alive = false;
    assert_eq!(ring.update(at(2), &left).as_slice().len(), 2);
    assert_eq!(ids(&mut ring, 3, &[Up, Up]), "ab");
    assert_eq!(ring.next_removal(), None);
}

#[test]
fn an_unlisted_member_counts_as_dead() {
    let mut ring = StableMembership::new(STABLE);
    ids(&mut ring, 0, &[Up, Up, Up]);
    assert_eq!(ids(&mut ring, 10, &[Up, Up]), "abc");
    assert_eq!(ids(&mut ring, 70, &[Up, Up]), "ab");
    assert_eq!(ids(&mut ring, 90, &[Up, Up, Down]), "ab", "it is remembered for a while");
}

#[test]
fn a_member_never_seen_alive_counts_for_a_while() {
    let mut ring = StableMembership::new(STABLE);
    assert_eq!(ids(&mut ring, 5, &[Up, Up, Down]), "abc");
    assert_eq!(ids(&mut ring, 65, &[Up, Up, Down]), "ab");
}

#[test]
fn a_third_may_go_and_more_are_held_for_twice_as_long_again() {
    let mut ring = StableMembership::new(STABLE);
    ids(&mut ring, 0, &[Up; 6]);
    ids(&mut ring, 10, &[Up, Up, Up, Up, Down, Down]);
    assert_eq!(ids(&mut ring, 70, &[Up, Up, Up, Up, Down, Down]), "abcd");

    let mut ring = StableMembership::new(STABLE);
    let cut_off = [Up, Down, Down, Down, Down, Down];
    ids(&mut ring, 0, &[Up; 6]);
    ids(&mut ring, 10, &cut_off);
    assert_eq!(ids(&mut ring, 70, &cut_off), "abcdef");
    assert_eq!(ring.next_removal(), Some(at(190)));
    assert_eq!(ids(&mut ring, 189, &cut_off), "abcdef");
    assert_eq!(ids(&mut ring, 190, &cut_off), "a");
}

#[test]
fn the_guard_sees_deaths_that_come_one_after_the_other() {
    let mut ring = StableMembership::new(STABLE);
    ids(&mut ring, 0, &[Up; 6]);
    ids(&mut ring, 10, &[Up, Up, Up, Up, Up, Down]);
    ids(&mut ring, 50, &[Up, Up, Up, Up, Down, Down]);
    // The first one goes: two of six are dead.
    assert_eq!(ids(&mut ring, 70, &[Up, Up, Up, Up, Down, Down]), "abcde");
    // The next two do not: three of six in one window.
    assert_eq!(ids(&mut ring, 100, &[Up, Up, Up, Down, Down, Down]), "abcde");
    assert_eq!(ids(&mut ring, 110, &[Up, Up, Up, Down, Down, Down]), "abcde");
    assert_eq!(ring.next_removal(), Some(at(160)));
    // Long after the first is forgotten the last one is alone with one other dead, of five: that is more than a third.
    assert_eq!(ids(&mut ring, 160, &[Up, Up, Up, Down, Down, Down]), "abcde");
    assert_eq!(ids(&mut ring, 230, &[Up, Up, Up, Down, Down, Down]), "abcd");
    assert_eq!(ids(&mut ring, 280, &[Up, Up, Up, Down, Down, Down]), "abc");
}

#[test]
fn the_guard_does_not_hold_after_a_long_silence_of_this_node() {
    let mut ring = StableMembership::new(STABLE);
    ids(&mut ring, 0, &[Up; 3]);
    ids(&mut ring, 10, &[Up, Down, Down]);
    assert_eq!(ids(&mut ring, 1000, &[Up, Down, Down]), "a");
}

#[test]
fn regions_are_guarded_apart_and_what_changes_at_a_restart_counts() {
    let mut ring = StableMembership::new(STABLE);
    let mut now = members(&[Up; 6]);
    now.0[5].region = "us".into();
    ring.update(at(0), &now);
    now.0[4].alive = false;
    now.0[5].alive = false;
    ring.update(at(10), &now);
    let left = ring.update(at(70), &now);
    assert!(!left.contains(&"e".into()), "one of five");
    assert!(left.contains(&"f".into()), "one of one");

    now.0[4].alive = true;
    now.0[4].region = "us".into();
    now.0[4].weight = 3;
    let moved = StableMember { region: "us".into(), id: "e".into(), weight: 3 };
    assert!(ring.update(at(80), &now).as_slice().contains(&moved));
}
