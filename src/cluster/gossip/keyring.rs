//! The keys that seal gossip: the first one seals, all of them open, so that keys can be rotated without interruption.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use siphasher::sip128::{Hasher128, SipHasher13};

/// The most keys that a ring holds.
pub const MAX_KEYS: usize = 16;

/// A key of 32 secret bytes.
pub type Key = [u8; 32];

/// From 1 to [`MAX_KEYS`] keys, of which the first one seals and all open.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyRing {
    keys: Vec<Key>,
}

/// Why a file with keys cannot be used. The path is that of the file.
#[derive(Debug, thiserror::Error)]
pub enum KeyRingError {
    #[error("cannot read the gossip keys {}: {error}", path.display())]
    Read {
        path: PathBuf,
        /// The system's error.
        error: io::Error,
    },
    #[error("{}:{line}: not a gossip key: a key is 64 hexadecimal digits", path.display())]
    Malformed {
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
    #[error("{} holds no gossip key: write 64 hexadecimal digits into it, as tidings keys init does", path.display())]
    Empty { path: PathBuf },
    #[error("{}:{line}: more than {MAX_KEYS} gossip keys: take out old ones", path.display())]
    TooMany {
        path: PathBuf,
        /// The line of the first key that is too many, from 1.
        line: usize,
    },
}

impl KeyRing {
    /// A ring of one key.
    pub fn single(key: Key) -> Self {
        Self { keys: vec![key] }
    }

    /// Reads a file that holds one key of 64 hexadecimal digits a line. Empty lines and what follows a `#` do not count.
    ///
    /// # Errors
    /// See [`KeyRingError`].
    pub fn load(path: &Path) -> Result<Self, KeyRingError> {
        let text = fs::read(path).map_err(|error| KeyRingError::Read { path: path.to_owned(), error })?;
        Self::parse(&text, path)
    }

    /// Reads what the file at `path` holds.
    ///
    /// # Errors
    /// See [`KeyRingError`].
    pub fn parse(text: &[u8], path: &Path) -> Result<Self, KeyRingError> {
        let mut keys = Vec::new();
        for (at, line) in text.split(|byte| *byte == b'\n').enumerate() {
            let digits = line.split(|byte| *byte == b'#').next().unwrap_or_default().trim_ascii();
            if digits.is_empty() {
                continue;
            }
            let mut key = [0; 32];
            hex::decode_to_slice(digits, &mut key)
                .map_err(|_| KeyRingError::Malformed { path: path.to_owned(), line: at + 1 })?;
            if keys.len() == MAX_KEYS {
                return Err(KeyRingError::TooMany { path: path.to_owned(), line: at + 1 });
            }
            keys.push(key);
        }
        if keys.is_empty() {
            return Err(KeyRingError::Empty { path: path.to_owned() });
        }
        Ok(Self { keys })
    }

    /// The ring of a cluster that has no keys. **It protects nothing**: anyone who knows the cluster's name knows the key.
    /// It only keeps clusters on one host from hearing each other.
    pub fn insecure(cluster: &str) -> Self {
        let mut key = [0; 32];
        for (half, salt) in key.chunks_exact_mut(16).zip(0..) {
            let mut hasher = SipHasher13::new_with_keys(0, salt);
            std::hash::Hasher::write(&mut hasher, cluster.as_bytes());
            half.copy_from_slice(&hasher.finish128().as_bytes());
        }
        Self::single(key)
    }

    /// The key that seals.
    pub fn first(&self) -> &Key {
        // No constructor makes an empty ring.
        &self.keys[0]
    }

    /// The keys that open, the sealing one first.
    pub fn keys(&self) -> &[Key] {
        &self.keys
    }
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyRing({} keys)", self.keys.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> Result<KeyRing, String> {
        KeyRing::parse(text.as_bytes(), Path::new("gossip.keys")).map_err(|error| error.to_string())
    }

    #[test]
    fn the_first_key_of_a_file_seals() {
        let (one, two) = ("01".repeat(32), "AB".repeat(32));
        let ring = parse(&format!("# old and new\n\n  {one} # since May\r\n{two}")).unwrap();
        assert_eq!(ring.first(), &[1; 32]);
        assert_eq!(ring.keys(), [[1; 32], [0xab; 32]]);
        assert_eq!(format!("{ring:?}"), "KeyRing(2 keys)", "keys do not get into logs");
    }

    #[test]
    fn an_error_in_a_file_is_reported_with_its_line() {
        let key = format!("{}\n", "00".repeat(32));
        assert!(parse("").unwrap_err().starts_with("gossip.keys holds no gossip key"));
        assert!(parse("# only this").unwrap_err().starts_with("gossip.keys holds no gossip key"));
        for bad in ["0", &"0".repeat(63), &"0".repeat(66), &"g".repeat(64), "two words"] {
            assert!(parse(&format!("{key}{bad}")).unwrap_err().starts_with("gossip.keys:2: not a gossip key"), "{bad}");
        }
        assert_eq!(parse(&key.repeat(MAX_KEYS)).unwrap().keys().len(), MAX_KEYS);
        assert!(parse(&key.repeat(MAX_KEYS + 1)).unwrap_err().starts_with("gossip.keys:17: more than 16"));
        assert!(matches!(KeyRing::load(Path::new("/nonexistent")), Err(KeyRingError::Read { .. })));
    }

    #[test]
    fn clusters_without_keys_differ_by_name() {
        assert_eq!(KeyRing::insecure("a"), KeyRing::insecure("a"));
        assert_ne!(KeyRing::insecure("a"), KeyRing::insecure("b"));
        let [low, high] = [0, 16].map(|at| KeyRing::insecure("a").first()[at..at + 16].to_vec());
        assert_ne!(low, high);
    }

    proptest! {
        #[test]
        fn no_file_panics(text in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = KeyRing::parse(&text, Path::new("gossip.keys"));
        }
    }
}
