//! Real clients of the real binary: one seeds a file, and the other has to download it.
//!
//! DHT, PEX and LPD are off, so only the tracker can introduce them. Clients refuse peers at loopback addresses, so each
//! test has a network namespace whose loopback link has ordinary addresses, and needs root for that.

mod client;
mod namespace;
mod process;
mod tracker;

use std::path::Path;

use client::Client::{self, Aria2, Libtorrent, Transmission};
use namespace::Host;
use tidings::testkit::namespace::missing;
use tidings::testkit::skipped::skipped;
use tidings::testkit::torrent::{self, Torrent};
use tracker::{Scheme, Tracker};

#[test]
fn udp_ipv4_transmission_to_aria2() {
    moves(Scheme::Udp4, Transmission, Aria2);
}

#[test]
fn udp_ipv4_aria2_to_transmission() {
    moves(Scheme::Udp4, Aria2, Transmission);
}

// aria2 1.36 does not use UDP trackers over IPv6. Transmission 3.00 announces, but parses the peers of the reply as IPv4, so
// the other finds it and it does not find the other.
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
    if let Some(missing) = [missing(), seeder.missing(), leecher.missing()].into_iter().flatten().next() {
        return skipped(&format!("{seeder:?} to {leecher:?} by {scheme:?}"), &missing);
    }
    let directory = tempfile::tempdir().unwrap();
    let [seeds, downloads] = ["seeds", "downloads"].map(|name| directory.path().join(name));
    [&seeds, &downloads].iter().for_each(|path| std::fs::create_dir(path).unwrap());

    let host = Host::new();
    let tracker = Tracker::start(&host, scheme, directory.path());
    // aria2 has UDP trackers only with its DHT, which private torrents forbid. There is no other DHT node to be found.
    let private = !matches!(scheme, Scheme::Udp4);
    let torrent = Torrent::new(&scheme.url(), private);
    torrent.write(&directory.path().join("it.torrent"));
    std::fs::write(seeds.join(torrent::NAME), &torrent.content).unwrap();

    let mut seeding = seeder.start(&host, directory.path(), &seeds, 6881);
    tracker.wait_for(&torrent, "the seeder is there", 1, 0, &[&seeding]);
    let mut leeching = leecher.start(&host, directory.path(), &downloads, 6882);
    let complete = || has(&downloads.join(torrent::NAME), &torrent.content);
    process::wait_until("the file is there", complete, &[&seeding, &leeching]);
    tracker.wait_for(&torrent, "the leecher has become a seeder", 2, 0, &[&seeding, &leeching]);

    leecher.stop(&host, &mut leeching, 6882);
    tracker.wait_for(&torrent, "the leecher is gone", 1, 0, &[&seeding, &leeching]);
    seeder.stop(&host, &mut seeding, 6881);
    tracker.wait_for(&torrent, "the seeder is gone", 0, 0, &[&seeding]);
}

fn has(path: &Path, content: &[u8]) -> bool {
    std::fs::read(path).is_ok_and(|found| found == content)
}
