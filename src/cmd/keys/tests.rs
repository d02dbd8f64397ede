use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use clap::Parser;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::*;
use crate::clock::SystemClock;
use crate::cluster::gossip::keyring::KeyRing;
use crate::cluster::key_dir::{self, KeyDir, KeyDirError, server_name, verify_node};
use crate::config::Settings;
use crate::node::Secret;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    args: Args,
}

/// Runs `tidings keys`; what it prints, or its exit code and what it says.
fn run(line: &[&str]) -> Result<String, (u8, String)> {
    let args = Line::try_parse_from([&["keys"], line].concat()).map_err(|error| (2, error.to_string()))?.args;
    args.action.run().map_err(|error| match Failure::from(error) {
        Failure::Settings(error) => (2, error.to_string()),
        Failure::Run(error) => (1, error.to_string()),
    })
}

fn fresh(nodes: &[&str]) -> (tempfile::TempDir, String) {
    let temporary = tempfile::tempdir().unwrap();
    let dir = temporary.path().join("keys").display().to_string();
    run(&[&["init", &dir, "--node"], nodes].concat()).unwrap();
    (temporary, dir)
}

fn load(dir: &Path, id: &str) -> Result<KeyDir, KeyDirError> {
    KeyDir::load(dir, &id.into(), &SystemClock::start())
}

fn secret(dir: &str, id: &str) -> Secret {
    let mut settings = Settings::default();
    settings.cluster.secret_file = Some(Path::new(dir).join(id).join("secret"));
    Secret::load(&settings).unwrap()
}

/// Both ends of a handshake, client first, in memory.
fn handshake(client: &KeyDir, server: &KeyDir, name: &str) -> Result<CertificateDer<'static>, rustls::Error> {
    let mut ends = (
        rustls::ClientConnection::new(client.client.clone(), server_name(&name.into()).unwrap())?,
        rustls::ServerConnection::new(server.server.clone())?,
    );
    while ends.0.is_handshaking() || ends.1.is_handshaking() {
        let mut wire = Vec::new();
        while ends.0.wants_write() {
            ends.0.write_tls(&mut wire).unwrap();
        }
        let mut rest = &wire[..];
        while !rest.is_empty() {
            ends.1.read_tls(&mut rest).unwrap();
            ends.1.process_new_packets()?;
        }
        wire.clear();
        while ends.1.wants_write() {
            ends.1.write_tls(&mut wire).unwrap();
        }
        let mut rest = &wire[..];
        while !rest.is_empty() {
            ends.0.read_tls(&mut rest).unwrap();
            ends.0.process_new_packets()?;
        }
    }
    Ok(ends.1.peer_certificates().unwrap()[0].clone().into_owned())
}

#[test]
fn nodes_trust_exactly_the_nodes_of_their_authority() {
    let (_temporary, dir) = fresh(&["eu-1", "EU-2"]);
    let said = run(&["add", &dir, "--node", "us_3"]).unwrap();
    assert!(said.contains("Created the keys of 1 nodes:") && said.contains("us_3"), "{said}");
    let dir_of = |id| Path::new(&dir).join(id);
    let [one, two, three] = ["eu-1", "EU-2", "us_3"].map(|id| load(&dir_of(id), id).unwrap());
    let client = handshake(&one, &three, "us_3").unwrap();
    assert!(verify_node(&client, &"eu-1".into()));
    for other in ["eu-2", "eu-11", "1", "", "*", "eu-1.tidings.internal"] {
        assert!(!verify_node(&client, &other.into()), "{other}");
    }
    assert!(!verify_node(&CertificateDer::from(vec![1, 2, 3]), &"eu-1".into()));
    assert!(handshake(&three, &one, "EU-2").is_err(), "the wrong node answers");
    assert_eq!(one.gossip, three.gossip);
    assert_eq!(secret(&dir, "eu-1").placement, secret(&dir, "us_3").placement);

    let (_temporary, foreign) = fresh(&["eu-1"]);
    let foreign = load(&Path::new(&foreign).join("eu-1"), "eu-1").unwrap();
    assert!(handshake(&foreign, &two, "EU-2").is_err());
    assert!(handshake(&two, &foreign, "eu-1").is_err());
    assert_ne!(foreign.gossip, one.gossip);
}

