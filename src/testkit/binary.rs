//! The binary under test.

use std::path::PathBuf;
use std::process::Command;

/// `TEST_BINARY`, or the one that cargo has built along with this test.
pub fn binary() -> PathBuf {
    let built = || std::env::var_os("CARGO_BIN_EXE_tidings").expect("cargo runs this test");
    std::env::var_os("TEST_BINARY").unwrap_or_else(built).into()
}

/// The binary without this test's environment, bound to a core if one is given.
pub fn command(core: Option<u64>) -> Command {
    let mut command = match core {
        Some(core) => {
            let mut taskset = Command::new("taskset");
            taskset.args(["-c", &core.to_string()]).arg(binary());
            taskset
        }
        None => Command::new(binary()),
    };
    command.env_clear().envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
    command.stdin(std::process::Stdio::null());
    command
}

/// The number in an environment variable, or `default`.
pub fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |value| value.parse().expect("a whole number"))
}
