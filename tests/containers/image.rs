//! The image, the start of a cluster, and its removal.

use std::time::Duration;

use super::cluster::{Cluster, NODES};
use super::engine::{self, Compose, docker};
use super::stage::Stage;
use tidings::testkit::figures::{Figures, choose};
use tidings::testkit::skipped::skipped;

/// All that the image contains. Docker adds the rest to every container.
const FILES: [&str; 5] = ["data/", "keys/", "usr/", "usr/bin/", "usr/bin/tidings"];
const DOCKERS: [&str; 4] = ["dev/", "etc/", "proc/", "sys/"];

pub fn is_small_and_holds_a_static_binary_alone(stage: &Stage) {
    let (image, _) = stage.image();
    let mut figures = Figures::default();
    let size: f64 = docker(&["image", "inspect", "--format", "{{.Size}}", &image]).parse().unwrap();
    // Without optimisation it is larger.
    let bound = choose(60.0, 30.0);
    figures.row("size of the image", format!("{:.1} MB", size / 1e6), format!("< {bound} MB"), size / 1e6 < bound);
    let user = docker(&["image", "inspect", "--format", "{{.Config.User}}", &image]);
    figures.row("its user", &user, "65532:65532", user == "65532:65532");
    // It is static, as it runs without any library.
    let version = docker(&["run", "--rm", "--network", "none", "--no-healthcheck", &image, "--version"]);
    assert_eq!(version, format!("tidings {}", env!("CARGO_PKG_VERSION")));

    let label = format!("{}={}", engine::LABEL, engine::project());
    let container = docker(&["create", "--label", &label, &image]);
    let mut list = engine::command(60, "sh");
    let files = engine::output(list.args(["-c", &format!("docker export {container} | tar --list")]));
    docker(&["rm", "--force", &container]);
    let dockers = |file: &&str| file.starts_with(".dockerenv") || DOCKERS.iter().any(|name| file.starts_with(name));
    let mut files: Vec<&str> = files.lines().filter(|file| !dockers(file)).collect();
    files.sort_unstable();
    assert_eq!(files, FILES);
    figures.verdict();
}

pub fn starts_six_healthy_nodes(stage: &Stage) {
    stage.with(|cluster| {
        let mut figures = Figures::default();
        starts(cluster, &mut figures);
        // As an operator would run it: the address of the operations endpoint comes from the container's settings.
        let status = docker(&["exec", &cluster.container("us-2"), "/usr/bin/tidings", "status"]);
        assert!(NODES.iter().all(|node| status.contains(node)), "{status}");
        figures.verdict();
    });
}

pub fn leaves_nothing_behind(stage: &Stage) {
    stage.with(|cluster| {
        let mut figures = Figures::default();
        leaves_nothing(cluster, &mut figures);
        figures.verdict();
    });
}

pub fn is_the_same_for_compose_v2(stage: &Stage) {
    let Some(second) = Compose::second() else {
        return skipped("fresh::compose_v2_starts_the_same_cluster", "Compose v2 is not installed: see tests/setup");
    };
    stage.with_another(second, |cluster| {
        let mut figures = Figures::default();
        starts(cluster, &mut figures);
        // A node returns the peer of a client in another region.
        let probe = ["probe", "--target", "udp://eu-1:6969", "--target", "udp://ap-2:6969"];
        docker(&[&["exec", &cluster.container("us-2"), "/usr/bin/tidings"], &probe[..]].concat());
        leaves_nothing(cluster, &mut figures);
        figures.verdict();
    });
}

fn starts(cluster: &Cluster, figures: &mut Figures) {
    let name = format!("Compose {}, up -d to six healthy nodes", cluster.compose.version());
    figures.within(&name, cluster.healthy_after, Duration::from_secs(60));
    // A second `up` changes nothing: the containers and the keys stay the same.
    let ids =
        || NODES.map(|node| docker(&["inspect", "--format", "{{.Id}} {{.State.StartedAt}}", &cluster.container(node)]));
    let before = ids();
    cluster.compose(&["up", "-d"]);
    assert_eq!(ids(), before);
    let keys = docker(&["logs", "--tail", "1", &cluster.container("keys")]);
    assert!(keys.contains("stay as they are"), "{keys}");
}

fn leaves_nothing(cluster: &Cluster, figures: &mut Figures) {
    cluster.down();
    let left = engine::leftovers(&cluster.name);
    let name = format!("Compose {}, left after down -v", cluster.compose.version());
    figures.none(&name, left.iter().map(Vec::len).sum::<usize>() as u64);
}
