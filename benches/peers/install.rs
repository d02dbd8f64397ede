//! Finds the programs that the bench runs, and installs the missing ones.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use crate::args::{Args, Part};
use crate::subject::Subject;

const VERSION: &str = "0.9.0";

/// Programs and folders of one run.
#[derive(Debug)]
pub struct Tools {
    peers: Vec<PathBuf>,
    /// Where configurations, scripts and logs go.
    pub work: PathBuf,
    /// The tracker of this package, built with the profile of the bench.
    pub tidings: PathBuf,
    /// Another build of it.
    pub reference: Option<PathBuf>,
    /// This binary, which holds the bare responders.
    pub bench: PathBuf,
}

impl Tools {
    /// Checks for wrk, and installs what is missing of aquatic 0.9.0 into `target/peers`.
    ///
    /// A folder named by `PEERS_DIR` (with the programs in its `bin`) is looked at first.
    pub fn prepare(args: &Args) -> Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/peers");
        let mut peers = vec![root.join("bin")];
        if let Some(dir) = std::env::var_os("PEERS_DIR") {
            peers.insert(0, PathBuf::from(dir).join("bin"));
        }
        let work = root.join("run");
        std::fs::create_dir_all(&work).with_context(|| format!("cannot make {}", work.display()))?;
        let tools = Self {
            peers,
            work,
            tidings: PathBuf::from(env!("CARGO_BIN_EXE_tidings")),
            reference: args.reference.clone(),
            bench: std::env::current_exe()?,
        };

        let aquatic = args.subjects().any(|subject| matches!(subject, Subject::Aquatic | Subject::AquaticWildcard));
        if args.wants(Part::Udp) {
            tools.install("aquatic_udp_load_test", &root)?;
        }
        if aquatic && (args.wants(Part::Udp) || args.wants(Part::Memory)) {
            tools.install("aquatic_udp", &root)?;
        }
        if args.wants(Part::Http) {
            check_wrk()?;
            if aquatic {
                tools.install("aquatic_http", &root)?;
            }
        }
        Ok(tools)
    }

    /// The path of an installed program of aquatic.
    pub fn peer(&self, name: &str) -> Result<PathBuf> {
        let found = self.peers.iter().map(|dir| dir.join(name)).find(|path| path.is_file());
        found.with_context(|| format!("{name} is not installed; run the bench without --only to install it"))
    }

    fn install(&self, name: &str, root: &Path) -> Result<()> {
        if self.peer(name).is_ok() {
            return Ok(());
        }
        // Its lock file names versions of 2024, some of which a newer compiler refuses.
        for locked in [true, false] {
            eprintln!("installing {name} {VERSION}{} ...", if locked { " as locked" } else { "" });
            let status = Command::new(env!("CARGO"))
                .args(["install", "--quiet", "--version", VERSION, name, "--root"])
                .arg(root)
                .arg("--target-dir")
                .arg(root.join("build"))
                .args(locked.then_some("--locked"))
                .status()
                .context("cannot run cargo")?;
            if status.success() {
                return Ok(());
            }
        }
        bail!("cannot install {name} {VERSION}; its output is above");
    }
}

fn check_wrk() -> Result<()> {
    // `wrk -v` prints its version and ends with 1.
    let found = Command::new("wrk").arg("-v").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    ensure!(
        found,
        "wrk, which makes the HTTP load, is not installed: apt-get install wrk, or leave HTTP out by --parts udp,memory"
    );
    Ok(())
}
