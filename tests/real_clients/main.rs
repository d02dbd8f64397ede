//! Real clients behind the real binary: one seeds a file, the other has to get it.
//!
//! DHT, PEX and LPD are off, so only the tracker can introduce them. Clients refuse peers at loopback addresses, so each
//! test has a network namespace of its own, whose loopback link carries ordinary addresses; hence it needs root.

#![expect(clippy::disallowed_methods, reason = "waits for processes in real time")]

mod client;
mod namespace;
mod process;
#[path = "../support/skipped.rs"]
mod skipped;
#[path = "../support/torrent.rs"]
mod torrent;
#[path = "../support/torrent_clients.rs"]
mod torrent_clients;
mod tracker;

use std::path::Path;
use std::time::{Duration, Instant};

use client::Client::{self, Aria2, Libtorrent, Transmission};
use namespace::Namespace;
use skipped::skipped;
use torrent::Torrent;
use tracker::{Scheme, Tracker};

/// How long anything may take.
const DEADLINE: Duration = Duration::from_secs(60);

#[test]
fn udp_ipv4_transmission_to_aria2() {
    moves(Scheme::Udp4, Transmission, Aria2);
}

#[test]
fn udp_ipv4_aria2_to_transmission() {
    moves(Scheme::Udp4, Aria2, Transmission);
}

// aria2 1.36 does not speak to UDP trackers over IPv6. Transmission 3.00 announces, but reads the reply as if it held IPv4
// peers, so it is found by the other but does not find it.
#[test]
fn udp_ipv6_transmission_to_libtorrent() {
    moves(Scheme::Udp6, Transmission, Libtorrent);
}

#[test]
fn udp_ipv6_libtorrent_to_libtorrent() {
    moves(Scheme::Udp6, Libtorrent, Libtorrent);
}

#[test]
fn http_ipv4_transmission_to_aria2() {
    moves(Scheme::Http4, Transmission, Aria2);
}

#[test]
fn http_ipv4_aria2_to_transmission() {
    moves(Scheme::Http4, Aria2, Transmission);
}

#[test]
fn http_ipv6_transmission_to_aria2() {
    moves(Scheme::Http6, Transmission, Aria2);
}

#[test]
fn http_ipv6_aria2_to_transmission() {
    moves(Scheme::Http6, Aria2, Transmission);
}

#[test]
fn https_transmission_to_aria2() {
    moves(Scheme::Https4, Transmission, Aria2);
}

#[test]
fn https_aria2_to_transmission() {
    moves(Scheme::Https4, Aria2, Transmission);
}

fn moves(scheme: Scheme, seeder: Client, leecher: Client) {
    if let Some(missing) = [namespace::missing(), seeder.missing(), leecher.missing()].into_iter().flatten().next() {
        return skipped(&format!("{seeder:?} to {leecher:?} by {scheme:?}"), &missing);
    }
    let directory = tempfile::tempdir().unwrap();
    let [seeds, downloads] = ["seeds", "downloads"].map(|name| directory.path().join(name));
    [&seeds, &downloads].iter().for_each(|path| std::fs::create_dir(path).unwrap());

    let namespace = Namespace::new();
    let tracker = Tracker::start(&namespace, scheme, directory.path());
    // aria2 has UDP trackers only with its DHT, which private torrents forbid. There is no other DHT node to be found.
    let private = !matches!(scheme, Scheme::Udp4);
    let torrent = Torrent::new(&scheme.url(), private);
    torrent.write(&directory.path().join("it.torrent"));
    std::fs::write(seeds.join(torrent::NAME), &torrent.content).unwrap();

    let mut seeding = seeder.start(&namespace, directory.path(), &seeds, 6881);
    tracker.wait_for(&torrent, "the seeder is there", 1, 0, &[&seeding]);
    let mut leeching = leecher.start(&namespace, directory.path(), &downloads, 6882);
    let complete = || has(&downloads.join(torrent::NAME), &torrent.content);
    process::wait_until("the file is there", DEADLINE, complete, &[&seeding, &leeching]);
    tracker.wait_for(&torrent, "the leecher has become a seeder", 2, 0, &[&seeding, &leeching]);

    leecher.stop(&namespace, &mut leeching, 6882);
    tracker.wait_for(&torrent, "the leecher is gone", 1, 0, &[&seeding, &leeching]);
    seeder.stop(&namespace, &mut seeding, 6881);
    tracker.wait_for(&torrent, "the seeder is gone", 0, 0, &[&seeding]);
}

fn has(path: &Path, content: &[u8]) -> bool {
    std::fs::read(path).is_ok_and(|found| found == content)
}

/// The time by which something has to be done.
fn deadline(limit: Duration) -> Instant {
    Instant::now() + limit
}
