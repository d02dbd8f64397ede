//! Errors of `tidings keys`.

use std::path::PathBuf;

use crate::cluster::key_dir::KeyDirError;
use crate::cmd::failure::Failure;

/// Why keys cannot be created or rotated.
#[derive(Debug, thiserror::Error)]
pub(super) enum KeysError {
    /// The command line or the directory must be changed.
    #[error("{0}")]
    Usage(String),
    #[error("cannot {what} {}: {error}", path.display())]
    System { what: &'static str, path: PathBuf, error: std::io::Error },
    #[error("cannot create a certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    /// The node could not load the keys.
    #[error(transparent)]
    Unusable(#[from] KeyDirError),
}

impl From<KeysError> for Failure {
    fn from(error: KeysError) -> Self {
        match error {
            KeysError::Usage(_) | KeysError::Unusable(_) => Self::Settings(error.into()),
            KeysError::System { .. } | KeysError::Certificate(_) => Self::Run(error.into()),
        }
    }
}
