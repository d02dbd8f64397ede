//! The `tidings` binary: see `tidings --help`.

use std::process::ExitCode;

fn main() -> ExitCode {
    tidings::cmd::main()
}
