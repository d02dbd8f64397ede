//! The cluster that tests share: started by the first test that needs it, and again after a test that failed.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use tempfile::TempDir;

use super::cluster::Cluster;
use super::engine::{self, Compose, output};
use tidings::testkit::figures::{choose, is_full};

#[derive(Default)]
pub struct Stage {
    built: Mutex<Option<Built>>,
    cluster: Mutex<Option<Cluster>>,
}

/// An image and the sources that it was built from.
struct Built {
    image: String,
    root: PathBuf,
    /// A clone, if the sources are not the working tree.
    _clone: Option<TempDir>,
}

impl Stage {
    /// Runs a test with the shared cluster.
    pub fn with<T>(&self, test: impl FnOnce(&mut Cluster) -> T) -> T {
        let mut cluster = self.cluster.lock().unwrap_or_else(|poisoned| {
            self.cluster.clear_poison();
            let mut cluster = poisoned.into_inner();
            // The test that failed may have left it in any state.
            if let Some(cluster) = cluster.take() {
                cluster.print_logs();
            }
            cluster
        });
        test(cluster.get_or_insert_with(|| {
            let (image, root) = self.image();
            Cluster::start(Compose::any().expect("tests are skipped without it"), &image, &root)
        }))
    }

    /// Runs a test with a cluster that another Compose starts. The shared one is removed before.
    pub fn with_another<T>(&self, compose: Compose, test: impl FnOnce(&Cluster) -> T) -> T {
        *self.cluster.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = None;
        let (image, root) = self.image();
        test(&Cluster::start(compose, &image, &root))
    }

    /// The image under test and the directory of its sources.
    pub fn image(&self) -> (String, PathBuf) {
        let mut built = self.built.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let built = built.get_or_insert_with(Built::new);
        (built.image.clone(), built.root.clone())
    }

    /// Removes everything.
    pub fn clear(&self) {
        let mut cluster = self.cluster.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        *cluster = None;
        let mut built = self.built.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if built.take().is_some() {
            engine::remove_image(&engine::project());
        }
    }
}

impl Built {
    fn new() -> Self {
        engine::remove_stale();
        let tree = Path::new(env!("CARGO_MANIFEST_DIR"));
        if let Some(image) = std::env::var("TRACKER_IMAGE").ok().filter(|image| !image.is_empty()) {
            return Self { image, root: tree.to_owned(), _clone: None };
        }
        let (clone, root) = if is_full() { clone(tree) } else { (None, tree.to_owned()) };
        let image = engine::project();
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("it is in the target directory");
        let mut command = engine::command(2400, "docker/build");
        command.current_dir(&root).env_clear();
        // Without the variables that cargo sets for tests, which would make it rebuild some crates.
        for name in ["PATH", "HOME", "CARGO_HOME", "RUSTUP_HOME", "RUSTUP_TOOLCHAIN", "DOCKER_HOST"] {
            command.envs(std::env::var_os(name).map(|value| (name, value)));
        }
        command.env("CARGO_TARGET_DIR", target).env("TRACKER_IMAGE", &image).env("PROFILE", choose("dev", "release"));
        output(&mut command);
        Self { image, root, _clone: clone }
    }
}

/// A clone with what is committed.
fn clone(tree: &Path) -> (Option<TempDir>, PathBuf) {
    let directory = TempDir::new().unwrap();
    let root = directory.path().join("tidings");
    output(
        Command::new("git")
            .args(["clone", "--quiet", "--no-local", "--depth", "1"])
            .arg(format!("file://{}", tree.display()))
            .arg(&root),
    );
    (Some(directory), root)
}
