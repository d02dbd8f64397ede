//! Every rule, broken alone.

use documented::DocumentedFields;
use toml::Value;

use super::*;
use crate::config::reference::{DEFAULTS, SECTIONS};
use crate::config::{Announce, Cluster, Limits, Node, Telemetry};

/// What the default with one change is refused for.
fn refused(change: impl FnOnce(&mut Settings)) -> String {
    let mut settings = Settings::default();
    change(&mut settings);
    settings.validate().expect_err("the settings were accepted").to_string()
}

fn accepted(change: impl FnOnce(&mut Settings)) {
    let mut settings = Settings::default();
    change(&mut settings);
    assert_eq!(settings.validate(), Ok(()));
}

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

#[test]
fn the_defaults_are_valid_without_advice() {
    assert_eq!(Settings::default().validate(), Ok(()));
    assert_eq!(Settings::default().advice(), Vec::<String>::new());
}

#[test]
fn every_whole_number_has_a_documented_range() {
    let docs = |section: &str, key: &str| match section {
        "node" => Node::get_field_docs(key).unwrap(),
        "announce" => Announce::get_field_docs(key).unwrap(),
        "limits" => Limits::get_field_docs(key).unwrap(),
        "cluster" => Cluster::get_field_docs(key).unwrap(),
        "telemetry" => Telemetry::get_field_docs(key).unwrap(),
        _ => panic!("[{section}] has a whole number"),
    };
    let mut numbers = 0;
    for section in &SECTIONS {
        for key in section.keys {
            let Value::Integer(default) = DEFAULTS[section.name][*key] else { continue };
            numbers += 1;
            let name = format!("{}.{key}", section.name);
            let range = RANGES.iter().find(|range| range.key == [name.as_str()]).expect(&name);
            let range_text = format!("{} to {}", range.least, range.most);
            assert!(docs(section.name, key).contains(&range_text), "the comment of {name} does not state {range_text}");
            assert_eq!((range.get)(&Settings::default()), default as u64, "{name} reads another key");
            assert!(check_range(&name, range.most as i64).is_ok() && check_range(&name, range.least as i64).is_ok());
            assert!(check_range(&name, range.most as i64 + 1).is_err());
            assert!(check_range(&name, range.least as i64 - 1).is_err());
        }
    }
    assert_eq!(numbers, RANGES.len());
}

#[test]
fn the_end_of_every_range_fits_the_type_of_its_key() {
    for range in &RANGES {
        let (section, key) = range.key[0].split_once('.').unwrap();
        let settings: Settings = toml::from_str(&format!("[{section}]\n{key} = {}", range.most)).unwrap();
        assert_eq!((range.get)(&settings), range.most);
    }
}

#[test]
fn ranges_apply_to_settings_made_in_code() {
    assert_eq!(
        refused(|s| s.limits.swarms = usize::MAX),
        format!("limits.swarms cannot be {}: set it to 1 to 1000000000", usize::MAX)
    );
}

#[test]
fn names_have_plain_characters() {
    assert_eq!(
        refused(|s| s.node.id = "a b".into()),
        "node.id cannot be \"a b\": use 1 to 64 letters, digits, '.', '_' and '-'"
    );
    assert!(refused(|s| s.node.region = String::new()).starts_with("node.region cannot be \"\""));
    assert!(refused(|s| s.node.id = "x".repeat(65)).starts_with("node.id"));
    accepted(|s| s.node.id = "x".repeat(64));
}

#[test]
fn at_least_one_frontend_is_required() {
    assert_eq!(
        refused(|s| (s.announce.udp, s.announce.http) = (vec![], vec![])),
        "announce.udp and announce.http are both empty: give at least one address"
    );
    accepted(|s| s.announce.udp.clear());
    accepted(|s| s.announce.http.clear());
}

