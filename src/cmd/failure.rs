//! Why a subcommand failed, and its exit code.

use std::process::ExitCode;

/// Why a subcommand failed. Each variant has its exit code.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The command line or the settings must be changed: exit code 2.
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
    /// The exit code of the process.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Settings(_) => ExitCode::from(2),
            Self::Run(_) => ExitCode::FAILURE,
        }
    }
}
