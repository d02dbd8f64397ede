//! Tests that need what a machine may lack.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;

/// Reports that a test did not run: on standard error, and in the file that `tests/run` names by `SKIPPED_LIST`. Where
/// `CI` is set, nothing may be skipped.
pub fn skipped(test: &str, missing: &str) {
    assert!(std::env::var_os("CI").is_none(), "{test} cannot run: {missing}");
    let line = format!("SKIPPED {test}: {missing}\n");

    // Past the test runner, which captures the output of tests that pass.
    std::io::stderr().write_all(line.as_bytes()).unwrap();
    if let Some(list) = std::env::var_os("SKIPPED_LIST") {
        let mut list = OpenOptions::new().create(true).append(true).open(list).unwrap();
        list.write_all(line.as_bytes()).unwrap();
    }
}

/// Says that a program is not installed, if it is not.
pub fn missing_program(name: &str) -> Option<String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).any(|directory| Path::new(&directory).join(name).is_file());
    (!found).then(|| format!("{name} is not installed: run tests/run, or see the packages in tests/setup"))
}
