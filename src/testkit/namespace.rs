//! A network namespace.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::skipped::missing_program;

/// A network namespace, which ends with the value.
pub struct Namespace {
    name: String,
}

/// What this machine lacks for namespaces.
pub fn missing() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("it makes network namespaces: run it as root".into());
    }
    ["ip", "setpriv"].into_iter().find_map(missing_program)
}

impl Namespace {
    /// An empty one, named so that `tests/run` finds those of killed runs.
    pub fn create() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("tidings-{}-{}", std::process::id(), NUMBER.fetch_add(1, Relaxed));
        ip(&["netns", "add", &name]);
        Self { name }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs `ip` in it.
    pub fn ip(&self, arguments: &[&str]) {
        ip(&[&["-n", self.name.as_str()], arguments].concat());
    }

    /// A command that runs in it and ends with the thread that starts it.
    pub fn command(&self, program: &Path) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name, "setpriv", "--pdeathsig", "KILL"]).arg(program);
        command
    }

    /// Calls a function on a thread that is in it.
    pub fn enter<T: Send>(&self, call: impl FnOnce() -> T + Send) -> T {
        let file = File::open(Path::new("/var/run/netns").join(&self.name)).unwrap();
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
                call()
            });
            thread.join().unwrap()
        })
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // Nothing is left to do where it fails: tests/run removes what stays behind.
        let _ = Command::new("ip").args(["netns", "delete", &self.name]).status();
    }
}

/// Runs `ip`, which has to succeed.
fn ip(arguments: &[&str]) {
    let output = Command::new("ip").args(arguments).output().unwrap();
    assert!(output.status.success(), "ip {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}
