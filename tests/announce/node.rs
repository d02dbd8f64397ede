//! A node in this process, on ports that the system chooses.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tidings::clock::{Clock, Now, SystemClock};
use tidings::config::Settings;
use tidings::node;
use tokio::runtime::Runtime;

use tidings::testkit::udp_client::Client;

/// Real time that a test can advance.
pub struct TestClock {
    system: SystemClock,
    ahead_millis: AtomicU64,
}

impl TestClock {
    pub fn advance(&self, by: Duration) {
        self.ahead_millis.fetch_add(by.as_millis() as u64, Relaxed);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Now {
        let (Now { uptime, wall_millis }, ahead) = (self.system.now(), self.ahead_millis.load(Relaxed));
        Now { uptime: uptime + Duration::from_millis(ahead), wall_millis: wall_millis + ahead }
    }
}

/// A running node, which stops with the value.
pub struct Node {
    pub clock: Arc<TestClock>,
    pub runtime: Runtime,
    node: Option<node::Node>,
}

/// The defaults, with two threads and free ports of both families.
pub fn settings() -> Settings {
    let mut settings = Settings::default();
    let free: Vec<SocketAddr> = vec!["127.0.0.1:0".parse().unwrap(), "[::1]:0".parse().unwrap()];
    settings.announce.udp = free.clone();
    settings.announce.http = free;
    settings.announce.threads = 2;
    settings.ops.listen = None;
    settings
}

impl Node {
    pub fn start(settings: Settings) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let clock = Arc::new(TestClock { system: SystemClock::start(), ahead_millis: AtomicU64::new(0) });
        let node = runtime.block_on(node::Node::start(settings, clock.clone(), None)).unwrap();
        Self { clock, runtime, node: Some(node) }
    }

    pub fn get(&self) -> &node::Node {
        self.node.as_ref().unwrap()
    }

    /// A client over IPv4.
    pub fn v4(&self) -> Client {
        Client::new(self.get().addrs().udp[0])
    }

    /// A client over IPv6.
    pub fn v6(&self) -> Client {
        Client::new(self.get().addrs().udp[1])
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(node) = self.node.take() {
            self.runtime.block_on(node.stop());
        }
    }
}
