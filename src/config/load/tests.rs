//! What operators write, and the settings or errors that they get.

use std::fs;
use std::path::PathBuf;

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::config::{AccessMode, default_file};

/// Loads layers given as texts.
fn load_all(file: Option<&str>, environment: &[(&str, &str)], flags: &[&str]) -> Result<Settings, String> {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("tidings.toml");
    let path: Option<PathBuf> = file.map(|text| {
        fs::write(&path, text).unwrap();
        path
    });
    let environment = environment.iter().map(|(name, value)| (name.into(), value.into()));
    let flags: Vec<_> = flags.iter().map(|flag| flag.to_string()).collect();
    let strip = |error: Error| error.to_string().replace(&format!("{}/", dir.path().display()), "");
    load(path.as_deref(), environment, &flags).map_err(strip)
}

fn file_error(text: &str) -> String {
    load_all(Some(text), &[], &[]).unwrap_err()
}

fn flag_error(flag: &str) -> String {
    load_all(None, &[], &[flag]).unwrap_err()
}

fn variable_error(name: &str, value: &str) -> String {
    load_all(None, &[(name, value)], &[]).unwrap_err()
}

#[test]
fn without_layers_the_defaults_apply() {
    assert_eq!(load_all(None, &[], &[]), Ok(Settings::default()));
    assert_eq!(load_all(Some(""), &[("PATH", "/bin")], &[]), Ok(Settings::default()));
    assert_eq!(load_all(Some(&default_file()), &[], &[]), Ok(Settings::default()));
}

#[test]
fn precedence_is_flag_variable_file_default() {
    let file = Some("[announce]\ninterval = 1001\n");
    let variable = [("TIDINGS_ANNOUNCE__INTERVAL", "1002")];
    let flag = ["announce.interval=1003"];
    let interval = |file, variables: &[_], flags: &[_]| load_all(file, variables, flags).unwrap().announce.interval;
    assert_eq!(interval(None, &[], &[]), 1800);
    assert_eq!(interval(file, &[], &[]), 1001);
    assert_eq!(interval(file, &variable, &[]), 1002);
    assert_eq!(interval(file, &variable, &flag), 1003);
    assert_eq!(interval(None, &variable, &flag), 1003);
    assert_eq!(interval(file, &[], &flag), 1003);
}

#[test]
fn a_share_may_be_written_as_a_whole_number() {
    let ratio = |flag: &str| load_all(None, &[], &[flag]).map(|settings| settings.telemetry.sample_ratio);
    assert_eq!(ratio("telemetry.sample_ratio=1"), Ok(1.0));
    assert_eq!(ratio("telemetry.sample_ratio=0.25"), Ok(0.25));
    assert!(ratio("telemetry.sample_ratio=2").unwrap_err().contains("0.0 (none) to 1.0"));
    assert!(ratio("telemetry.sample_ratio=all").unwrap_err().contains("a number with a fraction"));
}

#[test]
fn layers_are_merged_by_key_and_the_last_flag_wins() {
    let settings = load_all(
        Some("[node]\nid = \"a\"\n"),
        &[("TIDINGS_NODE__REGION", "eu-1"), ("TIDINGS_LOG", "debug"), ("TIDINGS_LOG_FORMAT", "json")],
        &["limits.peers=10", "limits.peers=20"],
    )
    .unwrap();
    assert_eq!((settings.node.id.as_str(), settings.node.region.as_str(), settings.limits.peers), ("a", "eu-1", 20));
}

