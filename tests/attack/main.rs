//! Attackers at every port of a real tracker, beside well-behaved clients that must not notice.
//!
//! `ATTACK_DATAGRAMS` and `ATTACK_REQUESTS` set how much is sent; `tests/must_show` sends ten million datagrams and a
//! million requests.

#![expect(clippy::disallowed_methods, reason = "what a client waits for is measured by the real clock")]

mod clients;
mod forge;
mod http;
mod udp;

use std::io::{ErrorKind, Read};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use forge::Forge;
use tidings::testkit::binary::number;
use tidings::testkit::figures::{Figures, choose};
use tidings::testkit::tracker::TrackerProcess;
use tidings::testkit::wait::wait_until;

/// Attackers over UDP and over HTTP. The last of each uses IPv6.
const ATTACKERS: (u64, u64) = (3, 4);
/// `limits.http_connections`, and how many of them are silent and slow.
const CONNECTIONS: (usize, usize, usize) = (1024, 700, 100);
/// `limits.http_idle`, in seconds.
const IDLE: u64 = 5;
/// The growth of the tracker's memory in bytes; most of it is for the swarms and connections that the limits allow.
const GROWTH: u64 = 64 << 20;

fn settings() -> Vec<String> {
    // Attackers with a valid connection id may announce what they like, within limits.
    ["limits.swarms=20000", "limits.peers=50000", "announce.threads=2"]
        .map(String::from)
        .into_iter()
        .chain([format!("limits.http_connections={}", CONNECTIONS.0), format!("limits.http_idle={IDLE}")])
        .collect()
}

/// Sets a flag when the scope ends, even by a panic: otherwise the other threads would go on forever.
struct SetOnDrop<'a>(&'a AtomicBool);

