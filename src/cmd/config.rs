//! `tidings config`: the default settings file, and the check of a file.

use std::path::PathBuf;

use clap::Subcommand;

use super::failure::Failure;
use super::output::print;
use crate::config;

/// Print the default settings file, with a comment for every key
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tidings config > tidings.toml
  tidings config check tidings.toml")]
pub struct Args {
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Check a settings file, without flags and environment, and report the first error and its line
    Check {
        /// The settings file (TOML)
        file: PathBuf,
    },
}

impl Args {
    /// Prints the default file or checks the given one.
    ///
    /// # Errors
    /// See [`Failure`].
    pub fn run(self) -> Result<(), Failure> {
        let Some(Action::Check { file }) = self.action else {
            return print(&config::default_file());
        };
        let settings = config::load(Some(&file), [], &[])?;
        let advice: String = settings.advice().iter().map(|advice| format!("note: {advice}\n")).collect();
        print(&format!("{} is valid\n{advice}", file.display()))
    }
}
