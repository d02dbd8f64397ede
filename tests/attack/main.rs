//! Attackers at every port of a real tracker, with good clients beside them that must not notice.
//!
//! `TIDINGS_ATTACK_DATAGRAMS` and `TIDINGS_ATTACK_REQUESTS` set how much is sent; `tests/must_show` sends ten million
//! datagrams and a million requests.

#![expect(clippy::disallowed_methods, reason = "what a client waits for is measured by the real clock")]

mod clients;
mod forge;
mod http;
#[path = "../support/tracker.rs"]
mod tracker;
mod udp;

use std::io::{ErrorKind, Read};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use forge::Forge;
use tracker::{Tracker, figure, scale};

/// Attackers over UDP, the last of which has IPv6; over HTTP alike.
const ATTACKERS: (u64, u64) = (3, 4);
/// `limits.http_connections`, of which so many are hoarded, and so many are slow.
const CONNECTIONS: (usize, usize, usize) = (1024, 700, 100);
/// `limits.http_idle`, in seconds.
const IDLE: u64 = 5;
/// What the tracker's memory may grow by, in bytes, most of it for the swarms and connections that the limits allow.
const GROWTH: u64 = 64 << 20;

fn settings() -> Vec<String> {
    // Attackers with a valid connection id may announce what they like: limits keep that in its place.
    ["limits.swarms=20000", "limits.peers=50000", "announce.threads=2"]
        .map(String::from)
        .into_iter()
        .chain([format!("limits.http_connections={}", CONNECTIONS.0), format!("limits.http_idle={IDLE}")])
        .collect()
}

/// Sets a flag when the scope is left, even by a panic, as the other threads would else go on for ever.
struct Finally<'a>(&'a AtomicBool);

impl Drop for Finally<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

/// Calls `round` with pauses until `done`.
fn repeat(pause: Duration, done: &AtomicBool, mut round: impl FnMut()) {
    while !done.load(Relaxed) {
        round();
        sleep(pause);
    }
}

