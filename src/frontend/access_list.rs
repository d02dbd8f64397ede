//! Which info hashes the tracker serves.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use crate::config::{self, AccessMode};
use crate::swarm::InfoHash;

/// A list of info hashes to serve, or not to serve. Frontends share one behind an `ArcSwap`: to reload it is to store
/// the new one, which takes effect with the next request.
#[derive(Clone, Debug, Default)]
pub enum AccessList {
    /// Every info hash is served.
    #[default]
    Off,
    /// Only these are served.
    Allow(HashSet<InfoHash>),
    /// All but these are served.
    Deny(HashSet<InfoHash>),
}

/// Why an access list cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AccessListError {
    /// The file cannot be read.
    #[error("cannot read the access list {}: {error}; check access_list.path", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// A line is neither an info hash nor a comment.
    #[error("{}:{line}: expected an info hash of 40 hexadecimal digits or a comment that starts with #", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The number of the line, from 1.
        line: usize,
    },
}

impl AccessList {
    /// The list that the settings name.
    ///
    /// # Errors
    /// When its file cannot be read or holds something else.
    pub fn load(settings: &config::AccessList) -> Result<Self, AccessListError> {
        match (settings.mode, &settings.path) {
            (AccessMode::Allow, Some(path)) => Self::allow(path),
            (AccessMode::Deny, Some(path)) => Self::deny(path),
            _ => Ok(Self::Off),
        }
    }

    /// Reads the file at `path` as the list of the only info hashes to serve.
    pub fn allow(path: &Path) -> Result<Self, AccessListError> {
        load(path).map(Self::Allow)
    }

    /// Reads the file at `path` as the list of the info hashes not to serve.
    pub fn deny(path: &Path) -> Result<Self, AccessListError> {
        load(path).map(Self::Deny)
    }

    /// Whether requests for `info_hash` are served.
    pub fn permits(&self, info_hash: &InfoHash) -> bool {
        match self {
            Self::Off => true,
            Self::Allow(hashes) => hashes.contains(info_hash),
            Self::Deny(hashes) => !hashes.contains(info_hash),
        }
    }
}

/// One info hash a line; blank lines, and all from a `#` on, are skipped.
fn load(path: &Path) -> Result<HashSet<InfoHash>, AccessListError> {
    // Bytes, not text: a comment in another encoding is no reason to refuse the file.
    let bytes = std::fs::read(path).map_err(|error| AccessListError::Read { path: path.to_owned(), error })?;
    let mut hashes = HashSet::new();
    for (index, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        let line = line.split(|byte| *byte == b'#').next().unwrap_or_default().trim_ascii();
        if line.is_empty() {
            continue;
        }
        let hash = std::str::from_utf8(line).ok().and_then(|text| text.parse().ok());
        hashes.insert(hash.ok_or_else(|| AccessListError::Line { path: path.to_owned(), line: index + 1 })?);
    }
    Ok(hashes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LISTED: InfoHash = InfoHash([0xab; 20]);
    const OTHER: InfoHash = InfoHash([0xcd; 20]);

    fn file(content: &[u8]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), content).unwrap();
        file
    }

    #[test]
    fn each_mode_decides_as_it_says() {
        let file = file(format!("# ours\n\n  {LISTED}  # caf\u{e9}\r\n").as_bytes());
        let allow = AccessList::allow(file.path()).unwrap();
        let deny = AccessList::deny(file.path()).unwrap();
        assert!(allow.permits(&LISTED) && !allow.permits(&OTHER));
        assert!(!deny.permits(&LISTED) && deny.permits(&OTHER));
        assert!(AccessList::Off.permits(&LISTED));
    }

    #[test]
    fn a_comment_need_not_be_utf8() {
        let file = file(b"# caf\xe9\nabababababababababababababababababababab\n");
        assert!(AccessList::allow(file.path()).unwrap().permits(&LISTED));
    }

    #[test]
    fn an_error_names_the_file_and_the_line() {
        let file = file(format!("{LISTED}\n\n{LISTED}00\n").as_bytes());
        let error = AccessList::deny(file.path()).unwrap_err().to_string();
        assert!(error.starts_with(&format!("{}:3: ", file.path().display())), "{error}");
        let error = AccessList::allow(Path::new("/nonexistent/list")).unwrap_err().to_string();
        assert!(error.contains("/nonexistent/list") && error.contains("access_list.path"), "{error}");
    }
}
