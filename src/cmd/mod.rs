//! The command line: a file or a folder for each subcommand, with its arguments and their `run`.

pub mod config;
mod failure;
pub mod keys;
pub mod load;
mod output;
pub mod probe;
pub mod serve;
pub mod status;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

pub use failure::Failure;

/// A BitTorrent tracker, alone or in a cluster.
///
/// Without a subcommand it serves UDP and HTTP announces on port 6969, and operations on 127.0.0.1:7070.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: serve::Args,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::Args),
    Config(config::Args),
    Status(status::Args),
    Leave(status::LeaveArgs),
    Keys(keys::Args),
    Probe(probe::Args),
    Load(load::Args),
}

const EXAMPLES: &str = "\
Examples:
  tidings                                  serve with the defaults
  tidings config > tidings.toml            write a settings file to edit
  tidings config check tidings.toml        check it
  tidings serve --config tidings.toml      serve with it
  tidings --set announce.interval=900      change one setting
  tidings status                           show the cluster as a node sees it
  tidings probe --target udp://HOST:6969   announce to a tracker as clients do, and check its answers
  TIDINGS_OPS__LISTEN=off tidings          change one setting through the environment

Point a torrent at udp://HOST:6969/announce or http://HOST:6969/announce.
Exit codes: 0 success, 1 failed while running, 2 wrong usage or settings.";

/// Runs the subcommand that the command line names.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match cli.command {
        None => cli.serve.run(),
        Some(Command::Serve(args)) => args.run(),
        Some(Command::Config(args)) => args.run(),
        Some(Command::Status(args)) => args.run(),
        Some(Command::Leave(args)) => args.run(),
        Some(Command::Keys(args)) => args.run(),
        Some(Command::Probe(args)) => args.run(),
        Some(Command::Load(args)) => args.run(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // If even this cannot be written, there is nothing left to do.
            let _ = writeln!(io::stderr(), "error: {failure}");
            failure.exit_code()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_valid() {
        Cli::command().debug_assert();
    }
}
