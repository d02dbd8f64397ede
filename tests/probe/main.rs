//! `tidings probe` as a process: against trackers that work, and against responders that do not and share no code with the
//! tracker.

mod faults;
mod http_responder;
mod rounds;
mod swarms;
mod udp_responder;
mod working;

use std::process::{Command, Output};

use serde_json::Value;
use tidings::testkit::binary::binary;

/// A finished run.
struct Probed {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Probed {
    /// The object that `--json` prints.
    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {} {}", self.out, self.err))
    }

    /// Asserts that a phase failed for a reason, and that standard error says so.
    fn assert_failed(&self, phase: &str, reason: &str) {
        let json = self.json();
        assert_eq!(self.code, Some(1), "{json:#}");
        let target = &json["targets"][0];
        let phases = target["phases"].as_array().unwrap();
        let found = phases.iter().find(|it| it["phase"] == phase).unwrap_or_else(|| panic!("no {phase}: {json:#}"));
        assert_eq!((&found["ok"], &found["reason"]), (&false.into(), &reason.into()), "{json:#}");
        let sentence =
            format!("{phase} at {}: {}", target["target"].as_str().unwrap(), found["error"].as_str().unwrap());
        assert!(self.err.starts_with("error: ") && self.err.contains(&sentence), "{}", self.err);
    }

    fn assert_success(&self) {
        assert_eq!((self.code, self.err.as_str()), (Some(0), ""), "{}", self.out);
    }
}

/// The command, without this test's environment.
fn command(args: &str) -> Command {
    let mut command = Command::new(binary());
    command.arg("probe").args(args.split_whitespace()).env_clear();
    // Limits that no machine exceeds, unless a test is about them.
    for limit in ["--timeout", "--slow", "--replication"] {
        if !args.split_whitespace().any(|word| word == limit) && !args.is_empty() {
            command.args([limit, "60s"]);
        }
    }
    command
}

/// Runs it to its end.
fn probe(args: &str) -> Probed {
    finished(command(args).output().unwrap())
}

fn finished(output: Output) -> Probed {
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Probed { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}
