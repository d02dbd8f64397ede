//! Where the nodes of a test live: on the loopback, or each region in a network namespace of its own.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// The regions in the order of their addresses.
pub const REGIONS: [&str; 3] = ["eu", "us", "ap"];

/// A network.
pub enum Network {
    /// Addresses 127.x.region.node, with an x of the test's own.
    Loopback(u8),
    /// Addresses 10.77.region.node, and a switch between the regions.
    Namespaces(Namespaces),
}

impl Network {
    /// Addresses on the loopback that nobody uses.
    pub fn loopback() -> Self {
        let first = std::process::id();
        let mut free = (0..100).map(|at| 130 + ((first + at) % 100) as u8);
        let is_free = |x: &u8| TcpListener::bind((Ipv4Addr::new(127, *x, 1, 1), 7072)).is_ok();
        Self::Loopback(free.find(is_free).expect("one of a hundred networks is free"))
    }

    /// What stands for `127.0.` of the configurations.
    pub fn prefix(&self) -> String {
        match self {
            Self::Loopback(x) => format!("127.{x}."),
            Self::Namespaces(_) => "10.77.".into(),
        }
    }

    /// The address of a node.
    pub fn ip(&self, node: &str) -> Ipv4Addr {
        let (region, number) = node.split_once('-').unwrap();
        let region = 1 + REGIONS.iter().position(|name| *name == region).unwrap();
        format!("{}{region}.{number}", self.prefix()).parse().unwrap()
    }

    /// A program to be run in a region, which ends with the thread that starts it.
    pub fn command(&self, region: &str, program: &Path) -> Command {
        let mut command = match self {
            Self::Loopback(_) => Command::new("setpriv"),
            Self::Namespaces(namespaces) => {
                let mut command = Command::new("ip");
                command.args(["netns", "exec", &namespaces.name(region), "setpriv"]);
                command
            }
        };
        command.args(["--pdeathsig", "KILL"]).arg(program);
        command.env_clear().envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
        command
    }

    /// Calls a function where it sees the network of a region.
    pub fn enter<T: Send>(&self, region: &str, call: impl FnOnce() -> T + Send) -> T {
        let Self::Namespaces(namespaces) = self else { return call() };
        let file = std::fs::File::open(Path::new("/var/run/netns").join(namespaces.name(region))).unwrap();
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                move_into_link_name_space(std::os::fd::AsFd::as_fd(&file), Some(LinkNameSpaceType::Network)).unwrap();
                call()
            });
            thread.join().unwrap()
        })
    }
}

/// A namespace for each region, and one with a switch that connects them. They end with the value.
pub struct Namespaces {
    number: u32,
    regions: BTreeMap<String, u8>,
}

impl Namespaces {
    /// What this machine lacks for them.
    pub fn missing() -> Option<String> {
        if !rustix::process::geteuid().is_root() {
            return Some("it has to make network namespaces: run it as root".into());
        }
        let path = std::env::var_os("PATH").unwrap_or_default();
        let found = std::env::split_paths(&path).any(|directory| directory.join("ip").is_file());
        (!found).then(|| "ip is not installed: run tests/run, or see its list of packages".into())
    }

    /// Namespaces for these regions, each with the addresses of nodes 1 to 3.
    pub fn new(regions: &[&str]) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let position = |region: &&str| 1 + REGIONS.iter().position(|name| name == region).unwrap() as u8;
        let regions = regions.iter().map(|region| ((*region).to_owned(), position(region))).collect();
        let it = Self { number: NUMBER.fetch_add(100, Relaxed), regions };
        let hub = it.hub();
        ip(&["netns", "add", &hub]);
        ip(&["-n", &hub, "link", "add", "switch", "type", "bridge"]);
        ip(&["-n", &hub, "link", "set", "switch", "up"]);
        for (region, position) in &it.regions {
            let name = it.name(region);
            ip(&["netns", "add", &name]);
            ip(&["-n", &name, "link", "set", "lo", "up"]);
            ip(&["-n", &name, "link", "add", "up0", "type", "veth", "peer", "name", region, "netns", &hub]);
            for node in 1..=3 {
                ip(&["-n", &name, "addr", "add", &format!("10.77.{position}.{node}/16"), "dev", "up0"]);
            }
            ip(&["-n", &name, "link", "set", "up0", "up"]);
            ip(&["-n", &hub, "link", "set", region, "up"]);
        }
        it.heal();
        it
    }

    /// Named as `tests/run` expects it, which removes those of killed runs.
    fn hub(&self) -> String {
        format!("tidings-{}-{}", std::process::id(), 1000 + self.number)
    }

    fn name(&self, region: &str) -> String {
        format!("tidings-{}-{}", std::process::id(), 1000 + self.number + u32::from(self.regions[region]))
    }

    /// From now on nothing gets from one region to another, and nobody is told.
    pub fn cut(&self) {
        self.regions.keys().for_each(|region| ip(&["-n", &self.hub(), "link", "set", region, "nomaster"]));
    }

    /// All regions reach each other.
    pub fn heal(&self) {
        self.regions.keys().for_each(|region| ip(&["-n", &self.hub(), "link", "set", region, "master", "switch"]));
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        for name in self.regions.keys().map(|region| self.name(region)).chain([self.hub()]) {
            let _ = Command::new("ip").args(["netns", "delete", &name]).status();
        }
    }
}

fn ip(arguments: &[&str]) {
    let output = Command::new("ip").args(arguments).output().unwrap();
    assert!(output.status.success(), "ip {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}
