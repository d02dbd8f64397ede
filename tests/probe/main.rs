//! `tidings probe` as a process of its own: against trackers that are well, and against responders that are not and know
//! nothing of the tracker's code.

#![expect(clippy::disallowed_methods, reason = "what an operator waits for is measured by the real clock")]

#[path = "../cluster/cluster.rs"]
#[allow(dead_code, reason = "other tests use the rest of it")]
mod cluster;
mod faults;
mod http_responder;
#[path = "../cluster/network.rs"]
#[allow(dead_code, reason = "other tests use the rest of it")]
mod network;
mod rounds;
mod swarms;
#[path = "../support/tracker.rs"]
mod tracker;
mod udp_responder;
mod well;

use std::process::{Command, Output};

use serde_json::Value;

/// What a run has shown.
pub struct Probed {
    /// The exit code.
    pub code: Option<i32>,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl Probed {
    /// The object that `--json` prints.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {} {}", self.out, self.err))
    }

    /// Asserts that a phase failed for a reason, and that it is told so in words.
    pub fn assert_failed(&self, phase: &str, reason: &str) {
        let json = self.json();
        assert_eq!(self.code, Some(1), "{json:#}");
        let target = &json["targets"][0];
        let phases = target["phases"].as_array().unwrap();
        let found = phases.iter().find(|it| it["phase"] == phase).unwrap_or_else(|| panic!("no {phase}: {json:#}"));
        assert_eq!((&found["ok"], &found["reason"]), (&false.into(), &reason.into()), "{json:#}");
        let told = format!("{phase} at {}: {}", target["target"].as_str().unwrap(), found["error"].as_str().unwrap());
        assert!(self.err.starts_with("error: ") && self.err.contains(&told), "{}", self.err);
    }

    /// Asserts that all is well.
    pub fn assert_well(&self) {
        assert_eq!((self.code, self.err.as_str()), (Some(0), ""), "{}", self.out);
    }
}

/// The command, with nothing of this test's environment.
pub fn command(args: &str) -> Command {
    let mut command = Command::new(tracker::binary());
    command.arg("probe").args(args.split_whitespace()).env_clear();
    command
}

/// Runs it to its end.
pub fn probe(args: &str) -> Probed {
    told(command(args).output().unwrap())
}

/// What a finished run has shown.
pub fn told(output: Output) -> Probed {
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Probed { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}