#[test]
fn only_clients_with_a_certificate_and_tls_1_3_are_accepted() {
    let (_temporary, dir) = fresh(&["a"]);
    let ours = load(&Path::new(&dir).join("a"), "a").unwrap();
    let mut roots = rustls::RootCertStore::empty();
    let ca = Path::new(&dir).join("a/ca.pem");
    roots.add(CertificateDer::from_pem_file(ca).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    for versions in [&[&rustls::version::TLS13][..], &[&rustls::version::TLS12]] {
        let client = rustls::ClientConfig::builder_with_provider(provider.clone()).with_protocol_versions(versions);
        let client = client.unwrap().with_root_certificates(roots.clone()).with_no_client_auth();
        let nameless = KeyDir { client: Arc::new(client), ..ours.clone() };
        assert!(handshake(&nameless, &ours, "a").is_err());
    }
}

#[test]
fn an_invalid_directory_is_reported() {
    let (_temporary, dir) = fresh(&["a", "b"]);
    let (a, b) = (Path::new(&dir).join("a"), Path::new(&dir).join("b"));
    assert!(matches!(load(&a, "b"), Err(KeyDirError::OtherNode { .. })));
    assert!(matches!(load(&a, "no host"), Err(KeyDirError::Id { .. })));
    for name in [key_dir::KEY, key_dir::GOSSIP_KEYS, key_dir::SECRET] {
        fs::set_permissions(a.join(name), fs::Permissions::from_mode(0o644)).unwrap();
        let error = load(&a, "a").unwrap_err();
        assert!(matches!(&error, KeyDirError::Exposed { path } if path.ends_with(name)), "{error}");
        fs::set_permissions(a.join(name), fs::Permissions::from_mode(0o640)).unwrap();
    }
    load(&a, "a").unwrap();
    for name in [key_dir::CA, key_dir::CERT, key_dir::KEY, key_dir::GOSSIP_KEYS] {
        let kept = fs::read(a.join(name)).unwrap();
        fs::write(a.join(name), "junk").unwrap();
        assert!(load(&a, "a").unwrap_err().to_string().contains(name), "{name}");
        fs::write(a.join(name), kept).unwrap();
    }
    // Files of different nodes and of different clusters.
    fs::copy(b.join(key_dir::KEY), a.join(key_dir::KEY)).unwrap();
    assert!(matches!(load(&a, "a"), Err(KeyDirError::Tls { .. })));
    let (_temporary, foreign) = fresh(&["a"]);
    fs::copy(Path::new(&foreign).join("a/ca.pem"), b.join(key_dir::CA)).unwrap();
    assert!(matches!(load(&b, "b"), Err(KeyDirError::Tls { .. })));
    for name in [key_dir::CA, key_dir::CERT, key_dir::KEY, key_dir::GOSSIP_KEYS, key_dir::SECRET] {
        fs::remove_file(a.join(name)).unwrap();
        assert!(matches!(load(&a, "a"), Err(KeyDirError::Read { .. })), "{name}");
        fs::copy(b.join(name), a.join(name)).unwrap();
    }
}

#[test]
fn nothing_is_overwritten_and_wrong_usage_is_reported() {
    let (_temporary, dir) = fresh(&["a"]);
    let before = fs::read(Path::new(&dir).join("ca.key")).unwrap();
    let (_other, empty) = fresh(&["a"]);
    fs::remove_dir_all(Path::new(&empty).join("a")).unwrap();
    let long = "x".repeat(64);
    for (line, sentence) in [
        (&["init", &dir, "--node", "b"][..], "ca.pem exists and is not overwritten"),
        (&["init", &dir, "--node", "a"], "a exists and is not overwritten"),
        (&["add", &dir, "--node", "a"], "a exists and is not overwritten"),
        (&["add", &dir, "--node", "A"], "two nodes called A"),
        (&["add", &dir, "--node", "ca.pem"], "ca.pem exists and is not overwritten"),
        (&["add", &dir, "--node", "b", "b"], "two nodes called b"),
        (&["add", &dir, "--node", "../x"], "no certificate can be created"),
        (&["add", &dir, "--node", ".."], "no certificate can be created"),
        (&["add", &dir, "--node", ""], "no certificate can be created"),
        (&["add", &dir, "--node", &long], "no certificate can be created"),
        (&["add", &empty, "--node", "b"], "has no node"),
        (&["add", "/nonexistent", "--node", "b"], "there is no /nonexistent/ca.pem"),
        (&["rotate", "/nonexistent", "gossip"], "/nonexistent is not a directory"),
        (&["rotate", &dir, "tls"], "invalid value 'tls'"),
        (&["init", &dir], "--node"),
        (&[], "Usage"),
    ] {
        let (code, said) = run(line).unwrap_err();
        assert!(code == 2 && said.contains(sentence), "{line:?}: {code} {said}");
    }
    assert_eq!(fs::read(Path::new(&dir).join("ca.key")).unwrap(), before);
    assert!(!Path::new(&dir).join("b").exists(), "nothing is left half done");
    for path in ["ca.key", "a/node.key", "a/secret", "a/gossip.keys"] {
        let mode = fs::metadata(Path::new(&dir).join(path)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{path}");
    }
}

#[test]
fn if_missing_creates_only_what_is_missing() {
    let temporary = tempfile::tempdir().unwrap();
    let dir = temporary.path().display().to_string();
    let path = |name: &str| temporary.path().join(name);
    let init = |nodes: &[&str]| run(&[&["init", &dir, "--if-missing", "--node"], nodes].concat());
    assert!(init(&["a", "b"]).unwrap().contains("2 nodes"));
    let files = ["ca.key", "a/node.key", "a/secret", "b/gossip.keys"];
    let before = files.map(|name| fs::read(path(name)).unwrap());
    assert!(init(&["a", "b"]).unwrap().contains("stay as they are"));
    assert!(init(&["a", "b", "c"]).unwrap().contains("1 nodes"));
    assert_eq!(files.map(|name| fs::read(path(name)).unwrap()), before);
    let [a, c] = ["a", "c"].map(|id| load(&path(id), id).unwrap());
    handshake(&a, &c, "c").unwrap();
    // Nodes of an authority that is not there would not get on with those of a new one.
    fs::remove_file(path("ca.pem")).unwrap();
    fs::remove_file(path("ca.key")).unwrap();
    assert!(init(&["a", "d"]).unwrap_err().1.contains("a exists and is not overwritten"));
}

#[test]
fn gossip_keys_rotate_in_three_steps() {
    let (_temporary, dir) = fresh(&["a", "b"]);
    let keys = || {
        let [a, b] = ["a", "b"].map(|id| KeyRing::load(&Path::new(&dir).join(id).join("gossip.keys")).unwrap());
        assert_eq!(a, b);
        a.keys().to_vec()
    };
    let old = keys();
    let rotate = |more: &[&str]| run(&[&["rotate", &dir, "gossip"], more].concat());
    assert_eq!(rotate(&["--step", "use"]).unwrap_err().1, "--step use is not next: the next step is add");
    assert!(rotate(&[]).unwrap().contains("SIGHUP. When all have it, run again: tidings keys rotate"));
    let added = keys();
    assert_eq!((added.len(), added[0]), (2, old[0]));
    assert!(
        rotate(&["--step", "add"]).is_err() && rotate(&["--step", "drop"]).is_err(),
        "the new key must not get lost"
    );
    rotate(&["--step", "use"]).unwrap();
    assert_eq!(keys(), [added[1], added[0]]);
    assert!(rotate(&["--step", "use"]).is_err());
    run(&["add", &dir, "--node", "c"]).unwrap();
    assert!(rotate(&[]).unwrap().contains("complete"));
    assert_eq!(keys(), [added[1]]);
    assert_eq!(KeyRing::load(&Path::new(&dir).join("c/gossip.keys")).unwrap().keys(), keys());
    load(&Path::new(&dir).join("a"), "a").unwrap();

    // Keys that were written by hand.
    for id in ["a", "b", "c"] {
        let text = format!("{}\n{}\n", "01".repeat(32), "02".repeat(32));
        fs::write(Path::new(&dir).join(id).join("gossip.keys"), text).unwrap();
    }
    assert!(rotate(&[]).unwrap_err().1.contains("name it with --step"));
    rotate(&["--step", "use"]).unwrap();
    assert_eq!(keys(), [[2; 32], [1; 32]]);
    // Interrupted.
    fs::write(Path::new(&dir).join("b/gossip.keys"), "03".repeat(32)).unwrap();
    assert!(rotate(&[]).unwrap_err().1.contains("differ: an earlier run was interrupted"));
}

#[test]
fn connection_id_keys_rotate_and_the_placement_key_stays() {
    let (_temporary, dir) = fresh(&["a", "b"]);
    let first = secret(&dir, "a");
    let mut seen = vec![first.connection_ids.clone()];
    for _ in 0..3 {
        run(&["rotate", &dir, "connection-ids"]).unwrap();
        let [a, b] = ["a", "b"].map(|id| secret(&dir, id));
        assert_eq!((a.placement, &a.connection_ids), (first.placement, &b.connection_ids));
        seen.push(a.connection_ids);
    }
    let (old, new) = (seen[0][0], seen[1][1]);
    assert_ne!(old, new);
    assert_eq!(seen, [vec![old], vec![old, new], vec![new, old], vec![new]]);
}