impl Drop for SetOnDrop<'_> {
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
fn clients_do_not_notice_an_attack() {
    let (datagrams, requests) = (number("ATTACK_DATAGRAMS", 200_000), number("ATTACK_REQUESTS", 20_000));
    let mut tracker = TrackerProcess::start(&settings());
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
        let _finally = SetOnDrop(done);
        let good_udp: Vec<_> = [0, 0, 0, 1]
            .into_iter()
            .zip(2..)
            .map(|(family, number)| {
                let target = tracker_ref.udp[family];
                scope.spawn(move || {
                    let _finally = SetOnDrop(done);
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
                    let _finally = SetOnDrop(done);
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
        // Silent and slow connections reach their deadline.
        let timed_out = || tracker_ref.metrics().sum("tidings_http_connections_timed_out_total", &[]);
        let idle = (CONNECTIONS.1 + CONNECTIONS.2) as f64;
        wait_until("silent and slow connections are closed", || timed_out() >= idle);
        // Their owners notice it within their next round.
        sleep(Duration::from_secs(2));
        done.store(true, Relaxed);
        good_udp.into_iter().for_each(|thread| over_udp.add(&thread.join().unwrap()));
        good_http.into_iter().for_each(|thread| over_http.add(&thread.join().unwrap()));
        hoarded = hoarder.join().unwrap();
        dribbled = dribbler.join().unwrap();
    });

    let metrics = tracker.metrics();
    let grown = |name: &str, labels: &[&str]| (metrics.sum(name, labels) - metrics_before.sum(name, labels)) as u64;
    let outcome = |outcome: &str| grown("tidings_requests_total", &["transport=\"udp\"", outcome]);
    let http = |name: &str| grown(&format!("tidings_http_connections_{name}_total"), &[]);
    let (after, peak) = tracker.memory();
    let mb = |bytes: u64| format!("{:.1} MB", bytes as f64 / 1e6);
    let growth = peak.saturating_sub(before);
    let sent = udp_tally.sent.load(Relaxed);
    println!("{sent} datagrams in {:.1} s, replies to them {}", took.0.as_secs_f64(), udp_tally.replies.load(Relaxed));
    println!("  of these to unproven addresses, none longer than its request: {}", udp_tally.to_unproven.load(Relaxed));
    println!(
        "{} HTTP requests over {} connections in {:.1} s",
        http_tally.sent.load(Relaxed),
        http_tally.connections.load(Relaxed),
        took.1.as_secs_f64()
    );
    println!("  {} well-formed ones each got a failure reason", http_tally.refused.load(Relaxed));
    println!("clients over UDP: {over_udp:?}");
    println!("clients over HTTP: {over_http:?}");
    println!("silent connections closed: {hoarded}, slow ones: {}, the slowest after {:?}", dribbled.1, dribbled.0);
    println!("memory: {} before, {} after, {} peak", mb(before), mb(after), mb(peak));
    for name in ["malformed", "bad_connection_id", "unanswerable", "shed"] {
        println!("datagrams counted as {name}: {}", outcome(&format!("outcome=\"{name}\"")));
    }

    let counted = grown("tidings_requests_total", &["transport=\"udp\""]);
    let all_sent = sent + over_udp.answers + over_udp.retried;
    let unanswered = over_udp.unanswered + over_http.unanswered;
    let answers = over_udp.answers + over_http.answers;
    let panics = tracker.log().matches("panicked").count() as u64
        + metrics.sum("tidings_http_connection_panics_total", &[]) as u64
        + metrics.sum("tidings_owner_restarts_total", &[]) as u64;
    let mut figures = Figures::default();
    let (sent_http, least) = (http_tally.sent.load(Relaxed), datagrams / 32 * 32);
    figures.row("broken datagrams", sent, format!("≥ {least}"), sent >= least);
    figures.row("broken HTTP requests", sent_http, format!("≥ {requests}"), sent_http >= requests);
    figures.row("clients' answers", answers, "≥ 100", over_udp.answers.min(over_http.answers) >= 100);
    figures.none("  unanswered even when requested again", unanswered);
    let retried = over_udp.retried;
    figures.timing("  requested again (UDP)", retried, "≤ 0.1 %", retried * 1000 <= over_udp.answers);
    figures.row("peak memory above the start", mb(growth), format!("≤ {}", mb(GROWTH)), growth <= GROWTH);
    figures.none("panics", panics);
    let longest = Duration::from_secs(3 * IDLE);
    figures.within("longest life of a slow connection", dribbled.0, longest);
    figures.verdict();
    assert!(tracker.is_alive());
    assert!(counted <= all_sent, "{counted} counted of {all_sent}");
    let least = choose(50, 99);
    assert!(counted * 100 >= all_sent * least, "the kernel dropped too many: {counted} counted of {all_sent}");
    for name in ["malformed", "bad_connection_id", "unanswerable"] {
        assert!(outcome(&format!("outcome=\"{name}\"")) * 1000 >= datagrams, "{name}");
    }
    assert!(grown("tidings_requests_total", &["transport=\"http\"", "outcome=\"invalid\""]) > 0);
    assert!(http("malformed") > 0);
    assert!(hoarded >= CONNECTIONS.1 as u64 && dribbled.1 >= CONNECTIONS.2 as u64);
    let status = tracker.terminate();
    assert!(status.success(), "{status}");
}

#[test]
fn open_connections_are_served_while_all_are_taken() {
    const LIMIT: usize = 200;
    let settings = [format!("limits.http_connections={LIMIT}"), format!("limits.http_idle={IDLE}")];
    let tracker = TrackerProcess::start(&settings);
    let mut forge = Forge::new(1);
    for target in &tracker.udp {
        clients::Udp::new(*target, 1).announce_others();
    }
    let (mut udp, mut http) = (clients::Udp::new(tracker.udp[0], 2), clients::Http::new(tracker.http[0]));
    http.keep_alive_round();
    // The client above has one of the connections.
    let mut silent: Vec<_> = (0..LIMIT + 49).map(|_| http::connect(tracker.http[0], &mut forge)).collect();
    silent.iter().for_each(|stream| stream.set_nonblocking(true).unwrap());
    let mut refused = || {
        let is_open =
            |result: std::io::Result<usize>| matches!(result, Err(error) if error.kind() == ErrorKind::WouldBlock);
        silent.retain_mut(|stream| is_open(stream.read(&mut [0])));
        LIMIT + 49 - silent.len()
    };
    wait_until("connections above the limit are closed", || {
        http.keep_alive_round();
        refused() >= 50
    });
    // Until the silent ones have been idle for too long.
    wait_until("all silent connections are closed", || {
        udp.round();
        http.keep_alive_round();
        refused() == LIMIT + 49
    });
    assert_eq!(tracker.metrics().sum("tidings_http_connections_refused_total", &[]), 50.0);
    // There is room for new ones.
    http.round();
    assert_eq!((udp.tally.unanswered, http.tally.unanswered), (0, 0));
}
