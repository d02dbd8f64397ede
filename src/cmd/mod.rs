//! The subcommands, one file each: its arguments and their `run`.

pub mod config;
pub mod keys;
pub mod load;
pub mod probe;
pub mod serve;
pub mod status;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// A BitTorrent tracker, alone or in a cluster.
///
/// Without a subcommand it serves: UDP and HTTP announces on port 6969 and operations on 127.0.0.1:7070.
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
  tidings status                           show the cluster that a node is part of
  tidings probe --target udp://HOST:6969   announce to a tracker as clients do, and check its answers
  TIDINGS_OPS__LISTEN=off tidings          the same by the environment

Point a torrent at udp://HOST:6969/announce or http://HOST:6969/announce.
Exit codes: 0 success, 1 failed while running, 2 wrong usage or settings.";

/// Why a subcommand failed, which is its exit code.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The command line or the settings have to be changed: exit code 2.
    #[error("{0:#}")]
    Settings(anyhow::Error),
    /// Something went wrong while running: exit code 1.
    #[error("{0:#}")]
    Run(#[from] anyhow::Error),
}

impl From<crate::config::Error> for Failure {
    fn from(error: crate::config::Error) -> Self {
        Self::Settings(error.into())
    }
}

impl Failure {
    fn exit_code(&self) -> ExitCode {
        match self {
            Self::Settings(_) => ExitCode::from(2),
            Self::Run(_) => ExitCode::FAILURE,
        }
    }
}

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
            // Nothing is left to do if even this cannot be written.
            let _ = writeln!(io::stderr(), "error: {failure}");
            failure.exit_code()
        }
    }
}

/// Prints to standard output. A reader that has seen enough (`| head`) is no failure.
fn print(text: &str) -> Result<(), Failure> {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(anyhow::Error::new(error).context("cannot write to standard output").into())
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }
}
