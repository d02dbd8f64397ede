//! Prometheus' own check of metrics.

use std::io::Write;
use std::process::{Command, Stdio};

use super::skipped::skipped;

/// Checks a response of `/metrics`: its syntax, and its names, units and help texts.
pub fn check(test: &str, metrics: &str) {
    let promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut promtool) = promtool else {
        return skipped(test, "promtool (of Prometheus) is not installed: see tests/setup");
    };
    promtool.stdin.take().unwrap().write_all(metrics.as_bytes()).unwrap();
    let found = promtool.wait_with_output().unwrap();
    let findings = String::from_utf8_lossy(&found.stdout) + String::from_utf8_lossy(&found.stderr);
    assert!(found.status.success() && findings.is_empty(), "promtool check metrics: {findings}");
}
