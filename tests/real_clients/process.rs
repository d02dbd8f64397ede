//! Child processes that end with their values, and what they wrote.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::{DEADLINE, deadline};

/// A running program.
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts it with its output in a file in `directory`.
    pub fn start(name: &str, mut command: Command, directory: &Path) -> Self {
        let log = directory.join(format!("{name}.log"));
        let output = File::create(&log).unwrap();
        command.stdin(Stdio::null()).stdout(output.try_clone().unwrap()).stderr(output);
        Self { name: name.into(), child: command.spawn().unwrap(), log }
    }

    /// Asks it to stop and waits.
    pub fn stop(&mut self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
        let deadline = deadline(DEADLINE);
        while self.child.try_wait().unwrap().is_none() {
            assert!(Instant::now() < deadline, "{} does not stop", self.name);
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// The last lines of its output.
    fn tail(&self) -> String {
        let log = std::fs::read(&self.log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<_> = log.lines().collect();
        format!("--- {}\n{}\n", self.name, lines[lines.len().saturating_sub(25)..].join("\n"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until something holds; if it does not in time, fails with what the processes have to say.
pub fn wait_until(what: &str, limit: Duration, mut holds: impl FnMut() -> bool, processes: &[&Process]) {
    let deadline = deadline(limit);
    while !holds() {
        let tails: String = processes.iter().map(|process| process.tail()).collect();
        assert!(Instant::now() < deadline, "not within {limit:?}: {what}\n{tails}");
        std::thread::sleep(Duration::from_millis(100));
    }
}
