//! `tidings load` against a tiny tracker in this process that knows exactly what was announced.

use std::collections::{HashMap, HashSet};
use std::net::{SocketAddr, UdpSocket};
use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::Value;
use tidings::swarm::{Counts, Event};
use tidings::testkit::binary::command;
use tidings::wire::udp::{
    ConnectionId, Request, parse_request, write_announce, write_connect, write_error, write_scrape, write_scrape_entry,
};

type Swarms = HashMap<[u8; 20], HashMap<SocketAddr, bool>>;

/// A fault of the tracker.
#[derive(Clone, Copy, PartialEq)]
enum Fault {
    None,
    /// Every tenth announce is neither answered nor applied.
    DropsTenth,
    /// Forgets every fourth peer.
    ForgetsFourth,
    /// Refuses announces.
    Refuses,
    /// The last byte of each announce reply is missing.
    Truncates,
    /// Sleeps for 400 ms once, after 100 announces.
    Stalls,
    /// Answers only connects.
    Mute,
}

/// A UDP tracker on a thread of its own.
struct Tracker {
    addr: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<(Swarms, usize)>>,
}

impl Tracker {
    fn start(fault: Fault) -> Self {
        Self::start_at("127.0.0.1:0", fault)
    }

    fn start_at(addr: &str, fault: Fault) -> Self {
        let socket = UdpSocket::bind(addr).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let (addr, stop) = (socket.local_addr().unwrap(), Arc::new(AtomicBool::new(false)));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || serve(&socket, fault, &stopped));
        Self { addr, stop, thread: Some(thread) }
    }

    /// The swarms and the number of connects.
    fn stop(mut self) -> (Swarms, usize) {
        self.stop.store(true, Relaxed);
        self.thread.take().unwrap().join().unwrap()
    }
}

fn serve(socket: &UdpSocket, fault: Fault, stop: &AtomicBool) -> (Swarms, usize) {
    let (mut swarms, mut connects, mut announces) = (Swarms::new(), 0, 0u32);
    let mut buffer = [0; 2048];
    while !stop.load(Relaxed) {
        let Ok((len, from)) = socket.recv_from(&mut buffer) else { continue };
        let mut out = Vec::new();
        match parse_request(&buffer[..len]).expect("the load generator sends only good requests") {
            Request::Connect { transaction_id } => {
                connects += 1;
                write_connect(&mut out, transaction_id, ConnectionId(u64::from(from.port())));
            }
            Request::Announce(a) => {
                assert_eq!(a.connection_id.0, u64::from(from.port()), "the id of its own socket");
                announces += 1;
                let peer = SocketAddr::new(from.ip(), a.port);
                match fault {
                    Fault::Mute => continue,
                    Fault::DropsTenth if announces % 10 == 0 => continue,
                    Fault::Stalls if announces == 100 => std::thread::sleep(Duration::from_millis(400)),
                    _ => {}
                }
                let swarm = swarms.entry(a.info_hash.0).or_default();
                if a.event == Event::Stopped {
                    swarm.remove(&peer);
                } else if !(fault == Fault::ForgetsFourth && announces % 4 == 0) {
                    swarm.insert(peer, a.is_seeder());
                }
                if fault == Fault::Refuses {
                    write_error(&mut out, a.transaction_id, "go away", 100);
                } else {
                    write_announce(&mut out, a.transaction_id, 1800, &counts(swarm));
                    let want = usize::try_from(a.num_want).unwrap_or(50).min(60);
                    for peer in swarm.keys().filter(|other| **other != peer).take(want) {
                        match peer.ip() {
                            std::net::IpAddr::V4(ip) => out.extend(ip.octets()),
                            std::net::IpAddr::V6(ip) => out.extend(ip.octets()),
                        }
                        out.extend(peer.port().to_be_bytes());
                    }
                    if fault == Fault::Truncates {
                        out.pop();
                    }
                }
            }
            Request::Scrape { .. } if fault == Fault::Mute => continue,
            Request::Scrape { transaction_id, info_hashes, .. } => {
                write_scrape(&mut out, transaction_id);
                for hash in info_hashes {
                    write_scrape_entry(&mut out, &swarms.get(hash).map(counts).unwrap_or_default());
                }
            }
        }
        socket.send_to(&out, from).unwrap();
    }
    (swarms, connects)
}

