//! Tests that need what a machine may lack.

use std::io::Write;
use std::path::Path;

/// Says loudly that a test did not run; `tests/run` counts these lines. Where `CI` is set nothing may be skipped.
pub fn skipped(test: &str, missing: &str) {
    assert!(std::env::var_os("CI").is_none(), "{test} cannot run: {missing}");
    let line = format!("SKIPPED {} {test}: {missing}\n", env!("CARGO_CRATE_NAME"));
    // Past the test runner, which keeps the output of tests that pass to itself.
    std::io::stderr().write_all(line.as_bytes()).unwrap();
    let list = Path::new(env!("CARGO_TARGET_TMPDIR")).join("skipped");
    let mut list = std::fs::OpenOptions::new().create(true).append(true).open(list).unwrap();
    list.write_all(line.as_bytes()).unwrap();
}
