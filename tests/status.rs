//! `tidings status` and `tidings leave`: how they find a node, and what they print.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

/// The exit code, standard output and standard error of a run with only the given variables.
fn run(arguments: &[&str], variables: &[(&str, &str)]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidings"));
    let output = command.args(arguments).env_clear().envs(variables.iter().copied()).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// A settings file and its path.
fn file(text: &str) -> (TempDir, String) {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("tidings.toml");
    fs::write(&path, text).unwrap();
    let path = path.display().to_string();
    (dir, path)
}

/// A single node on free ports, killed when dropped.
struct Tracker {
    child: Child,
    /// The operations address.
    ops: String,
}

impl Tracker {
    fn start() -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_tidings"))
            .args(["--set", "announce.udp=[\"127.0.0.1:0\"]", "--set", "announce.http=[\"127.0.0.1:0\"]"])
            .args(["--set", "ops.listen=127.0.0.1:0", "--set", "announce.threads=1"])
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let ops = lines.map_while(Result::ok).find_map(|line| {
            let (_, url) = line.split_once("Operations at http://")?;
            Some(url.split_once('/')?.0.to_owned())
        });
        Self { child, ops: ops.unwrap() }
    }
}

impl Drop for Tracker {
    fn drop(&mut self) {
        // It may have exited already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn status_and_leave_find_a_node_by_its_address_its_settings_or_the_environment() {
    let mut tracker = Tracker::start();
    let ops = tracker.ops.clone();
    let (_dir, path) = file(&format!("[ops]\nlisten = \"{ops}\"\n"));
    let alone = "tidings is a single node: it is not part of a cluster.\n";
    for (arguments, variables) in [
        (&["status", "--ops", &ops][..], &[][..]),
        (&["status", "--config", &path], &[]),
        (&["status"], &[("TIDINGS_OPS__LISTEN", &*ops)]),
    ] {
        assert_eq!(run(arguments, variables), (0, alone.into(), String::new()), "{arguments:?}");
    }
    let (code, json, _) = run(&["status", "--config", &path, "--json"], &[]);
    assert!(code == 0 && json.contains(r#""node": "tidings""#), "{json}");

    let (code, output, errors) = run(&["leave", "--config", &path], &[]);
    assert_eq!((code, &*output), (0, "The node hands off its partitions and then stops.\n"), "{errors}");
    assert_eq!(tracker.child.wait().unwrap().code(), Some(0));
}

#[test]
fn status_without_a_node_says_what_to_do() {
    // Port 1 of loopback: no program listens there.
    let (_dir, path) = file("[ops]\nlisten = \"127.0.0.1:1\"\n");
    let (_other, off) = file("[ops]\nlisten = \"off\"\n");
    for (arguments, variables, advice) in [
        (&["status"][..], &[("TIDINGS_OPS__LISTEN", "127.0.0.1:1")][..], "--ops HOST:PORT or --config FILE"),
        (&["status", "--ops", "127.0.0.1:1"], &[], "check that the node is running and that this is its ops.listen"),
        (&["leave", "--ops", "127.0.0.1:1"], &[], "check that the node is running and that this is its ops.listen"),
        (&["status", "--config", &path], &[], "check that the node with the settings in"),
        (&["status", "--config", &off], &[], "ops.listen is off"),
    ] {
        let (code, output, errors) = run(arguments, variables);
        assert_eq!((code, &*output, errors.lines().count()), (2, "", 1), "{errors}");
        assert!(errors.starts_with("error: ") && errors.contains(advice), "{errors}");
    }
    let (code, _, errors) = run(&["status", "--config", &path, "--ops", "127.0.0.1:1"], &[]);
    assert!(code == 2 && errors.contains("cannot be used with"), "{errors}");
}
