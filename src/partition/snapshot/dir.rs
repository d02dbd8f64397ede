//! The data directory: its lock, and the names of the snapshot files in it.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// How many corrupt files are kept for inspection.
const KEEP_CORRUPT: usize = 3;

/// Why a data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    #[error("cannot write to the data directory {}: {error}; make it writable or change node.data_dir", path.display())]
    Unusable { path: PathBuf, error: io::Error },
    #[error("the data directory {} is in use by another node; stop that one or change node.data_dir", path.display())]
    InUse { path: PathBuf },
}

/// A data directory that is locked as long as this value lives.
#[derive(Debug)]
pub struct DataDir {
    snapshots: PathBuf,
    _lock: File,
}

impl DataDir {
    /// Creates the directory if it does not exist, and locks it.
    ///
    /// # Errors
    /// See [`DataDirError`].
    pub fn open(path: &Path) -> Result<Self, DataDirError> {
        let unusable = |error| DataDirError::Unusable { path: path.to_owned(), error };
        let snapshots = path.join("snapshot");
        fs::create_dir_all(&snapshots).map_err(unusable)?;
        let lock =
            File::options().create(true).truncate(false).write(true).open(path.join("lock")).map_err(unusable)?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => DataDirError::InUse { path: path.to_owned() },
            TryLockError::Error(error) => unusable(error),
        })?;
        let dir = Self { snapshots, _lock: lock };
        // Removes what a crash left behind, and finds out whether files can be created.
        dir.numbered(".snap.tmp")
            .and_then(|left| left.into_iter().try_for_each(|(_, path)| fs::remove_file(path)))
            .and_then(|()| dir.create(0))
            .and_then(|_| fs::remove_file(dir.temporary(0)))
            .map_err(unusable)?;
        Ok(dir)
    }

    /// Creates the temporary file of an owner. Other users may not read it: it shows who shares what.
    pub fn create(&self, number: usize) -> io::Result<File> {
        File::options().create(true).truncate(true).write(true).mode(0o600).open(self.temporary(number))
    }

    /// The snapshot of the owner with this number.
    pub fn snapshot(&self, owner: usize) -> PathBuf {
        self.snapshots.join(format!("owner-{owner}.snap"))
    }

    /// The file in which that snapshot is written.
    pub fn temporary(&self, owner: usize) -> PathBuf {
        self.snapshots.join(format!("owner-{owner}.snap.tmp"))
    }

    /// All snapshots, by the numbers of their owners.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn list(&self) -> io::Result<Vec<(usize, PathBuf)>> {
        self.numbered(".snap")
    }

    /// Replaces the snapshots of these owners with their temporary files, which are on the disk by now.
    ///
    /// # Errors
    /// When a file cannot be renamed, or the directory not be written to the disk.
    pub fn publish(&self, owners: &[usize]) -> io::Result<()> {
        owners.iter().try_for_each(|owner| fs::rename(self.temporary(*owner), self.snapshot(*owner)))?;
        File::open(&self.snapshots)?.sync_all()
    }

    /// Removes temporary files. Those that cannot be removed are overwritten later.
    pub fn discard(&self, owners: impl IntoIterator<Item = usize>) {
        owners.into_iter().for_each(|owner| _ = fs::remove_file(self.temporary(owner)));
    }

    /// Removes the snapshots of owners from number `count` on, which do not exist any more.
    pub fn remove_from(&self, count: usize) {
        let surplus = self.list().unwrap_or_default().into_iter().filter(|(owner, _)| *owner >= count);
        surplus.for_each(|(_, path)| _ = fs::remove_file(path));
    }

    /// Renames a bad snapshot, and removes the oldest of those that were renamed before.
    ///
    /// # Errors
    /// When it cannot be renamed.
    pub fn set_aside(&self, owner: usize, wall_millis: u64) -> io::Result<PathBuf> {
        let aside = self.snapshots.join(format!("owner-{owner}.snap.corrupt-{wall_millis}"));
        fs::rename(self.snapshot(owner), &aside)?;
        let mut corrupt = Vec::new();
        for entry in fs::read_dir(&self.snapshots)? {
            let path = entry?.path();
            let time = path.to_str().and_then(|path| path.rsplit_once(".corrupt-")?.1.parse::<u64>().ok());
            corrupt.extend(time.map(|time| (time, path)));
        }
        corrupt.sort_unstable_by(|a, b| b.cmp(a));
        corrupt.iter().skip(KEEP_CORRUPT).for_each(|(_, path)| _ = fs::remove_file(path));
        Ok(aside)
    }

    fn numbered(&self, suffix: &str) -> io::Result<Vec<(usize, PathBuf)>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.snapshots)? {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str());
            let number = name.and_then(|name| name.strip_prefix("owner-")?.strip_suffix(suffix)?.parse().ok());
            found.extend(number.map(|number| (number, path)));
        }
        found.sort_unstable();
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_used_by_one_node_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new/data");
        let first = DataDir::open(&path).unwrap();
        assert!(matches!(DataDir::open(&path), Err(DataDirError::InUse { .. })));
        drop(first);
        DataDir::open(&path).unwrap();
    }

    #[test]
    fn a_path_that_cannot_be_a_directory_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        fs::write(&path, "").unwrap();
        let error = DataDir::open(&path).unwrap_err().to_string();
        assert!(error.starts_with("cannot write to the data directory") && error.contains("node.data_dir"), "{error}");
    }

    #[test]
    fn the_last_three_corrupt_files_are_kept() {
        let tempdir = tempfile::tempdir().unwrap();
        let dir = DataDir::open(tempdir.path()).unwrap();
        for time in 8..14 {
            let owner = (time % 2) as usize;
            fs::write(dir.snapshot(owner), "x").unwrap();
            dir.set_aside(owner, time).unwrap();
        }
        let mut names: Vec<_> = fs::read_dir(&dir.snapshots)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort_unstable();
        assert_eq!(names, ["owner-0.snap.corrupt-12", "owner-1.snap.corrupt-11", "owner-1.snap.corrupt-13"]);
    }
}
