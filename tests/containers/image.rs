//! The image, how it starts, and what is left of it in the end.

use std::time::Duration;

use super::cluster::{Cluster, NODES};
use super::engine::{self, Compose, docker};
use super::scale::{Figures, choose};
use super::skipped::skipped;
use super::stage::Stage;

/// All that the image may hold. Docker makes the rest for every container.
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
    // That it runs without a single library says that it is static.
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

pub fn starts_six_healthy_nodes_within_a_minute(stage: &Stage) {
    stage.with(|cluster| {
        let mut figures = Figures::default();
        starts(cluster, &mut figures);
        // As an operator would ask: the address of operations comes from the settings of the container.
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

/// `docker-compose` and `docker compose` have little in common but their files.
pub fn is_the_same_for_compose_v2(stage: &Stage) {
    let Some(second) = Compose::second() else {
        return skipped("fresh::compose_v2_starts_the_same_cluster", "Compose v2 is not installed: see tests/run");
    };
    stage.with_another(second, |cluster| {
        let mut figures = Figures::default();
        starts(cluster, &mut figures);
        // A client of a node is told of one of another region, by what one command shows to operators.
        let probe = ["probe", "--target", "udp://eu-1:6969", "--target", "udp://ap-2:6969"];
        docker(&[&["exec", &cluster.container("us-2"), "/usr/bin/tidings"], &probe[..]].concat());
        leaves_nothing(cluster, &mut figures);
        figures.verdict();
    });
}

fn starts(cluster: &Cluster, figures: &mut Figures) {
    let name = format!("Compose {}, up -d to six healthy nodes", cluster.compose.version());
    figures.within(&name, cluster.healthy_after, Duration::from_secs(60));
    // Again, it changes nothing: no container is another one, and the keys are the same.
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
