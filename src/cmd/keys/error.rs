//! Why keys cannot be made or rotated.

use std::path::PathBuf;

use crate::cluster::key_dir::KeyDirError;
use crate::cmd::failure::Failure;

/// Why keys cannot be made or rotated.
#[derive(Debug, thiserror::Error)]
pub(super) enum KeysError {
    /// The command line or the directory has to be changed.
    #[error("{0}")]
    Usage(String),
    /// The system refuses.
    #[error("cannot {what} {}: {error}", path.display())]
    System { what: &'static str, path: PathBuf, error: std::io::Error },
    /// A certificate cannot be made.
    #[error("cannot make a certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    /// What was made cannot be used.
    #[error(transparent)]
    Made(#[from] KeyDirError),
}

impl From<KeysError> for Failure {
    fn from(error: KeysError) -> Self {
        match error {
            KeysError::Usage(_) | KeysError::Made(_) => Self::Settings(error.into()),
            KeysError::System { .. } | KeysError::Certificate(_) => Self::Run(error.into()),
        }
    }
}