#[test]
fn good_clients_do_not_notice_an_attack() {
    let (datagrams, requests) = (scale("TIDINGS_ATTACK_DATAGRAMS", 200_000), scale("TIDINGS_ATTACK_REQUESTS", 20_000));
    let mut tracker = Tracker::start(None, &settings());
    for target in &tracker.udp {
        clients::Udp::new(*target, 1).announce_others();
    }
    let (before, metrics_before) = (tracker.memory().0, tracker.metrics());

    let done = AtomicBool::new(false);
    let quotas = (AtomicU64::new(datagrams), AtomicU64::new(requests));
    let (udp_tally, http_tally) = (udp::Tally::default(), http::Tally::default());
    let start = Instant::now();
    let (mut over_udp, mut over_http) = (clients::Tally::default(), clients::Tally::default());
    let (mut hoarded, mut dribbled) = (0, (Duration::ZERO, 0));
    let tracker_ref = &tracker;
    let mut took = (Duration::ZERO, Duration::ZERO);
    scope(|scope| {
        let (done, quotas) = (&done, &quotas);
        let _finally = Finally(done);
        let good_udp: Vec<_> = [0, 0, 0, 1]
            .into_iter()
            .zip(2..)
            .map(|(family, number)| {
                let target = tracker_ref.udp[family];
                scope.spawn(move || {
                    let _finally = Finally(done);
                    let mut client = clients::Udp::new(target, number);
                    repeat(Duration::from_millis(5), done, || client.round());
                    client.tally
                })
            })
            .collect();
        let good_http: Vec<_> = (0..4)
            .map(|number| {
                let target = tracker_ref.http[number % 2];
                scope.spawn(move || {
                    let _finally = Finally(done);
                    let mut client = clients::Http::new(target);
                    repeat(Duration::from_millis(10), done, || match number {
                        0 | 1 => client.keep_alive_round(),
                        _ => client.round(),
                    });
                    client.tally
                })
            })
            .collect();
        let hoarder = scope.spawn(|| http::hoard(tracker_ref.http[0], CONNECTIONS.1, done));
        let dribbler = scope.spawn(|| http::dribble(tracker_ref.http[0], CONNECTIONS.2, done));
        let udp_attackers: Vec<_> = (0..ATTACKERS.0)
            .map(|number| {
                let target = tracker_ref.udp[usize::from(number + 1 == ATTACKERS.0)];
                let (quota, tally) = (&quotas.0, &udp_tally);
                scope.spawn(move || udp::attack(target, number, quota, tally))
            })
            .collect();
        let http_attackers: Vec<_> = (0..ATTACKERS.1)
            .map(|number| {
                let target = tracker_ref.http[usize::from(number + 1 == ATTACKERS.1)];
                let (quota, tally) = (&quotas.1, &http_tally);
                scope.spawn(move || http::attack(target, number, quota, tally))
            })
            .collect();
        udp_attackers.into_iter().for_each(|thread| thread.join().unwrap());
        took.0 = start.elapsed();
        http_attackers.into_iter().for_each(|thread| thread.join().unwrap());
        took.1 = start.elapsed();
        // Long enough that those who are idle or slow have run into their deadline.
        sleep(Duration::from_secs(2 * IDLE).saturating_sub(start.elapsed()));
        done.store(true, Relaxed);
        good_udp.into_iter().for_each(|thread| over_udp.add(&thread.join().unwrap()));
        good_http.into_iter().for_each(|thread| over_http.add(&thread.join().unwrap()));
        hoarded = hoarder.join().unwrap();
        dribbled = dribbler.join().unwrap();
    });

    let metrics = tracker.metrics();
    let more = |name: &str, labels: &[&str]| (metrics.sum(name, labels) - metrics_before.sum(name, labels)) as u64;
    let outcome = |outcome: &str| more("tidings_requests_total", &["transport=\"udp\"", outcome]);
    let http = |name: &str| more(&format!("tidings_http_connections_{name}_total"), &[]);
    let (after, most) = tracker.memory();
    let mb = |bytes: u64| format!("{:.1} MB", bytes as f64 / 1e6);
    let growth = most.saturating_sub(before);
    let sent = udp_tally.sent.load(Relaxed);
    println!("{sent} datagrams in {:.1} s, replies to them {}", took.0.as_secs_f64(), udp_tally.replies.load(Relaxed));
    println!("  of these to unproven sources, none longer than its request: {}", udp_tally.to_unproven.load(Relaxed));
    println!(
        "{} HTTP requests over {} connections in {:.1} s",
        http_tally.sent.load(Relaxed),
        http_tally.connections.load(Relaxed),
        took.1.as_secs_f64()
    );
    println!("  {} well-formed ones each got a failure reason", http_tally.refused.load(Relaxed));
    println!("good clients over UDP: {over_udp:?}");
    println!("good clients over HTTP: {over_http:?}");
    println!("silent connections closed: {hoarded}, slow ones: {}, the slowest after {:?}", dribbled.1, dribbled.0);
    println!("memory: {} before, {} after, {} at most", mb(before), mb(after), mb(most));
    for name in ["malformed", "bad_connection_id", "unanswerable", "shed"] {
        println!("datagrams counted as {name}: {}", outcome(&format!("outcome=\"{name}\"")));
    }

    let counted = more("tidings_requests_total", &["transport=\"udp\""]);
    let all_sent = sent + over_udp.answers + over_udp.retried;
    let unanswered = over_udp.unanswered + over_http.unanswered;
    let answers = over_udp.answers + over_http.answers;
    let panics = tracker.log().matches("panicked").count() as u64
        + metrics.sum("tidings_http_connection_panics_total", &[]) as u64
        + metrics.sum("tidings_owner_restarts_total", &[]) as u64;
    let verdicts = [
        figure(
            "broken datagrams",
            &sent.to_string(),
            &format!("≥ {}", datagrams / 32 * 32),
            sent >= datagrams / 32 * 32,
        ),
        figure(
            "broken HTTP requests",
            &http_tally.sent.load(Relaxed).to_string(),
            &format!("≥ {requests}"),
            http_tally.sent.load(Relaxed) >= requests,
        ),
        figure("good clients' answers", &answers.to_string(), "≥ 100", over_udp.answers.min(over_http.answers) >= 100),
        figure("  unanswered even when asked twice", &unanswered.to_string(), "0", unanswered == 0),
        figure(
            "  asked twice (UDP)",
            &over_udp.retried.to_string(),
            "≤ 0.1 %",
            over_udp.retried * 1000 <= over_udp.answers,
        ),
        figure("memory at most, above the start", &mb(growth), &format!("≤ {}", mb(GROWTH)), growth <= GROWTH),
        figure("panics", &panics.to_string(), "0", panics == 0),
    ];
    assert!(verdicts.iter().all(|good| *good));
    assert!(tracker.is_alive());
    assert!(counted <= all_sent, "{counted} counted of {all_sent}");
    assert!(counted * 100 >= all_sent * 99, "the kernel dropped too many: {counted} counted of {all_sent}");
    for name in ["malformed", "bad_connection_id", "unanswerable"] {
        assert!(outcome(&format!("outcome=\"{name}\"")) * 1000 >= datagrams, "{name}");
    }
    assert!(more("tidings_requests_total", &["transport=\"http\"", "outcome=\"invalid\""]) > 0);
    assert!(http("malformed") > 0 && http("timed_out") >= CONNECTIONS.1 as u64);
    assert!(hoarded >= CONNECTIONS.1 as u64 && dribbled.1 >= CONNECTIONS.2 as u64);
    assert!(dribbled.0 < Duration::from_secs(3 * IDLE), "a slow connection lasted {:?}", dribbled.0);
    let status = tracker.terminate();
    assert!(status.success(), "{status}");
}

