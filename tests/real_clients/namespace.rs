//! A network of its own for one test.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// Its IPv4 address and the host name of that.
pub const IPV4: (&str, &str) = ("10.77.0.1", "tracker4.test");
/// Its IPv6 address, of the documentation prefix because Transmission announces from global addresses alone, and the
/// host name of that.
pub const IPV6: (&str, &str) = ("2001:db8:77::1", "tracker6.test");
/// Transmission believes in IPv6 only if it has a route to this host. Nothing is sent there.
const PROBED_BY_TRANSMISSION: &str = "2001:1890:1112:1::20";

/// A network namespace in which everything is on one host. Ends with its value.
pub struct Namespace {
    name: String,
    /// What `ip netns exec` puts over the files in `/etc`.
    etc: PathBuf,
}

/// What a namespace needs and this machine has not.
pub fn missing() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("it has to make network namespaces: run it as root".into());
    }
    ["ip", "setpriv"].into_iter().find_map(missing_program)
}

/// Says so if a program is not installed.
pub fn missing_program(name: &str) -> Option<String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).any(|directory| directory.join(name).is_file());
    (!found).then(|| format!("{name} is not installed: run tests/run, or see its list of packages"))
}

impl Namespace {
    pub fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("tidings-{}-{}", std::process::id(), NUMBER.fetch_add(1, Relaxed));
        let etc = Path::new("/etc/netns").join(&name);
        let namespace = Self { name, etc };
        let name = &namespace.name;
        ip(&["netns", "add", name]);
        ip(&["-n", name, "link", "set", "lo", "up"]);
        ip(&["-n", name, "addr", "add", IPV4.0, "dev", "lo"]);
        ip(&["-n", name, "addr", "add", IPV6.0, "dev", "lo", "nodad"]);
        ip(&["-n", name, "route", "add", PROBED_BY_TRANSMISSION, "dev", "lo"]);
        std::fs::create_dir_all(&namespace.etc).unwrap();
        let hosts = format!("127.0.0.1 localhost\n{} {}\n{} {}\n", IPV4.0, IPV4.1, IPV6.0, IPV6.1);
        std::fs::write(namespace.etc.join("hosts"), hosts).unwrap();
        namespace
    }

    /// A command to be run in it, which ends with the thread that starts it.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name, "setpriv", "--pdeathsig", "KILL", program]);
        command
    }

    /// Calls a function on a thread that is in it.
    pub fn enter<T: Send>(&self, call: impl FnOnce() -> T + Send) -> T {
        let file = std::fs::File::open(Path::new("/var/run/netns").join(&self.name)).unwrap();
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                move_into_link_name_space(std::os::fd::AsFd::as_fd(&file), Some(LinkNameSpaceType::Network)).unwrap();
                call()
            });
            thread.join().unwrap()
        })
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "delete", &self.name]).status();
        let _ = std::fs::remove_dir_all(&self.etc);
    }
}

fn ip(arguments: &[&str]) {
    let output = Command::new("ip").args(arguments).output().unwrap();
    assert!(output.status.success(), "ip {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}
