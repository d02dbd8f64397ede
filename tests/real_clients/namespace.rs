//! The network of one test: one host with ordinary addresses, in a network namespace.

use std::fs;
use std::ops::Deref;
use std::path::{Path, PathBuf};

use tidings::testkit::namespace::Namespace;

/// The host's IPv4 address and the name of that.
pub const IPV4: (&str, &str) = ("10.77.0.1", "tracker4.test");
/// The host's IPv6 address, with the documentation prefix because Transmission announces only from global addresses, and
/// the name of that.
pub const IPV6: (&str, &str) = ("2001:db8:77::1", "tracker6.test");
/// Transmission uses IPv6 only if it has a route to this host. Nothing is sent there.
const PROBED_BY_TRANSMISSION: &str = "2001:1890:1112:1::20";

/// The host, which is removed with the value.
pub struct Host {
    namespace: Namespace,
    /// Files that `ip netns exec` mounts over those in `/etc`.
    etc: PathBuf,
}

impl Host {
    pub fn new() -> Self {
        let namespace = Namespace::create();
        namespace.ip(&["link", "set", "lo", "up"]);
        namespace.ip(&["addr", "add", IPV4.0, "dev", "lo"]);
        namespace.ip(&["addr", "add", IPV6.0, "dev", "lo", "nodad"]);
        namespace.ip(&["route", "add", PROBED_BY_TRANSMISSION, "dev", "lo"]);

        let etc = Path::new("/etc/netns").join(namespace.name());
        fs::create_dir_all(&etc).unwrap();
        let hosts = format!("127.0.0.1 localhost\n{} {}\n{} {}\n", IPV4.0, IPV4.1, IPV6.0, IPV6.1);
        fs::write(etc.join("hosts"), hosts).unwrap();
        Self { namespace, etc }
    }
}

impl Deref for Host {
    type Target = Namespace;

    fn deref(&self) -> &Namespace {
        &self.namespace
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.etc);
    }
}
