//! The secret that nodes of a cluster share.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::cluster::key_dir::SECRET;
use crate::config::Settings;

/// The most keys for connection ids: each more makes an id easier to guess.
const MAX_CONNECTION_ID_KEYS: usize = 16;

/// Keys of 16 secret bytes.
///
/// The file holds 64 hexadecimal digits on its first line: 32 for placement, which stay as long as the cluster, and 32 for
/// the key that makes connection ids. Each further line holds 32 digits, another key whose ids are still accepted, so that
/// this key can be rotated. Text from a `#` on is a comment.
#[derive(Clone)]
pub struct Secret {
    /// Assigns info hashes to partitions.
    pub placement: [u8; 16],
    /// The first one makes connection ids, those of all are accepted. Never empty.
    pub connection_ids: Vec<[u8; 16]>,
}

#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    #[error("cannot read the secret {}: {error}; check cluster.secret_file", path.display())]
    Read { path: PathBuf, error: io::Error },
    #[error("cannot write a new secret to {}: {error}; check that node.data_dir exists and is writable", path.display())]
    Write { path: PathBuf, error: io::Error },
    #[error(
        "{} is not a secret file: it must contain a line of 64 hexadecimal digits, and at most 15 more lines of 32",
        path.display()
    )]
    Malformed { path: PathBuf },
}

impl Secret {
    /// The secret in `cluster.secret_file`; else the one in `cluster.keys`; else the one in the data directory, which is
    /// created if it does not exist; else, for a node that stores nothing, one of this process alone.
    ///
    /// # Errors
    /// See [`SecretError`].
    pub fn load(settings: &Settings) -> Result<Self, SecretError> {
        if let Some(path) = &settings.cluster.secret_file {
            return Self::read(path);
        }
        if let Some(keys) = &settings.cluster.keys {
            return Self::read(&keys.join(SECRET));
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
        Self::parse(&text).ok_or_else(|| SecretError::Malformed { path: path.to_owned() })
    }

    fn parse(text: &[u8]) -> Option<Self> {
        let without_comment = |line: &'_ [u8]| line.iter().position(|byte| *byte == b'#').unwrap_or(line.len());
        let lines = text.split(|byte| *byte == b'\n').map(|line| line[..without_comment(line)].trim_ascii());
        let mut lines = lines.filter(|line| !line.is_empty());
        let mut bytes = [0; 32];
        hex::decode_to_slice(lines.next()?, &mut bytes).ok()?;
        let mut secret = Self::from_bytes(bytes);
        for line in lines {
            let mut key = [0; 16];
            hex::decode_to_slice(line, &mut key).ok()?;
            secret.connection_ids.push(key);
        }
        (secret.connection_ids.len() <= MAX_CONNECTION_ID_KEYS).then_some(secret)
    }

    fn from_bytes(bytes: [u8; 32]) -> Self {
        let (mut placement, mut connection_ids) = ([0; 16], [0; 16]);
        placement.copy_from_slice(&bytes[..16]);
        connection_ids.copy_from_slice(&bytes[16..]);
        Self { placement, connection_ids: vec![connection_ids] }
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
    fn data_directory_keeps_its_secret() {
        let dir = tempfile::tempdir().unwrap();
        let mut settings = Settings::default();
        settings.node.data_dir = Some(dir.path().join("new"));
        let first = Secret::load(&settings).unwrap();
        let second = Secret::load(&settings).unwrap();
        assert_eq!(first.placement, second.placement);
        assert_eq!(first.connection_ids, second.connection_ids);
        assert_ne!(first.placement, first.connection_ids[0]);
    }

    #[test]
    fn malformed_secret_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        let mut settings = Settings::default();
        settings.cluster.secret_file = Some(path.clone());
        assert!(matches!(Secret::load(&settings), Err(SecretError::Read { .. })));
        let (secret, key) = ("0".repeat(64), format!("\n{}", "1".repeat(32)));
        let more = [format!("{secret}\n00"), format!("{secret}\n{secret}"), format!("{secret}{}", key.repeat(16))];
        for text in ["", "00", &"0".repeat(63), &"x".repeat(64), "# only this", &key]
            .into_iter()
            .chain(more.each_ref().map(String::as_str))
        {
            fs::write(&path, text).unwrap();
            assert!(matches!(Secret::load(&settings), Err(SecretError::Malformed { .. })), "{text:?}");
        }
    }

    #[test]
    fn further_lines_are_keys_still_accepted() {
        let [placement, old, new] = ["aa", "01", "02"].map(|byte| byte.repeat(16));
        let secret =
            Secret::parse(format!("{placement}{new}\n{old} # until May\r\n\n# step: use\n").as_bytes()).unwrap();
        assert_eq!((secret.placement, secret.connection_ids), ([0xaa; 16], vec![[2; 16], [1; 16]]));
        let full = format!("{placement}{new}{}", format!("\n{old}").repeat(MAX_CONNECTION_ID_KEYS - 1));
        assert_eq!(Secret::parse(full.as_bytes()).unwrap().connection_ids.len(), MAX_CONNECTION_ID_KEYS);
    }
}
