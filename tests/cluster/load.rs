//! `tidings load` on a cluster, and what it says.

use std::process::{Child, Stdio};

use tidings::clock::{Clock, SystemClock};

use super::cluster::{Cluster, binary};
pub use super::report::{Recall, Report};

/// The time, in milliseconds since the Unix epoch.
pub fn now_millis() -> u64 {
    SystemClock::start().now().wall_millis
}

/// A running load.
pub struct Load(Child);

impl Load {
    /// Starts one in a region, from UDP clients to some nodes, verified afterwards at others.
    pub fn start(cluster: &Cluster, region: &str, at: &[&str], verify_at: &[&str], args: &str) -> Self {
        let mut command = cluster.network.command(region, &binary());
        // What is known is judged by the test.
        // Regions hear of each other's changes every 100 ms, and a test that floods a machine keeps them waiting.
        command.args(["load", "--json", "--min-known", "0", "--verify-after", "2s"]).args(args.split_whitespace());
        for (flag, nodes) in [("--target", at), ("--verify-at", verify_at)] {
            nodes.iter().for_each(|node| _ = command.args([flag, &url(cluster, node)]));
        }
        Self(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }

    /// Waits for the end of one that only asks what is known, with nothing of its own to announce.
    pub fn finish_verify(self) -> Recall {
        self.finish().recall()
    }

    /// Waits for its end; the load has a deadline for all that it does.
    pub fn finish(self) -> Report {
        let output = self.0.wait_with_output().unwrap();
        Report::read(&output.stdout, &output.stderr)
    }
}

/// The URL of a node for UDP clients.
pub fn url(cluster: &Cluster, node: &str) -> String {
    format!("udp://{}", cluster.announce(node))
}
