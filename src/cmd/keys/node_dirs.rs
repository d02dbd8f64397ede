//! The directories of nodes below the directory with the keys of a whole cluster.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::authority::{Authority, CA_KEY};
use super::error::KeysError;
use super::files::{make_dir, read, write_new};
use crate::clock::SystemClock;
use crate::cluster::NodeId;
use crate::cluster::key_dir::{CA, CERT, GOSSIP_KEYS, KEY, KeyDir, SECRET, server_name};

/// The files that all nodes share.
pub(super) struct SharedFiles {
    gossip: String,
    secret: String,
}

impl SharedFiles {
    pub(super) fn random() -> Self {
        let line = || format!("{}\n", hex::encode(rand::random::<[u8; 32]>()));
        Self { gossip: line(), secret: line() }
    }

    /// Loads those of the existing nodes.
    pub(super) fn load(dir: &Path) -> Result<Self, KeysError> {
        Ok(Self { gossip: shared(dir, GOSSIP_KEYS)?, secret: shared(dir, SECRET)? })
    }
}

/// Refuses invalid ids, and ids whose directory exists.
pub(super) fn check_new(dir: &Path, nodes: &[String]) -> Result<(), KeysError> {
    let mut taken: Vec<String> =
        node_dirs(dir).unwrap_or_default().iter().filter_map(|path| lower_name(path)).collect();
    for id in nodes {
        let path = dir.join(id);
        if is_bad_id(id) {
            return Err(KeysError::Usage(format!(
                "no certificate can be created for a node called {id}: use letters, digits and inner hyphens, at most 63"
            )));
        }
        if fs::symlink_metadata(&path).is_ok() {
            return Err(KeysError::Usage(format!("{} exists and is not overwritten: move it away", path.display())));
        }
        let lower = id.to_lowercase();
        if taken.contains(&lower) {
            return Err(KeysError::Usage(format!("there are two nodes called {id}, ignoring case: rename one")));
        }
        taken.push(lower);
    }
    Ok(())
}

fn lower_name(path: &Path) -> Option<String> {
    Some(path.file_name()?.to_str()?.to_lowercase())
}

/// Refuses a directory that already has an authority.
pub(super) fn check_no_authority(dir: &Path) -> Result<(), KeysError> {
    match [CA, CA_KEY].map(|name| dir.join(name)).iter().find(|path| fs::symlink_metadata(path).is_ok()) {
        Some(path) => Err(KeysError::Usage(format!(
            "{} exists and is not overwritten: add nodes with `tidings keys add`, or name a new directory",
            path.display()
        ))),
        None => Ok(()),
    }
}

/// Creates the directory of a node, and checks that the node can load it.
pub(super) fn make_node(dir: &Path, id: &str, authority: &Authority, shared: &SharedFiles) -> Result<(), KeysError> {
    let (path, id) = (dir.join(id), NodeId::from(id));
    let (certificate, key) = authority.issue(&id)?;
    make_dir(&path)?;
    for (name, text) in [
        (CA, &authority.certificate),
        (CERT, &certificate),
        (KEY, &key),
        (GOSSIP_KEYS, &shared.gossip),
        (SECRET, &shared.secret),
    ] {
        write_new(&path.join(name), text)?;
    }
    KeyDir::load(&path, &id, &SystemClock::start())?;
    Ok(())
}

/// The directories of nodes in `dir`, in order.
pub(super) fn node_dirs(dir: &Path) -> Result<Vec<PathBuf>, KeysError> {
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
            KeysError::Usage(format!("{} is not a directory: create it with `tidings keys init`", dir.display()))
        }
        _ => KeysError::System { what: "read", path: dir.to_owned(), error },
    };
    let mut dirs = Vec::new();
    for entry in fs::read_dir(dir).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.join(CERT).is_file() {
            dirs.push(path);
        }
    }
    dirs.sort();
    Ok(dirs)
}

/// The content of a file that must be the same for all nodes.
pub(super) fn shared(dir: &Path, name: &str) -> Result<String, KeysError> {
    let dirs = node_dirs(dir)?;
    let Some((first, others)) = dirs.split_first() else {
        return Err(KeysError::Usage(format!("{} has no node: create one with `tidings keys init`", dir.display())));
    };
    let text = read(&first.join(name))?;
    for other in others {
        if read(&other.join(name))? != text {
            return Err(KeysError::Usage(format!(
                "{name} of {} and of {} differ: an earlier run was interrupted; copy one over the other",
                first.display(),
                other.display()
            )));
        }
    }
    Ok(text)
}

/// Whether no certificate can be created for a node of this name.
fn is_bad_id(id: &str) -> bool {
    server_name(&NodeId::from(id)).is_none()
}
