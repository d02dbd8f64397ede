//! Child processes that end with their values, and their output.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use tidings::testkit::wait;

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

    /// Sends a signal and waits for the end.
    pub fn stop(&mut self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
        wait::wait_for(&format!("{} stops", self.name), || self.child.try_wait().unwrap());
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

/// Waits until `holds` returns true. If that fails, prints the last lines of these processes.
pub fn wait_until(what: &str, holds: impl FnMut() -> bool, processes: &[&Process]) {
    struct PrintOnPanic<'a>(&'a [&'a Process]);

    impl Drop for PrintOnPanic<'_> {
        fn drop(&mut self) {
            if std::thread::panicking() {
                self.0.iter().for_each(|process| println!("{}", process.tail()));
            }
        }
    }

    let _print = PrintOnPanic(processes);
    wait::wait_until(what, holds);
}
