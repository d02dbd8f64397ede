//! Real clients in two regions: one seeds a file, the other gets it, and only the cluster can introduce them.
//!
//! They run in containers of the image under test with this machine's programs mounted. Docker lets nothing through from
//! one network to another, so a network of their own is the Internet between the regions: each has a route through it to
//! the other's address.

use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;

use super::client::{Announce, Client, leecher};
use super::cluster::Cluster;
use super::engine::docker;
use super::http;
use super::scale::Figures;
use super::skipped::skipped;
use super::stage::Stage;
use super::torrent::{self, Torrent};
use super::torrent_clients::{aria2_options, transmission_settings};
use super::wait_until;

/// How long anything may take.
const LIMIT: Duration = Duration::from_secs(60);
/// Directories of this machine without which its programs do not run.
const HOST: [&str; 8] =
    ["/usr", "/bin", "/sbin", "/lib", "/lib64", "/etc/ld.so.cache", "/etc/nsswitch.conf", "/etc/ssl"];
/// The network that is the Internet.
const INTERNET: u8 = 9;

/// A client's place: the number of its region's network, and of itself.
const SEEDER: (u8, u8) = (1, 101);
const LEECHER: (u8, u8) = (2, 102);

pub fn clients_of_two_regions_exchange_a_file(stage: &Stage) {
    for program in ["transmission-daemon", "aria2c", "ip"] {
        let path = std::env::var_os("PATH").unwrap_or_default();
        if !std::env::split_paths(&path).any(|directory| directory.join(program).is_file()) {
            return skipped("exchange", &format!("{program} is not installed: see the packages in tests/run"));
        }
    }
    stage.with(exchange);
}

fn exchange(cluster: &mut Cluster) {
    let directory = TempDir::new().unwrap();
    let [seeds, downloads, config] = ["seeds", "downloads", "config"].map(|name| directory.path().join(name));
    let watched = config.join("watched");
    [&seeds, &downloads, &watched].iter().for_each(|path| std::fs::create_dir_all(path).unwrap());
    // Not private, as aria2 has UDP trackers only with its DHT. There is no other DHT node to be found.
    let it = Torrent::new("udp://eu-1:6969/announce", false);
    it.write(&watched.join("it.torrent"));
    it.write_for("udp://us-2:6969/announce", &directory.path().join("us.torrent"));
    std::fs::write(seeds.join(torrent::NAME), &it.content).unwrap();
    let settings = transmission_settings(&seeds, &watched, 6881);
    std::fs::write(config.join("settings.json"), settings.to_string()).unwrap();
    let subnet = format!("{}/24", cluster.ip(INTERNET, 0));
    let internet = cluster.network("internet");
    docker(&["network", "create", "--label", &cluster.label(), "--subnet", &subnet, &internet]);

    // Asked in the third region.
    let counts = || http::scrape(cluster.published("ap-1"), &[it.info_hash])[0];
    let transmission = format!("transmission-daemon --foreground --config-dir {}", config.display());
    let seeder = start(cluster, "transmission", ["eu", &internet], SEEDER, LEECHER, directory.path(), &transmission);
    wait_until("the seeder is there", LIMIT, || counts() == [1, 0, 0]);
    let aria2 = aria2_options(directory.path(), &downloads, 6882).join(" ");
    let aria2 = format!("aria2c {aria2} {}", directory.path().join("us.torrent").display());
    let getter = start(cluster, "aria2", ["us", &internet], LEECHER, SEEDER, directory.path(), &aria2);
    let file = downloads.join(torrent::NAME);
    let has_all = || std::fs::read(&file).is_ok_and(|found| found == it.content);
    let deadline = std::time::Instant::now() + LIMIT;
    while !has_all() && std::time::Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(200));
    }
    let mut figures = Figures::default();
    figures.row("bytes from transmission in eu to aria2 in us", it.content.len(), "all", has_all());
    wait_until("the leecher has become a seeder", LIMIT, || counts() == [2, 1, 0]);

    // What the tracker tells of them are their own addresses; of clients on this machine, that of Docker's bridge.
    let client = Client::new(cluster.published("ap-2"));
    let told = client.announce(&Announce { info_hash: it.info_hash, ..leecher(7) }).peers;
    let addresses = [SEEDER, LEECHER].map(|(network, host)| cluster.ip(network, host));
    assert!(addresses.iter().all(|ip| told.iter().any(|peer| peer.ip() == *ip)), "{told:?} are not {addresses:?}");
    println!("told of {told:?}");
    for container in [seeder, getter] {
        docker(&["rm", "--force", &container]);
    }
    docker(&["network", "rm", &internet]);
    figures.verdict();
}

/// Starts a program in a container, in the network of its region first.
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
