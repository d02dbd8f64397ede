//! Files and directories that only their owner can read.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use super::error::KeysError;

pub(super) fn make_dir(path: &Path) -> Result<(), KeysError> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|error| KeysError::System { what: "create the directory", path: path.to_owned(), error })
}

pub(super) fn read(path: &Path) -> Result<String, KeysError> {
    fs::read_to_string(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => KeysError::Usage(format!("there is no {}: see tidings keys --help", path.display())),
        _ => KeysError::System { what: "read", path: path.to_owned(), error },
    })
}

/// Writes a new file that only its owner can read.
pub(super) fn write_new(path: &Path, text: &str) -> Result<(), KeysError> {
    let write = || {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    };
    write().map_err(|error| KeysError::System { what: "write", path: path.to_owned(), error })
}

/// Replaces a file atomically.
pub(super) fn replace(path: &Path, text: &str) -> Result<(), KeysError> {
    let fresh = path.with_added_extension("new");
    let system = |what| move |error| KeysError::System { what, path: path.to_owned(), error };
    match fs::remove_file(&fresh) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(system("replace")(error)),
        _ => {}
    }
    write_new(&fresh, text)?;
    fs::rename(&fresh, path).map_err(system("replace"))?;
    let directory = path.parent().map_or(Ok(()), |parent| File::open(parent)?.sync_all());
    directory.map_err(system("write"))
}