#[test]
fn strings_need_no_quotes_outside_a_file() {
    let settings = load_all(
        None,
        &[("TIDINGS_ANNOUNCE__UDP", r#"["127.0.0.1:7000", "[::1]:7000"]"#), ("TIDINGS_ACCESS_LIST__PATH", "")],
        &["node.id=007", r#"node.region="true""#, "announce.full_scrape = true", "announce.external_ipv4=203.0.113.7"],
    )
    .unwrap();
    assert_eq!(settings.announce.udp, ["127.0.0.1:7000".parse().unwrap(), "[::1]:7000".parse().unwrap()]);
    assert_eq!((settings.node.id.as_str(), settings.node.region.as_str()), ("007", "true"));
    assert!(settings.announce.full_scrape);
    assert_eq!(settings.announce.external_ipv4, Some([203, 0, 113, 7].into()));
    assert_eq!(settings.access_list.path, None);
}

#[test]
fn off_unsets_a_key_of_a_lower_layer() {
    let file = Some("[node]\ndata_dir = \"/data\"\n[access_list]\nmode = \"deny\"\npath = \"list\"\n");
    assert_eq!(load_all(file, &[], &[]).unwrap().access_list.mode, AccessMode::Deny);
    let settings = load_all(file, &[("TIDINGS_NODE__DATA_DIR", "off")], &["ops.listen=off"]).unwrap();
    assert_eq!((settings.node.data_dir, settings.ops.listen), (None, None));
}

#[test]
fn unknown_names_are_reported_with_a_suggestion() {
    for (file, sentence) in [
        (
            "[announce]\n# a comment\nintervall = 900\n",
            "tidings.toml:3: there is no key announce.intervall: did you mean announce.interval?",
        ),
        ("\n[anounce]\n", "tidings.toml:2: there is no section [anounce]: did you mean [announce]?"),
        (
            "min_interval = 9\n",
            "tidings.toml:1: there is no section [min_interval]: min_interval belongs below [announce]",
        ),
        ("[node]\nlisten = 1\n", "tidings.toml:2: there is no key node.listen: did you mean ops.listen?"),
        ("[tls]\nzzz = 1\n", "tidings.toml:2: there is no key tls.zzz: the keys of [tls] are cert, key"),
        (
            "qqq.x = 1",
            "tidings.toml:1: there is no section [qqq]: the sections are node, announce, tls, ops, limits, access_list, \
             cluster, telemetry",
        ),
        ("node = 5", "tidings.toml:1: node is a section: write [node] on a line of its own and its keys below"),
    ] {
        assert_eq!(file_error(file), sentence);
    }
    assert_eq!(
        flag_error("limits.pers=1"),
        "--set limits.pers=1: there is no key limits.pers: did you mean limits.peers?"
    );
    assert_eq!(
        variable_error("TIDINGS_ANNOUNCE_INTERVAL", "900"),
        "TIDINGS_ANNOUNCE_INTERVAL: this environment variable names no setting: did you mean TIDINGS_ANNOUNCE__INTERVAL?"
    );
    assert_eq!(
        variable_error("TIDINGS_PORT_6969_TCP", "tcp://10.0.0.1:6969"),
        "TIDINGS_PORT_6969_TCP: this environment variable names no setting: it looks like a service link of Kubernetes: \
         disable those with enableServiceLinks: false"
    );
}

#[test]
fn a_wrong_type_is_reported_with_an_example() {
    for (file, sentence) in [
        (
            "[announce]\n\ninterval = \"soon\"\n",
            "tidings.toml:3: announce.interval takes a whole number, not a string \"soon\": write it like 1800",
        ),
        (
            "[announce]\nudp = \"0.0.0.0:6969\"\n",
            "tidings.toml:2: announce.udp takes a list, not a string \"0.0.0.0:6969\": write it like [\"0.0.0.0:6969\", \
             \"[::]:6969\"]",
        ),
        (
            "[announce]\nhttp = [\n  \"0.0.0.0:80\",\n  \"nowhere\",\n]\n",
            "tidings.toml:2: announce.http cannot be [\"0.0.0.0:80\", \"nowhere\"] (invalid socket address syntax): write it \
             like [\"0.0.0.0:6969\", \"[::]:6969\"]",
        ),
        (
            "[access_list]\nmode = \"block\"\n",
            "tidings.toml:2: access_list.mode cannot be \"block\" (unknown variant `block`, expected one of `off`, `allow`, \
             `deny`): write it like \"off\"",
        ),
        (
            "[tls]\ncert = true\n",
            "tidings.toml:2: tls.cert takes a string, not a boolean (true or false) true: write it like \
             \"/etc/tidings/cert.pem\"",
        ),
    ] {
        assert_eq!(file_error(file), sentence);
    }
    assert_eq!(
        variable_error("TIDINGS_ANNOUNCE__FULL_SCRAPE", "yes"),
        "TIDINGS_ANNOUNCE__FULL_SCRAPE: announce.full_scrape takes a boolean (true or false), not a string \"yes\": write it \
         like false"
    );
    assert_eq!(
        flag_error("ops.listen=7070"),
        "--set ops.listen=7070: ops.listen cannot be \"7070\" (invalid socket address syntax): write it like \
         \"127.0.0.1:7070\""
    );
    assert_eq!(
        flag_error("interval=5"),
        "--set interval=5: write it as --set section.key=value, such as --set announce.interval=1800"
    );
}

#[test]
fn invalid_toml_is_reported_with_its_line() {
    let error = file_error("[announce]\ninterval = \n");
    assert!(error.starts_with("tidings.toml:2: this is not valid TOML ("), "{error}");
    assert!(error.ends_with("): `tidings config` prints a file to start from"), "{error}");
    let error = file_error("[node]\nid = \"a\"\nid = \"b\"\n");
    assert!(error.starts_with("tidings.toml:3: this is not valid TOML (duplicate key"), "{error}");
    assert_eq!(
        file_error("[limits]\npeers = 99999999999999999999\n"),
        "tidings.toml:2: limits.peers cannot be 99999999999999999999 (the number is too large): write it like 50000000"
    );
}

#[test]
fn an_unreadable_file_is_reported() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("none.toml");
    assert_eq!(
        load(Some(&path), [], &[]).unwrap_err().to_string(),
        format!(
            "{}: cannot read the settings file (No such file or directory (os error 2)): check its path and permissions, or \
             leave out --config for the defaults",
            path.display()
        )
    );
    assert!(matches!(*load(Some(dir.path()), [], &[]).unwrap_err().problem, Problem::Unreadable(_)));
    fs::write(&path, b"\xff\xfe").unwrap();
    assert!(matches!(*load(Some(&path), [], &[]).unwrap_err().problem, Problem::Unreadable(_)));
}

#[cfg(unix)]
#[test]
fn a_variable_that_is_not_utf8_is_reported() {
    use std::os::unix::ffi::OsStringExt;
    let variable = ("TIDINGS_NODE__ID".into(), OsString::from_vec(vec![0xff]));
    assert_eq!(
        load(None, [variable], &[]).unwrap_err().to_string(),
        "TIDINGS_NODE__ID: the value is not valid UTF-8: set it to plain text"
    );
}

#[test]
fn a_value_out_of_range_is_reported_with_the_range() {
    assert_eq!(
        file_error("[announce]\ninterval = 0\n"),
        "tidings.toml:2: announce.interval cannot be 0: set it to 1 to 28000"
    );
    assert_eq!(
        flag_error("announce.max_peers=70000"),
        "--set announce.max_peers=70000: announce.max_peers cannot be 70000: set it to 1 to 10000"
    );
    assert_eq!(
        variable_error("TIDINGS_LIMITS__PEERS", "-1"),
        "TIDINGS_LIMITS__PEERS: limits.peers cannot be -1: set it to 1 to 1000000000"
    );
}

#[test]
fn contradicting_values_are_reported_at_the_highest_layer() {
    assert_eq!(
        load_all(Some("[announce]\n\npeer_ttl = 2000\n"), &[], &["announce.interval=1900"]).unwrap_err(),
        "--set announce.interval=1900: announce.peer_ttl (2000 s) would forget peers before they announce again: with \
         announce.interval at 1900 s, set it to 2150 or more"
    );
    assert_eq!(
        file_error("[tls]\ncert = \"c.pem\"\n"),
        "tidings.toml:2: tls.cert and tls.key go together: set both, or neither for plain HTTP"
    );
}

#[test]
fn an_overridden_error_is_still_reported() {
    let error = load_all(Some("[announce]\ninterval = 0\n"), &[], &["announce.interval=900"]).unwrap_err();
    assert!(error.starts_with("tidings.toml:2: "), "{error}");
}

/// Texts near enough to settings to reach every branch.
fn nearly_settings() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("[announce]\n".to_string()),
        Just("[cluster]\n".into()),
        Just("interval = ".into()),
        Just("partitions = ".into()),
        Just("udp = [\"0.0.0.0:1\"]\n".into()),
        Just("seeds = ".into()),
        "[\\[\\]{}\"'=.,#0-9a-z\n -]{0,8}",
        any::<i64>().prop_map(|n| format!("{n}\n")),
        any::<String>(),
    ];
    proptest::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn no_file_panics_the_loader_and_every_error_has_a_line_of_it(text in nearly_settings()) {
        match layers::parse_file(Path::new("f"), &text).and_then(|assignments| apply(&assignments)) {
            Ok(settings) => prop_assert_eq!(settings.validate(), Ok(())),
            Err(Error { origin: Origin::Line(_, line), .. }) => prop_assert!((1..=text.matches('\n').count() + 1).contains(&line)),
            Err(error) => prop_assert!(false, "no line in: {}", error),
        }
    }

    #[test]
    fn no_flag_and_no_variable_panics_the_loader(
        name in prop_oneof!["[a-z_]{0,9}\\.[a-z_]{0,9}", Just("announce.udp".to_string()), Just("limits.peers".into()), any::<String>()],
        value in any::<String>(),
    ) {
        let _ = load(None, [], &[format!("{name}={value}")]);
        let variable = format!("TIDINGS_{}", name.replace('.', "__").to_uppercase());
        let _ = load(None, [(variable.into(), value.into())], &[]);
    }

    #[test]
    fn any_number_in_range_is_accepted_or_contradicts_another(interval in 1u32..=28_000, ttl in 1u16..=32_000) {
        let flags = [format!("announce.interval={interval}"), format!("announce.peer_ttl={ttl}"), "announce.min_interval=1".into()];
        let outlasts = f64::from(ttl) > 1.1 * f64::from(interval);
        if let Ok(settings) = load(None, [], &flags) {
            prop_assert!(outlasts);
            prop_assert_eq!((settings.announce.interval, settings.announce.peer_ttl), (interval, ttl));
        } else {
            prop_assert!(f64::from(ttl) < 1.1 * f64::from(interval) + 62.0);
        }
    }
}
