//! The network of a cluster: addresses on the loopback, or a network namespace for each region.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::Command;

use super::namespace::Namespace;

/// The regions in the order of their addresses.
pub const REGIONS: [&str; 3] = ["eu", "us", "ap"];

pub enum Network {
    /// Addresses 127.x.region.node, with an x that no other test uses.
    Loopback(u8),
    /// Addresses 10.77.region.node.
    Namespaces(Namespaces),
}

impl Network {
    /// A network on the loopback that is free.
    pub fn loopback() -> Self {
        let first = std::process::id();
        let mut candidates = (0..100).map(|at| 130 + ((first + at) % 100) as u8);
        let is_free = |x: &u8| TcpListener::bind((Ipv4Addr::new(127, *x, 1, 1), 7072)).is_ok();
        Self::Loopback(candidates.find(is_free).expect("one of a hundred networks is free"))
    }

    /// What replaces `127.0.` in the files of `cluster-configs/`.
    pub fn prefix(&self) -> String {
        match self {
            Self::Loopback(x) => format!("127.{x}."),
            Self::Namespaces(_) => "10.77.".into(),
        }
    }

    /// The address of a node.
    pub fn ip(&self, node: &str) -> Ipv4Addr {
        let (region, number) = node.split_once('-').unwrap();
        format!("{}{}.{number}", self.prefix(), position(region)).parse().unwrap()
    }

    /// A program that runs in a region, without this test's environment, and ends with the thread that starts it.
    pub fn command(&self, region: &str, program: &Path) -> Command {
        let mut command = match self {
            Self::Loopback(_) => {
                let mut command = Command::new("setpriv");
                command.args(["--pdeathsig", "KILL"]).arg(program);
                command
            }
            Self::Namespaces(namespaces) => namespaces.regions[region].command(program),
        };
        command.env_clear().envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
        command
    }

    /// Calls a function in the network of a region.
    pub fn enter<T: Send>(&self, region: &str, call: impl FnOnce() -> T + Send) -> T {
        match self {
            Self::Loopback(_) => call(),
            Self::Namespaces(namespaces) => namespaces.regions[region].enter(call),
        }
    }
}

/// The number of a region in addresses.
fn position(region: &str) -> usize {
    1 + REGIONS.iter().position(|name| *name == region).unwrap()
}

/// A namespace for each region, and one with a switch that connects them.
pub struct Namespaces {
    hub: Namespace,
    regions: BTreeMap<String, Namespace>,
}

impl Namespaces {
    /// Namespaces for these regions, each with the addresses of nodes 1 to 3.
    pub fn new(regions: &[&str]) -> Self {
        let hub = Namespace::create();
        hub.ip(&["link", "add", "switch", "type", "bridge"]);
        hub.ip(&["link", "set", "switch", "up"]);

        let make = |region: &str| {
            let namespace = Namespace::create();
            namespace.ip(&["link", "set", "lo", "up"]);
            namespace.ip(&["link", "add", "up0", "type", "veth", "peer", "name", region, "netns", hub.name()]);
            for node in 1..=3 {
                let address = format!("10.77.{}.{node}/16", position(region));
                namespace.ip(&["addr", "add", &address, "dev", "up0"]);
            }
            namespace.ip(&["link", "set", "up0", "up"]);
            hub.ip(&["link", "set", region, "up"]);
            (region.to_owned(), namespace)
        };
        let regions = regions.iter().map(|region| make(region)).collect();
        let namespaces = Self { hub, regions };
        namespaces.heal();
        namespaces
    }

    /// Drops all packets between regions; no end of a connection is notified.
    pub fn cut(&self) {
        self.regions.keys().for_each(|region| self.hub.ip(&["link", "set", region, "nomaster"]));
    }

    /// Connects all regions again.
    pub fn heal(&self) {
        self.regions.keys().for_each(|region| self.hub.ip(&["link", "set", region, "master", "switch"]));
    }
}