#[test]
fn intervals_and_lifetimes_are_consistent() {
    assert_eq!(
        refused(|s| s.announce.min_interval = 1801),
        "announce.min_interval (1801 s) is longer than announce.interval (1800 s): lower the one or raise the other"
    );
    assert_eq!(
        refused(|s| s.announce.peer_ttl = 2039),
        "announce.peer_ttl (2039 s) would forget peers before they announce again: with announce.interval at 1800 s, set it \
         to 2040 or more"
    );
    accepted(|s| s.announce.peer_ttl = 2040);
    accepted(|s| (s.announce.interval, s.announce.min_interval, s.announce.peer_ttl) = (2, 1, 4));
    // The longest interval has a lifetime to go with it.
    accepted(|s| (s.announce.interval, s.announce.peer_ttl) = (28_000, 32_000));
}

#[test]
fn max_peers_fits_into_a_udp_reply() {
    assert_eq!(
        refused(|s| s.announce.max_peers = 203),
        "announce.max_peers (203) does not fit into a UDP reply of limits.udp_reply_bytes (1232): set it to 202 or less"
    );
    accepted(|s| s.announce.max_peers = 202);
    accepted(|s| {
        s.announce.max_peers = 203;
        s.announce.udp.clear();
    });
    assert_eq!(
        refused(|s| s.announce.default_peers = 201),
        "announce.default_peers (201) is above announce.max_peers (200): lower the one or raise the other"
    );
}

#[test]
fn the_proxy_header_must_be_a_header_name() {
    assert_eq!(
        refused(|s| s.announce.proxy_header = "x forwarded".into()),
        "announce.proxy_header cannot be \"x forwarded\": name an HTTP header, such as x-forwarded-for"
    );
    assert!(refused(|s| s.announce.proxy_header.clear()).starts_with("announce.proxy_header"));
}

#[test]
fn files_are_required_together() {
    let pair = "tls.cert and tls.key go together: set both, or neither for plain HTTP";
    assert_eq!(refused(|s| s.tls.cert = Some("c".into())), pair);
    assert_eq!(refused(|s| s.tls.key = Some("k".into())), pair);
    accepted(|s| (s.tls.cert, s.tls.key) = (Some("c".into()), Some("k".into())));
    for mode in [AccessMode::Allow, AccessMode::Deny] {
        assert_eq!(
            refused(|s| s.access_list.mode = mode),
            "access_list.mode needs a list: set access_list.path to its file"
        );
    }
}

#[test]
fn cluster_settings_are_required_together() {
    assert_eq!(
        refused(|s| s.cluster.partitions = 100),
        "cluster.partitions cannot be 100: set it to a power of two, such as 128"
    );
    accepted(|s| s.cluster.partitions = 32_768);
    accepted(|s| s.cluster.partitions = 1);
    assert_eq!(
        refused(|s| s.cluster.gossip = Some(address("127.0.0.1:7071"))),
        "cluster.gossip and cluster.link go together: set both, or neither for a single node"
    );
    assert_eq!(
        refused(|s| s.cluster.seeds = vec!["a:1".into()]),
        "cluster.seeds needs cluster.gossip and cluster.link: set the addresses of this node"
    );
    let with_seed = |seed: &str| {
        let mut settings = Settings::default();
        settings.cluster.gossip = Some(address("127.0.0.1:7071"));
        settings.cluster.link = Some(address("127.0.0.1:7072"));
        settings.cluster.seeds = vec![seed.into()];
        settings.validate()
    };
    for seed in ["a.example:7071", "10.0.0.1:1", "[2001:db8::1]:7071"] {
        assert_eq!(with_seed(seed), Ok(()));
    }
    for seed in ["", "a", "a:", "a:0", "a:65536", ":7071", "2001:db8::1:7071", "http://a:1", "a b:1"] {
        assert_eq!(
            with_seed(seed).unwrap_err().message,
            format!("cluster.seeds cannot hold {seed:?}: write a seed as host:port, such as 10.0.0.2:7071")
        );
    }
}

