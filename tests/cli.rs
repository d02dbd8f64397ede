//! The binary as an operator runs it: what it prints and its exit codes.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use tempfile::TempDir;

/// The exit code, standard output and standard error of a run with only the given variables.
fn run(arguments: &[&str], variables: &[(&str, &str)]) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_tidings"))
        .args(arguments)
        .env_clear()
        .envs(variables.iter().copied())
        .stdin(Stdio::null())
        .output()
        .unwrap();
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
fn a_check_remarks_on_odd_values_and_looks_at_the_file_alone() {
    let (_dir, path) = file("[announce]\ninterval = 60\nmin_interval = 30\n");
    let remark = "note: announce.interval is 60 s, and clients expect 300 to 10800 s\n";
    assert_eq!(
        run(&["config", "check", &path], &[("TIDINGS_ANNOUNCE__INTERVAL", "0")]),
        (0, format!("{path} is valid\n{remark}"), String::new())
    );
}

#[test]
fn a_faulty_file_is_told_with_its_line_and_exit_code_2() {
    let (_dir, path) = file("[announce]\nintervall = 60\n");
    let sentence = format!("error: {path}:2: there is no key announce.intervall: did you mean announce.interval?\n");
    for arguments in [&["config", "check", &path][..], &["serve", "--config", &path], &["--config", &path]] {
        assert_eq!(run(arguments, &[]), (2, String::new(), sentence.clone()), "{arguments:?}");
    }
}

#[test]
fn a_faulty_flag_or_variable_is_told_by_name() {
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
fn a_slip_in_the_variables_for_logs_is_told() {
    for (variable, value) in [("TIDINGS_LOG", "inof"), ("TIDINGS_LOG_FORMAT", "xml")] {
        let (code, output, errors) = run(&["serve"], &[(variable, value)]);
        assert_eq!((code, output.as_str(), errors.lines().count()), (2, "", 1), "{errors}");
        assert!(errors.starts_with(&format!("error: {variable}: \"{value}\" is no log ")), "{errors}");
    }
}

#[test]
fn a_port_in_use_is_told_with_its_key() {
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

/// A tracker that serves, ended when dropped.
struct Serving {
    child: Child,
    greeting: String,
}

impl Serving {
    /// One that listens on free ports of loopback.
    fn start(arguments: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_tidings"))
            .args(["--set", "announce.udp=[\"127.0.0.1:0\"]", "--set", "announce.http=[\"127.0.0.1:0\"]"])
            .args(["--set", "ops.listen=off", "--set", "announce.threads=2"])
            .args(arguments)
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut greeting = String::new();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        while !greeting.ends_with("Ctrl-C stops it.\n") {
            assert!(lines.read_line(&mut greeting).unwrap() > 0, "{greeting}");
        }
        Self { child, greeting }
    }

    /// The address in the announce URL of a scheme.
    fn addr(&self, scheme: &str) -> SocketAddr {
        let (_, url) = self.greeting.split_once(&format!("{scheme}://")).unwrap();
        url.split_once("/announce").unwrap().0.parse().unwrap()
    }

    fn interrupt(&self) {
        let kill = format!("kill -INT {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
    }

    /// The exit code and standard error. Panics when it takes longer than `seconds`.
    fn ended(&mut self, seconds: u32) -> (Option<i32>, String) {
        for _ in 0..seconds * 20 {
            if let Some(status) = self.child.try_wait().unwrap() {
                let mut errors = String::new();
                self.child.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
                return (status.code(), errors);
            }
            sleep(Duration::from_millis(50));
        }
        panic!("still there after {seconds} s");
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_second_tracker_at_the_ports_of_a_first_is_told_though_threads_share_ports() {
    let first = Serving::start(&[]);
    for (scheme, transport, key) in [("udp", "UDP", "announce.udp"), ("http", "TCP", "announce.http")] {
        let addr = first.addr(scheme);
        let free = ["--set", "announce.udp=[\"127.0.0.1:0\"]", "--set", "announce.http=[]", "--set", "ops.listen=off"];
        let taken = format!("{key}=[\"{addr}\"]");
        let sentence = format!(
            "error: cannot listen on {transport} {addr}: the port is in use; stop the other program or choose another port in {key}\n"
        );
        assert_eq!(run(&[&free[..], &["--set", &taken]].concat(), &[]), (2, String::new(), sentence));
    }
}

#[test]
fn an_interrupt_stops_in_good_order() {
    let mut tracker = Serving::start(&["--set", "announce.interval=60", "--set", "announce.min_interval=30"]);
    tracker.interrupt();
    let (code, errors) = tracker.ended(20);
    assert_eq!(code, Some(0), "{errors}");
    assert!(errors.contains("WARN") && errors.contains("announce.interval is 60 s"), "{errors}");
}

#[test]
fn a_second_interrupt_ends_at_once() {
    let mut tracker = Serving::start(&[]);
    // A request that never ends holds up the stop for 5 seconds.
    let mut stream = TcpStream::connect(tracker.addr("http")).unwrap();
    stream.write_all(b"GET /announce?info_hash=").unwrap();
    sleep(Duration::from_millis(300));
    tracker.interrupt();
    sleep(Duration::from_millis(500));
    assert_eq!(tracker.child.try_wait().unwrap(), None, "it waits for the request");
    tracker.interrupt();
    let (code, errors) = tracker.ended(2);
    assert_eq!(code, Some(1));
    assert!(errors.contains("error: forced exit before graceful shutdown completed"), "{errors}");
}

#[test]
fn a_missing_file_is_told() {
    let (code, _, errors) = run(&["--config", "/nonexistent/tidings.toml"], &[]);
    assert_eq!(code, 2);
    assert!(errors.starts_with("error: /nonexistent/tidings.toml: cannot read the settings file"), "{errors}");
    assert_eq!(errors.lines().count(), 1);
}

#[test]
fn help_teaches_and_wrong_usage_is_exit_code_2() {
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
fn a_reader_that_stops_early_is_no_failure() {
    let mut child =
        Command::new(env!("CARGO_BIN_EXE_tidings")).arg("config").env_clear().stdout(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}
