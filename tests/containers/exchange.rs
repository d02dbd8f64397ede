//! Real clients in two regions: one seeds a file, the other downloads it, and only the cluster can introduce them.
//!
//! They run in containers of the image under test with this machine's programs mounted. Docker forwards nothing from one
//! network to another, so an extra network is the Internet between the regions: each client has a route through it to the
//! other's address.

use std::path::Path;

use tempfile::TempDir;

use super::cluster::Cluster;
use super::engine::docker;
use super::stage::Stage;
use tidings::testkit::figures::Figures;
use tidings::testkit::http;
use tidings::testkit::skipped::{missing_program, skipped};
use tidings::testkit::torrent::{self, Torrent};
use tidings::testkit::torrent_clients::{aria2_options, transmission_settings};
use tidings::testkit::udp_client::{Announce, Client, leecher};
use tidings::testkit::wait::wait_until;

/// What this machine's programs need of its file system.
const HOST: [&str; 8] =
    ["/usr", "/bin", "/sbin", "/lib", "/lib64", "/etc/ld.so.cache", "/etc/nsswitch.conf", "/etc/ssl"];
/// The number of the network that is the Internet.
const INTERNET: u8 = 9;

/// The numbers of a client's network and host.
const SEEDER: (u8, u8) = (1, 101);
const LEECHER: (u8, u8) = (2, 102);

pub fn clients_of_two_regions_exchange_a_file(stage: &Stage) {
    if let Some(missing) = ["transmission-daemon", "aria2c", "ip"].into_iter().find_map(missing_program) {
        return skipped("exchange", &missing);
    }
    stage.with(exchange);
}

fn exchange(cluster: &mut Cluster) {
    let directory = TempDir::new().unwrap();
    let [seeds, downloads, config] = ["seeds", "downloads", "config"].map(|name| directory.path().join(name));
    let watched = config.join("watched");
    [&seeds, &downloads, &watched].iter().for_each(|path| std::fs::create_dir_all(path).unwrap());
    // Not private, as aria2 has UDP trackers only with its DHT. There is no other DHT node to be found.
    let torrent = Torrent::new("udp://eu-1:6969/announce", false);
    torrent.write(&watched.join("it.torrent"));
    torrent.write_for("udp://us-2:6969/announce", &directory.path().join("us.torrent"));
    std::fs::write(seeds.join(torrent::NAME), &torrent.content).unwrap();
    let settings = transmission_settings(&seeds, &watched, 6881);
    std::fs::write(config.join("settings.json"), settings.to_string()).unwrap();
    let subnet = format!("{}/24", cluster.ip(INTERNET, 0));
    let internet = cluster.network("internet");
    docker(&["network", "create", "--label", &cluster.label(), "--subnet", &subnet, &internet]);

    // Of a node in the third region.
    let counts = || http::scrape(cluster.published("ap-1"), &[torrent.info_hash])[0];
    let transmission = format!("transmission-daemon --foreground --config-dir {}", config.display());
    let seeder = start(cluster, "transmission", ["eu", &internet], SEEDER, LEECHER, directory.path(), &transmission);
    wait_until("the seeder is there", || counts() == [1, 0, 0]);
    let aria2 = aria2_options(directory.path(), &downloads, 6882).join(" ");
    let aria2 = format!("aria2c {aria2} {}", directory.path().join("us.torrent").display());
    let getter = start(cluster, "aria2", ["us", &internet], LEECHER, SEEDER, directory.path(), &aria2);
    let file = downloads.join(torrent::NAME);
    let has_all = || std::fs::read(&file).is_ok_and(|found| found == torrent.content);
    wait_until("the file is there", has_all);
    let mut figures = Figures::default();
    figures.row("bytes from transmission in eu to aria2 in us", torrent.content.len(), "all", has_all());
    wait_until("the leecher has become a seeder", || counts() == [2, 1, 0]);

    // The tracker returns their own addresses; those of clients on this machine are that of Docker's bridge.
    let client = Client::new(cluster.published("ap-2"));
    let peers = client.announce(&Announce { info_hash: torrent.info_hash, ..leecher(7) }).peers;
    let addresses = [SEEDER, LEECHER].map(|(network, host)| cluster.ip(network, host));
    assert!(addresses.iter().all(|ip| peers.iter().any(|peer| peer.ip() == *ip)), "{peers:?} are not {addresses:?}");
    for container in [seeder, getter] {
        docker(&["rm", "--force", &container]);
    }
    docker(&["network", "rm", &internet]);
    figures.verdict();
}

/// Starts a program in a container, first in the network of its region.
fn start(
    cluster: &Cluster,
    name: &str,
    [region, internet]: [&str; 2],
    place: (u8, u8),
    other: (u8, u8),
    directory: &Path,
    program: &str,
) -> String {
    let name = format!("{}-{name}", cluster.name);
    let [ip, public] = [place.0, INTERNET].map(|network| cluster.ip(network, place.1).to_string());
    let [other_ip, other_public] = [other.0, INTERNET].map(|network| cluster.ip(network, other.1));
    let mut mounts: Vec<String> =
        HOST.iter().filter(|path| Path::new(path).exists()).map(|path| format!("{path}:{path}:ro")).collect();
    mounts.push(format!("{0}:{0}", directory.display()));
    let mounts: Vec<&str> = mounts.iter().flat_map(|mount| ["--volume", mount.as_str()]).collect();
    let (label, network) = (cluster.label(), cluster.network(region));
    let create = ["create", "--name", &name, "--label", &label, "--network", &network, "--ip", &ip];
    let root =
        ["--no-healthcheck", "--user", "0:0", "--cap-add", "NET_ADMIN", "--env", "HOME=/", "--entrypoint", "/bin/sh"];
    let program = format!("ip route add {other_ip}/32 via {other_public} && exec {program}");
    docker(&[&create[..], &root[..], &mounts[..], &[cluster.image.as_str(), "-c", &program][..]].concat());
    docker(&["network", "connect", "--ip", &public, internet, &name]);
    docker(&["start", &name]);
    name
}
