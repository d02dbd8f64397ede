//! What traces tell of announces, and how announces on their way carry theirs.

use std::net::IpAddr;

use crate::net::Endpoint;
use crate::swarm::{Announce, Partition};
use crate::telemetry::trace::{AnnounceSummary, FlightRecord, Traces, Transport, Why};

/// What a trace tells of an announce whose swarm is in this partition.
pub fn said(announce: &Announce, partition: Partition) -> AnnounceSummary<'_> {
    AnnounceSummary {
        info_hash: &announce.info_hash.0,
        event: announce.event.label(),
        num_want: announce.num_want,
        partition: partition.0,
    }
}

/// The address that a UDP announce came from.
pub fn client(of: &Endpoint) -> Option<IpAddr> {
    of.remote().map(|remote| remote.ip())
}

/// One announce by UDP of those whose replies wait for a replica, to speak for them all if they are slow.
pub struct Late {
    /// Traces of the node.
    pub traces: Traces,
    /// The times of its batch.
    pub record: FlightRecord,
    /// What it says.
    pub announce: Announce,
    /// The partition of its swarm.
    pub partition: Partition,
    /// Where it came from.
    pub to: Endpoint,
}

impl Late {
    /// The replies go.
    pub fn told(&self) {
        let now = self.traces.now();
        if self.traces.is_slow(self.record.received, now) && self.traces.may_tell(now) {
            let said = said(&self.announce, self.partition);
            self.traces.afterwards(self.record, Why::Slow, Transport::Udp, client(&self.to), Some(&said), None);
        }
    }
}
