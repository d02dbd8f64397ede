//! Child processes pinned to a core, ended with their guard.

#![expect(clippy::disallowed_methods, reason = "waits for processes in real time")]

use std::ffi::OsStr;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// The core that the measured server runs on, alone.
pub const SERVER_CORE: usize = 0;
/// The core that makes the load.
pub const LOAD_CORE: usize = 1;

/// The kernel reports CPU times in ticks of 1/100 s to user space on every architecture (`USER_HZ`).
const TICKS_PER_SECOND: f64 = 100.0;

/// A running child; dropping it ends the child and waits for it.
#[derive(Debug)]
pub struct Pinned {
    child: Child,
    name: String,
    log: PathBuf,
}

impl Pinned {
    /// Runs `program` on `core`, with standard error in `dir/NAME.log` and standard output as given.
    ///
    /// `taskset` and `setpriv` replace themselves by the program, so the process id is the program's own; the kernel
    /// ends it also when this process is killed.
    pub fn spawn<A: AsRef<OsStr>>(
        core: usize,
        name: &str,
        dir: &Path,
        program: &Path,
        args: impl IntoIterator<Item = A>,
        stdout: Stdio,
    ) -> Result<Self> {
        let log = dir.join(format!("{name}.log"));
        let stderr = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        let mut command = Command::new("taskset");
        command.args(["-c", &core.to_string(), "setpriv", "--pdeathsig", "KILL", "--"]).arg(program).args(args);
        // Tidings reads settings from TIDINGS_*, and the bench measures the defaults.
        for (key, _) in std::env::vars_os() {
            if key.to_string_lossy().starts_with("TIDINGS_") {
                command.env_remove(key);
            }
        }
        let child = command
            .current_dir(dir)
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(stderr)
            .spawn()
            .context("cannot run taskset, which pins servers to a core (Debian: apt-get install util-linux)")?;
        Ok(Self { child, name: name.to_owned(), log })
    }

    /// The child's standard output, once, if it was spawned with a pipe.
    pub fn stdout(&mut self) -> Option<ChildStdout> {
        self.child.stdout.take()
    }

    /// Where the child's standard error goes.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Fails if the child has ended.
    pub fn check_alive(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("{} ended early ({status}): {}", self.name, self.last_words()),
        }
    }

    /// Waits for the child to end well, at most until `limit` has passed.
    pub fn finish(&mut self, limit: Duration) -> Result<()> {
        let deadline = Instant::now() + limit;
        loop {
            match self.child.try_wait()? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => bail!("{} failed ({status}): {}", self.name, self.last_words()),
                None if Instant::now() > deadline => bail!("{} did not end within {limit:?}", self.name),
                None => std::thread::sleep(Duration::from_millis(20)),
            }
        }
    }

    /// Stops it, or lets it go on.
    pub fn signal(&self, signal: rustix::process::Signal) -> Result<()> {
        let pid = i32::try_from(self.child.id()).ok().and_then(rustix::process::Pid::from_raw);
        Ok(rustix::process::kill_process(pid.context("it has no pid")?, signal)?)
    }

    /// User and system time that all threads of the child have used so far, in seconds.
    pub fn cpu_seconds(&self) -> Result<f64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()))
            .with_context(|| format!("{} has gone", self.name))?;
        // The second field, the program's name in parentheses, may hold spaces; utime and stime are the 14th and 15th.
        let (_, fields) = stat.rsplit_once(')').context("/proc/PID/stat has no name")?;
        let ticks: Vec<u64> = fields.split_whitespace().skip(11).take(2).map(str::parse).collect::<Result<_, _>>()?;
        Ok(ticks.iter().sum::<u64>() as f64 / TICKS_PER_SECOND)
    }

    /// Resident memory of the child in bytes.
    pub fn resident_bytes(&self) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))
            .with_context(|| format!("{} has gone", self.name))?;
        let kib =
            status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("/proc/PID/status has no VmRSS")?;
        Ok(kib.trim().trim_end_matches(" kB").parse::<u64>()? * 1024)
    }

    fn last_words(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        match text.lines().rev().find(|line| !line.trim().is_empty()) {
            Some(line) => line.to_owned(),
            None => "it printed nothing".to_owned(),
        }
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        // Either fails only if the child has ended already, and then there is nothing left to do.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
