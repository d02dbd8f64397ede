//! `tidings load` on a cluster.

use std::process::{Child, Stdio};

use tidings::clock::{Clock, SystemClock};

use tidings::testkit::binary::binary;
use tidings::testkit::cluster::Cluster;
use tidings::testkit::figures::is_full;
pub use tidings::testkit::load_report::{Recall, Report};

/// The time, in milliseconds since the Unix epoch.
pub fn now_millis() -> u64 {
    SystemClock::start().now().wall_millis
}

/// How long after the load the nodes are asked for its peers: enough for a busy machine to replicate them.
const VERIFY_AFTER: &str = "5s";

/// A running load.
pub struct Load(Child);

impl Load {
    /// Starts one in a region, which announces to the nodes `at` by UDP and verifies the peers at others afterwards.
    pub fn start(cluster: &Cluster, region: &str, at: &[&str], verify_at: &[&str], args: &str) -> Self {
        let mut command = cluster.network.command(region, &binary());
        // The test judges what is known. Changes go to other regions every 100 ms, and take longer on a busy machine.
        command
            .args(["load", "--json", "--min-known", "0", "--verify-after", VERIFY_AFTER])
            .args(args.split_whitespace());
        if !is_full() {
            // A busy machine is slow, and only a request that is lost is an error.
            command.args(["--deadline", if args.contains("--failover") { "3s" } else { "30s" }]);
        }
        for (flag, nodes) in [("--target", at), ("--verify-at", verify_at)] {
            nodes.iter().for_each(|node| _ = command.args([flag, &url(cluster, node)]));
        }
        Self(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
    }

    /// Whether it has gone on until now. If it has not, what it found at nodes that were just restarted proves nothing: at
    /// full scale this fails the test, and in the quick form the machine was too busy to judge by it.
    pub fn lasted(&mut self) -> bool {
        let lasted = self.0.try_wait().unwrap().is_none();
        assert!(lasted || !is_full(), "the load ended too early");
        if !lasted {
            println!("NOT JUDGED: the load ended before all nodes were restarted; this machine is too busy");
        }
        lasted
    }

    /// Waits for the end of a load that only verifies.
    pub fn finish_verify(self) -> Recall {
        self.finish().recall()
    }

    /// Waits for its end. All that a load does has a deadline.
    pub fn finish(self) -> Report {
        let output = self.0.wait_with_output().unwrap();
        Report::read(&output.stdout, &output.stderr)
    }
}

/// The URL of a node for UDP clients.
pub fn url(cluster: &Cluster, node: &str) -> String {
    format!("udp://{}", cluster.announce(node))
}