#[test]
fn who_was_there_first_is_served_while_all_connections_are_taken() {
    const LIMIT: usize = 200;
    let settings = [format!("limits.http_connections={LIMIT}"), format!("limits.http_idle={IDLE}")];
    let tracker = Tracker::start(None, &settings);
    let mut forge = Forge::new(1);
    for target in &tracker.udp {
        clients::Udp::new(*target, 1).announce_others();
    }
    let (mut udp, mut http) = (clients::Udp::new(tracker.udp[0], 2), clients::Http::new(tracker.http[0]));
    http.keep_alive_round();
    // Room for one less, as the good client has a connection.
    let mut silent: Vec<_> = (0..LIMIT + 49).map(|_| http::connect(tracker.http[0], &mut forge)).collect();
    silent.iter().for_each(|stream| stream.set_nonblocking(true).unwrap());
    let mut refused = || {
        let is_open =
            |result: std::io::Result<usize>| matches!(result, Err(error) if error.kind() == ErrorKind::WouldBlock);
        silent.retain_mut(|stream| is_open(stream.read(&mut [0])));
        LIMIT + 49 - silent.len()
    };
    let soon = Instant::now() + Duration::from_secs(IDLE) / 2;
    while Instant::now() < soon && refused() < 50 {
        http.keep_alive_round();
        sleep(Duration::from_millis(20));
    }
    assert_eq!(refused(), 50);
    assert_eq!(tracker.metrics().sum("tidings_http_connections_refused_total", &[]), 50.0);
    let end = Instant::now() + Duration::from_secs(IDLE + 5);
    while Instant::now() < end {
        udp.round();
        http.keep_alive_round();
        sleep(Duration::from_millis(100));
    }
    // The silent ones have made room.
    http.round();
    assert_eq!((udp.tally.unanswered, http.tally.unanswered), (0, 0));
    assert!(http.tally.answers > 50);
    assert_eq!(refused(), LIMIT + 49, "all that were silent are closed");
}
