//! Nodes that do not belong to the cluster, or are misconfigured.

use tidings::testkit::cluster::{Cluster, SIX};
use tidings::testkit::figures::Figures;
use tidings::testkit::http;
use tidings::testkit::wait::wait_until;

fn node_setting(cluster: &Cluster, key_dir: &str, node: &str) -> String {
    format!("cluster.keys=\"{}\"", cluster.dir.path().join(key_dir).join(node).display())
}

/// Asserts that the cluster has its two members and serves.
fn assert_well(cluster: &Cluster) {
    for node in ["eu-1", "eu-2"] {
        let members = cluster.status(node)["members"].clone();
        let known: Vec<_> = members.as_array().unwrap().iter().map(|member| member["id"].as_str().unwrap()).collect();
        assert_eq!(known, ["eu-1", "eu-2"], "at {node}");
        assert!(members.as_array().unwrap().iter().all(|member| member["state"] == "up"), "{members:#}");
        assert!(http::announce(cluster.announce(node), &[7; 20], 1, "").contains(b"8:interval"));
    }
}

/// A row for `tests/must_show`: none of these nodes joined.
fn row(name: &str) {
    Figures::default().none(name, 0);
}

/// The number of log lines of a node that contain a text.
fn lines(cluster: &Cluster, node: &str, text: &str) -> usize {
    cluster.log(node).lines().filter(|line| line.contains(text)).count()
}

#[test]
fn nodes_with_other_settings_or_a_taken_name_end_with_exit_code_2() {
    let mut cluster = Cluster::start(&SIX[..2], &[]);
    let keys = node_setting(&cluster, "keys", "eu-9");
    for (setting, key) in [
        ("cluster.partitions=128", "cluster.partitions"),
        ("cluster.replicas_per_region=3", "cluster.replicas_per_region"),
    ] {
        let (status, log) = cluster.run_to_end("eu-9", &[keys.clone(), setting.into()]);
        assert_eq!(status.code(), Some(2), "{setting}: {log}");
        let error = log.lines().last().unwrap();
        assert!(error.starts_with("error: ") && error.contains(key), "{setting}: {error}");
        wait_until("the others log it too", || lines(&cluster, "eu-2", key) > 0);
        assert_well(&cluster);
    }
    // eu-9's addresses, but the name and keys of a running node.
    let mut settings = vec![node_setting(&cluster, "keys", "eu-1"), "node.id=eu-1".into()];
    let (status, log) = cluster.run_to_end("eu-9", &settings);
    assert_eq!(status.code(), Some(2), "a taken name: {log}");
    assert!(log.lines().last().unwrap().contains("is called eu-1 too: give every node its own node.id"), "{log}");
    assert!(http::announce(cluster.announce("eu-1"), &[7; 20], 1, "").contains(b"8:interval"));
    // Links took the new process for a restart of the old one, whose own link is refused for a moment. Its changes wait.
    cluster.wait_ready();
    assert_well(&cluster);
    // A node with the keys of another node does not even start.
    settings = vec![node_setting(&cluster, "keys", "eu-1")];
    let (status, log) = cluster.run_to_end("eu-9", &settings);
    assert_eq!(status.code(), Some(2), "another node's keys: {log}");
    row("nodes with other settings, a taken name or another's keys that joined");
}

#[test]
fn nodes_with_foreign_keys_or_of_another_cluster_never_join() {
    let mut cluster = Cluster::start(&SIX[..2], &[]);
    cluster.make_keys(&cluster.dir.path().join("foreign"));
    let foreign = vec![node_setting(&cluster, "foreign", "eu-9")];
    let other_name = vec![node_setting(&cluster, "keys", "eu-9"), "cluster.name=other".into()];
    for (settings, what) in [(foreign, "a foreign key"), (other_name, "another cluster's name")] {
        let before = cluster.metric("eu-2", "tidings_gossip_datagrams_total", &["outcome=\"bad_key_or_cluster\""]);
        cluster.start_node_with("eu-9", &settings);
        wait_until(&format!("{what} is counted"), || {
            let now = cluster.metric("eu-2", "tidings_gossip_datagrams_total", &["outcome=\"bad_key_or_cluster\""]);
            now >= before + 3.0
        });
        // Once in a while, however many datagrams come.
        let line = "compare gossip.keys and cluster.name of both nodes";
        wait_until("it is logged", || lines(&cluster, "eu-2", line) > 0);
        assert!(lines(&cluster, "eu-2", line) < 10, "{}", cluster.log("eu-2"));
        // It is alone, and serves.
        wait_until("it serves", || cluster.try_status("eu-9").is_some());
        let members = cluster.status("eu-9")["members"].as_array().unwrap().len();
        assert_eq!(members, 1, "{what}: {:#}", cluster.status("eu-9"));
        assert!(cluster.is_alive("eu-9"));
        cluster.signal("eu-9", rustix::process::Signal::KILL);
        assert_well(&cluster);
    }
    row("nodes with a foreign key or of another cluster that joined");
}