fn counts(swarm: &HashMap<SocketAddr, bool>) -> Counts {
    let seeders = swarm.values().filter(|seeder| **seeder).count() as u32;
    Counts { seeders, leechers: swarm.len() as u32 - seeders, ..Counts::default() }
}

fn load(tracker: &Tracker, args: &str) -> (Output, Value) {
    let output = command(None)
        .args(["load", "--json", "--target", &format!("udp://{}", tracker.addr)])
        .args(args.split_whitespace())
        .output()
        .unwrap();
    let json = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&output.stderr)));
    (output, json)
}

const SMALL: &str = "--sources 8 --swarms 100 --peers 1000 ";

#[test]
fn fill_announces_every_peer_once_and_verify_finds_them() {
    let tracker = Tracker::start(Fault::None);
    let (output, json) = load(&tracker, &format!("{SMALL} --workers 2 --fill --duration 0s --verify --max-loss 0"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(json["fill"]["announce"]["answers"], 1000);
    assert_eq!(json["verify"]["recall"]["known"], 1000);
    assert_eq!(json["verify"]["recall"]["extra"], 0, "the observer does not count itself");
    assert_eq!(json["verify"]["recall"]["sample"]["percent"], 100.0);
    assert_eq!(json["verify"]["recall"]["sample"]["strangers"], 0);

    // A later run with the same seed expects the same, and one with another seed finds nothing.
    let (_, again) = load(&tracker, &format!("{SMALL} --verify"));
    assert_eq!(again["verify"]["recall"]["percent"], 100.0);
    let (output, other) = load(&tracker, &format!("{SMALL} --verify --seed 2"));
    assert_eq!((output.status.code(), &other["verify"]["recall"]["known"]), (Some(1), &0.into()));

    let (mut swarms, _) = tracker.stop();
    swarms.retain(|_, peers| !peers.is_empty());
    let peers: HashSet<_> = swarms.values().flat_map(HashMap::keys).collect();
    let addresses: HashSet<_> = peers.iter().map(|peer| peer.ip()).collect();
    assert_eq!((swarms.len(), peers.len(), addresses.len()), (100, 1000, 8));
}

#[test]
fn after_a_mixed_load_the_tracker_has_the_expected_peers() {
    let tracker = Tracker::start(Fault::None);
    let (output, json) = load(&tracker, &format!("{SMALL} --fill --duration 2s --deadline 30s --verify"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let load = &json["load"];
    assert!(load["announce"]["answers"].as_u64().unwrap() > 0 && load["scrape"]["answers"].as_u64().unwrap() > 0);
    assert!(load["announce"]["p50_us"].as_f64().unwrap() > 0.0);
    let recall = &json["verify"]["recall"];
    assert_eq!((&recall["percent"], &recall["extra"]), (&100.0.into(), &0.into()));
    assert!(recall["expected"].as_u64().unwrap() < 1000, "some have stopped");
    assert_eq!(tracker.stop().1, 8, "one connect per source");
}

#[test]
fn connect_each_connects_before_every_announce() {
    let tracker = Tracker::start(Fault::None);
    let (output, json) = load(&tracker, &format!("{SMALL} --connect-each --fill --duration 0s"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(json["fill"]["connect"]["answers"], 1000);
}

#[test]
fn ipv6_peers_differ_by_port() {
    let tracker = Tracker::start_at("[::1]:0", Fault::None);
    let (output, json) = load(&tracker, &format!("{SMALL} --fill --duration 0s --verify"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(json["verify"]["recall"]["sample"]["percent"], 100.0);
}

#[test]
fn loss_is_counted_and_fill_retries() {
    let tracker = Tracker::start(Fault::DropsTenth);
    let (output, json) = load(&tracker, &format!("{SMALL} --fill --duration 0s --deadline 2s"));
    assert!(output.status.success());
    assert_eq!((&json["fill"]["announce"]["answers"], &json["fill"]["lost"]), (&1000.into(), &111.into()));
    let (output, _) = load(&tracker, &format!("{SMALL} --duration 1s --deadline 2s --max-loss 1"));
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn forgotten_peers_are_noticed() {
    let tracker = Tracker::start(Fault::ForgetsFourth);
    let (output, json) = load(&tracker, &format!("{SMALL} --fill --duration 0s --verify"));
    assert_eq!((output.status.code(), &json["verify"]["recall"]["known"]), (Some(1), &750.into()));
    assert_eq!(load(&tracker, &format!("{SMALL} --verify --min-known 70")).0.status.code(), Some(0));
}

#[test]
fn errors_and_malformed_replies_fail_the_run() {
    for (fault, counter, text) in [(Fault::Refuses, "errors", "go away"), (Fault::Truncates, "malformed", "announce")] {
        let tracker = Tracker::start(fault);
        let (output, json) = load(&tracker, &format!("{SMALL} --duration 1s --scrapes 0 --deadline 1s"));
        assert_eq!(output.status.code(), Some(1));
        assert!(json["load"][counter]["count"].as_u64().unwrap() > 0);
        assert!(json["load"][counter]["texts"][0].as_str().unwrap().contains(text));
        assert_eq!(json["load"]["announce"]["answers"], 0);
    }
}

#[test]
fn an_open_loop_keeps_its_rate_and_shows_a_stall() {
    let tracker = Tracker::start(Fault::Stalls);
    let args = format!("{SMALL} --mode open --rate 500 --arrivals constant --duration 2s --scrapes 0 --deadline 30s");
    let (output, json) = load(&tracker, &args);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let load = &json["load"];
    let answers = load["announce"]["answers"].as_u64().unwrap();
    // On a busy machine the last ones are late, and not sent.
    assert!((500..=1000).contains(&answers), "{answers}");
    // A stall of 400 ms in 2 s delays one answer in five, by 200 ms on average; a closed loop would see only a few.
    let p90 = load["announce"]["p90_us"].as_f64().unwrap();
    assert!(p90 >= 100_000.0, "{p90}");
}

#[test]
fn requests_to_a_silent_target_fail_over_and_none_is_lost() {
    let tracker = Tracker::start(Fault::None);
    let mute = Tracker::start(Fault::Mute);
    let args = format!(
        "{SMALL} --target udp://{} --failover --deadline 2s --mode open --rate 500 --duration 2s --verify-at udp://{}",
        mute.addr, tracker.addr
    );
    let (output, json) = load(&tracker, &args);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let load = &json["load"];
    assert_eq!((&load["lost"], &load["unsent"]), (&0.into(), &0.into()));
    assert!(load["failed_over"].as_u64().unwrap() > 0);
    let timeline = load["timeline"].as_array().unwrap();
    let sum = |name: &str| timeline.iter().map(|row| row[name].as_u64().unwrap()).sum::<u64>();
    assert_eq!((sum("answered"), sum("errors")), (load["requests"]["answers"].as_u64().unwrap(), 0), "{timeline:?}");
    // A request that has waited for the silent target shows that in the second in which it was due.
    assert!(timeline[0]["max_us"].as_u64().unwrap() >= 1_900_000, "{timeline:?}");
    let recall = &json["verify"]["recall_at"][format!("udp://{}", tracker.addr)];
    assert_eq!(
        (&recall["percent"], &recall["extra"], &recall["sample"]["missing"]),
        (&100.0.into(), &0.into(), &0.into())
    );
}

#[test]
fn missing_peers_are_reported_for_every_sampled_swarm() {
    let tracker = Tracker::start(Fault::ForgetsFourth);
    let args = format!("{SMALL} --fill --duration 0s --verify-at udp://{} --numwant 60 --spread uniform", tracker.addr);
    let (output, json) = load(&tracker, &args);
    assert_eq!(output.status.code(), Some(1));
    let recall = &json["verify"]["recall_at"][format!("udp://{}", tracker.addr)];
    assert_eq!((&recall["known"], &recall["sample"]["swarms"]), (&750.into(), &100.into()));
    assert!(recall["sample"]["missing"].as_u64().unwrap() > 200, "{recall}");
}

#[test]
fn a_missing_tracker_is_reported_in_one_sentence() {
    let addr = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let output = command(None)
        .args(["load", "--target", &format!("udp://{addr}"), "--duration", "100ms", "--deadline", "100ms", "--fill"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("is the tracker running"));
}
