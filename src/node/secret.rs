//! The secret that nodes of a cluster share.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::config::Settings;

/// Two keys of 16 secret bytes.
#[derive(Clone)]
pub struct Secret {
    /// Places info hashes into partitions.
    pub placement: [u8; 16],
    /// Makes connection ids.
    pub connection_ids: [u8; 16],
}

/// Why a secret file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// It cannot be read.
    #[error("cannot read the secret {}: {error}; check cluster.secret_file", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// It cannot be made.
    #[error("cannot write a new secret to {}: {error}; check that node.data_dir exists and is writable", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// It holds something else.
    #[error("{} is no secret: it must hold 64 hexadecimal digits", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
    },
}

impl Secret {
    /// The secret in `cluster.secret_file`; else the one in the data directory, which is made if it is not there; else,
    /// for a node that keeps nothing, one of this process alone.
    ///
    /// # Errors
    /// See [`SecretError`].
    pub fn load(settings: &Settings) -> Result<Self, SecretError> {
        if let Some(path) = &settings.cluster.secret_file {
            return Self::read(path);
        }
        let Some(data_dir) = &settings.node.data_dir else { return Ok(Self::from_bytes(rand::random())) };
        let path = data_dir.join("secret");
        match Self::read(&path) {
            Err(SecretError::Read { error, .. }) if error.kind() == io::ErrorKind::NotFound => {
                let bytes: [u8; 32] = rand::random();
                write(data_dir, &path, &bytes).map_err(|error| SecretError::Write { path, error })?;
                Ok(Self::from_bytes(bytes))
            }
            read => read,
        }
    }

    fn read(path: &Path) -> Result<Self, SecretError> {
        let text = fs::read(path).map_err(|error| SecretError::Read { path: path.to_owned(), error })?;
        let mut bytes = [0; 32];
        hex::decode_to_slice(text.trim_ascii(), &mut bytes)
            .map_err(|_| SecretError::Malformed { path: path.to_owned() })?;
        Ok(Self::from_bytes(bytes))
    }

    fn from_bytes(bytes: [u8; 32]) -> Self {
        let mut secret = Self { placement: [0; 16], connection_ids: [0; 16] };
        secret.placement.copy_from_slice(&bytes[..16]);
        secret.connection_ids.copy_from_slice(&bytes[16..]);
        secret
    }
}

fn write(data_dir: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
    fs::create_dir_all(data_dir)?;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    writeln!(file, "{}", hex::encode(bytes))?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_data_directory_keeps_its_secret() {
        let dir = tempfile::tempdir().unwrap();
        let mut settings = Settings::default();
        settings.node.data_dir = Some(dir.path().join("new"));
        let first = Secret::load(&settings).unwrap();
        let second = Secret::load(&settings).unwrap();
        assert_eq!(first.placement, second.placement);
        assert_eq!(first.connection_ids, second.connection_ids);
        assert_ne!(first.placement, first.connection_ids);
    }

    #[test]
    fn a_file_without_a_secret_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        let mut settings = Settings::default();
        settings.cluster.secret_file = Some(path.clone());
        assert!(matches!(Secret::load(&settings), Err(SecretError::Read { .. })));
        for text in ["", "00", &"0".repeat(63), &"x".repeat(64)] {
            fs::write(&path, text).unwrap();
            assert!(matches!(Secret::load(&settings), Err(SecretError::Malformed { .. })), "{text:?}");
        }
    }
}
