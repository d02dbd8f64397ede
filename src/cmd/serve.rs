//! `tidings serve`, and plain `tidings`.

use std::path::PathBuf;

use super::Failure;
use crate::config::{self, Settings};

/// Serve announces until Ctrl-C or SIGTERM.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Precedence: flag, environment (TIDINGS_SECTION__KEY), file, default.
`tidings config` lists every setting.

Examples:
  tidings serve --config /etc/tidings.toml
  tidings serve --set 'announce.udp=[\"0.0.0.0:7000\"]' --set limits.peers=1000000
  TIDINGS_NODE__DATA_DIR=/var/lib/tidings tidings serve")]
pub struct Args {
    /// The settings file (TOML); without one, every setting has its default
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Set one key, over file and environment; repeatable. The value is TOML, quotes around a word may be left out
    #[arg(long, value_name = "SECTION.KEY=VALUE")]
    set: Vec<String>,
}

impl Args {
    /// Loads the settings and serves.
    ///
    /// # Errors
    /// See [`Failure`].
    pub fn run(self) -> Result<(), Failure> {
        let settings = config::load(self.config.as_deref(), std::env::vars_os(), &self.set)?;
        serve(settings)
    }
}

fn serve(_settings: Settings) -> Result<(), Failure> {
    Err(anyhow::anyhow!("serving is not built yet").into())
}
