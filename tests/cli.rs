//! The command line: output and exit codes.

use std::fs;
use std::io::Write;
use std::net::TcpStream;
use std::process::Stdio;

use rustix::process::Signal;
use tempfile::TempDir;
use tidings::testkit::binary::command;
use tidings::testkit::tracker::TrackerProcess;
use tidings::testkit::wait::wait_until;

/// The exit code, standard output and standard error of a run with only the given variables.
fn run(arguments: &[&str], variables: &[(&str, &str)]) -> (i32, String, String) {
    let output = command(None).args(arguments).envs(variables.iter().copied()).output().unwrap();
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

#[test]
fn the_printed_default_file_is_valid() {
    let (code, printed, errors) = run(&["config"], &[]);
    assert_eq!((code, errors.as_str()), (0, ""));
    assert!(printed.contains("[announce]\n") && printed.contains("\ninterval = 1800\n"), "{printed}");
    assert!(printed.contains("\n#data_dir = \"/var/lib/tidings\"\n"), "{printed}");
    let (_dir, path) = file(&printed);
    assert_eq!(run(&["config", "check", &path], &[]), (0, format!("{path} is valid\n"), String::new()));
}

#[test]
fn a_check_notes_odd_values_and_reads_only_the_file() {
    let (_dir, path) = file("[announce]\ninterval = 60\nmin_interval = 30\n");
    let remark = "note: announce.interval is 60 s, and clients expect 300 to 10800 s\n";
    assert_eq!(
        run(&["config", "check", &path], &[("TIDINGS_ANNOUNCE__INTERVAL", "0")]),
        (0, format!("{path} is valid\n{remark}"), String::new())
    );
}

#[test]
fn an_error_in_a_file_is_reported_with_its_line_and_exit_code_2() {
    let (_dir, path) = file("[announce]\nintervall = 60\n");
    let sentence = format!("error: {path}:2: there is no key announce.intervall: did you mean announce.interval?\n");
    for arguments in [&["config", "check", &path][..], &["serve", "--config", &path], &["--config", &path]] {
        assert_eq!(run(arguments, &[]), (2, String::new(), sentence.clone()), "{arguments:?}");
    }
}

#[test]
fn an_error_in_a_flag_or_variable_is_reported_by_name() {
    for arguments in [&["--set", "limits.peers=0"][..], &["serve", "--set", "limits.peers=0"]] {
        assert_eq!(
            run(arguments, &[]),
            (
                2,
                String::new(),
                "error: --set limits.peers=0: limits.peers cannot be 0: set it to 1 to 1000000000\n".into()
            )
        );
    }
    assert_eq!(run(&["serve"], &[("TIDINGS_OPS_LISTEN", "off")]), (
        2,
        String::new(),
        "error: TIDINGS_OPS_LISTEN: this environment variable names no setting: did you mean TIDINGS_OPS__LISTEN?\n".into()
    ));
}

#[test]
fn an_error_in_the_variables_for_logs_is_reported() {
    for (variable, value) in [("TIDINGS_LOG", "inof"), ("TIDINGS_LOG_FORMAT", "xml")] {
        let (code, output, errors) = run(&["serve"], &[(variable, value)]);
        assert_eq!((code, output.as_str(), errors.lines().count()), (2, "", 1), "{errors}");
        assert!(errors.starts_with(&format!("error: {variable}: \"{value}\" is no log ")), "{errors}");
    }
}

#[test]
fn a_port_in_use_is_reported_with_its_key() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap();
    let free = ["--set", "announce.udp=[\"127.0.0.1:0\"]", "--set", "announce.http=[\"127.0.0.1:0\"]"];
    let (code, output, errors) = run(&[&free[..], &["--set", &format!("ops.listen={addr}")]].concat(), &[]);
    assert_eq!(
        (code, output.as_str(), errors.as_str()),
        (
            2,
            "",
            &*format!(
                "error: cannot listen on TCP {addr}: the port is in use; stop the other program or choose another port in ops.listen\n"
            )
        )
    );
}

#[test]
fn a_second_tracker_at_the_same_ports_is_refused_although_threads_share_ports() {
    let first = TrackerProcess::start(&[]);
    for (addr, transport, key) in [(first.udp[0], "UDP", "announce.udp"), (first.http[0], "TCP", "announce.http")] {
        let free = ["--set", "announce.udp=[\"127.0.0.1:0\"]", "--set", "announce.http=[]", "--set", "ops.listen=off"];
        let taken = format!("{key}=[\"{addr}\"]");
        let sentence = format!(
            "error: cannot listen on {transport} {addr}: the port is in use; stop the other program or choose another port in {key}\n"
        );
        assert_eq!(run(&[&free[..], &["--set", &taken]].concat(), &[]), (2, String::new(), sentence));
    }
}

#[test]
fn an_interrupt_stops_gracefully() {
    let settings = ["announce.interval=60".into(), "announce.min_interval=30".into()];
    let mut tracker = TrackerProcess::start(&settings);
    tracker.signal(Signal::INT);
    let code = tracker.wait().code();
    let errors = tracker.log();
    assert_eq!(code, Some(0), "{errors}");
    assert!(errors.contains("WARN") && errors.contains("announce.interval is 60 s"), "{errors}");
}

#[test]
fn a_second_interrupt_ends_at_once() {
    // The stop waits for requests that are being received, for 5 seconds.
    let mut tracker = TrackerProcess::start(&[]);
    let before = tracker.metrics().sum("tidings_http_connections_accepted_total", &[]);
    let mut stream = TcpStream::connect(tracker.http[0]).unwrap();
    stream.write_all(b"GET /announce?info_hash=").unwrap();
    wait_until("the connection is accepted", || {
        tracker.metrics().sum("tidings_http_connections_accepted_total", &[]) > before
    });
    tracker.signal(Signal::INT);
    // Two signals that arrive together count as one.
    wait_until("the stop has begun", || TcpStream::connect(tracker.http[0]).is_err() || !tracker.is_alive());
    tracker.signal(Signal::INT);
    let code = tracker.wait().code();
    // A machine that takes longer than those 5 seconds has stopped gracefully before.
    assert!(code == Some(1) && tracker.log().contains("error: ") || code == Some(0), "{code:?}: {}", tracker.log());
}

#[test]
fn a_missing_file_is_reported() {
    let (code, _, errors) = run(&["--config", "/nonexistent/tidings.toml"], &[]);
    assert_eq!(code, 2);
    assert!(errors.starts_with("error: /nonexistent/tidings.toml: cannot read the settings file"), "{errors}");
    assert_eq!(errors.lines().count(), 1);
}

#[test]
fn help_has_examples_and_wrong_usage_is_exit_code_2() {
    for arguments in [&["--help"][..], &["serve", "--help"], &["config", "--help"]] {
        let (code, help, _) = run(arguments, &[]);
        assert_eq!(code, 0);
        assert!(help.contains("Examples:"), "{arguments:?} prints no examples");
    }
    let (code, version, _) = run(&["--version"], &[]);
    assert_eq!((code, version), (0, format!("tidings {}\n", env!("CARGO_PKG_VERSION"))));
    for arguments in [&["sevre"][..], &["--no-such-flag"], &["config", "check"]] {
        let (code, output, errors) = run(arguments, &[]);
        assert_eq!((code, output.as_str()), (2, ""), "{arguments:?}");
        assert!(!errors.is_empty());
    }
}

#[test]
fn a_reader_that_stops_early_is_not_an_error() {
    let mut child = command(None).arg("config").stdout(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}