#[test]
fn a_reachable_node_needs_keys_and_an_address() {
    let with = |addr: &str, change: fn(&mut Settings)| {
        let mut settings = Settings::default();
        settings.cluster.gossip = Some(address(&format!("{addr}:7071")));
        settings.cluster.link = Some(address(&format!("{addr}:7072")));
        change(&mut settings);
        settings.validate().map_err(|error| error.message)
    };
    assert_eq!(with("127.0.0.1", |_| {}), Ok(()));
    let open = with("10.0.0.1", |_| {}).unwrap_err();
    assert!(open.starts_with("cluster.gossip (10.0.0.1:7071) is open to other hosts but has no keys"), "{open}");
    assert_eq!(with("10.0.0.1", |s| s.cluster.insecure = true), Ok(()));
    assert_eq!(with("10.0.0.1", |s| s.cluster.keys = Some("keys".into())), Ok(()));
    let nowhere = with("0.0.0.0", |s| s.cluster.insecure = true).unwrap_err();
    assert!(nowhere.contains("set cluster.advertise"), "{nowhere}");
    let reached = |s: &mut Settings| {
        s.cluster.insecure = true;
        s.cluster.advertise = Some("a.example".into());
    };
    assert_eq!(with("0.0.0.0", reached), Ok(()));
    let short = with("127.0.0.1", |s| s.announce.peer_ttl = 2100).unwrap_err();
    assert!(short.starts_with("announce.peer_ttl (2100 s) is too short for a cluster"), "{short}");
}

#[test]
fn no_two_listeners_share_an_address() {
    assert_eq!(
        refused(|s| s.announce.udp = vec![address("127.0.0.1:1"), address("127.0.0.1:1")]),
        "announce.udp cannot listen on 127.0.0.1:1: announce.udp has 127.0.0.1:1, so use another port"
    );
    assert_eq!(
        refused(|s| s.ops.listen = Some(address("127.0.0.1:6969"))),
        "ops.listen cannot listen on 127.0.0.1:6969: announce.http has 0.0.0.0:6969, so use another port"
    );
    assert!(
        refused(|s| {
            s.cluster.gossip = Some(address("[::1]:6969"));
            s.cluster.link = Some(address("[::1]:7072"));
        })
        .starts_with("cluster.gossip cannot listen")
    );
    accepted(|s| s.announce.http = vec![address("127.0.0.1:0"), address("127.0.0.1:0")]);
    accepted(|s| s.ops.listen = Some(address("127.0.0.1:6970")));
    // UDP and TCP are apart, and so are the families.
    accepted(|s| s.announce.udp = vec![address("0.0.0.0:7070"), address("[::]:7070")]);
}

#[test]
fn odd_settings_get_advice() {
    let mut settings = Settings::default();
    settings.announce.interval = 60;
    settings.announce.http.clear();
    settings.tls.cert = Some("c".into());
    settings.access_list.path = Some("list".into());
    assert_eq!(
        settings.advice(),
        [
            "announce.interval is 60 s, and clients expect 300 to 10800 s",
            "access_list.path has no effect while access_list.mode is \"off\"",
            "tls.cert has no effect while announce.http is empty",
        ]
    );
}

#[test]
fn the_sample_ratio_and_the_collector_are_checked() {
    for ratio in [-0.1, 1.1, f64::NAN] {
        let refused = refused(|it| it.telemetry.sample_ratio = ratio);
        assert!(refused.contains("telemetry.sample_ratio cannot be"), "{refused}");
    }
    for ratio in [0.0, 1e-4, 1.0] {
        accepted(|it| it.telemetry.sample_ratio = ratio);
    }
    for endpoint in ["https://collector:4317", "collector:4317", "http://", ""] {
        let refused = refused(|it| it.telemetry.otlp_endpoint = Some(endpoint.into()));
        assert!(refused.contains("such as http://127.0.0.1:4317"), "{refused}");
    }
    accepted(|it| it.telemetry.otlp_endpoint = Some("http://[::1]:4317".into()));
}
