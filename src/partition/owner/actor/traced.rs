//! Announces that are traced, and those that have proved to be slow.

use std::time::Duration;

use super::{Done, State, UdpAnnounce};
use crate::clock::Now;
use crate::partition::owner::traced::{Late, client, said};
use crate::partition::replication::Cause;
use crate::swarm::{Announce, Counts, Partition};
use crate::telemetry::trace::{FlightRecord, Steps, Transport, Why, names::span};

/// Shorter waits than this are left as a gap, which shows as much: most announces have one.
const LONG: Duration = Duration::from_millis(1);

impl State {
    /// [`State::announce`], with a span if there are `steps`.
    #[expect(clippy::too_many_arguments, reason = "one announce and all that it depends on")]
    pub(super) fn announce_traced(
        &mut self,
        mut steps: Option<&mut Steps>,
        hash: u64,
        announce: &Announce,
        now: Now,
        random: u64,
        out: &mut Vec<u8>,
        head: impl FnOnce(Counts, &mut Vec<u8>),
    ) -> Done {
        if let Some(steps) = &mut steps {
            steps.step_if(span::QUEUE, LONG);
        }
        let done = self.announce(hash, announce, now, random, out, head);
        if let Some(steps) = steps {
            let context = steps.step(span::PARTITION);
            if done.changed {
                self.partitions.changes.causes.push(Cause { hash, context, forwarded: false });
            }
        }
        done
    }

    /// Traces those of a batch that were slow, as far as may be told.
    pub(super) fn tell_slow(&self, announces: &[UdpAnnounce], record: FlightRecord, began: Now, now: Duration) {
        let traces = &self.common.traces;
        if !traces.is_slow(record.received, now) {
            return;
        }
        let record = FlightRecord { began: began.uptime, ..record };
        for request in announces.iter().filter(|request| !request.answered) {
            if !traces.may_tell(now) {
                return;
            }
            let said = said(&request.announce, self.partition(request.hash));
            traces.afterwards(record, Why::Slow, Transport::Udp, client(&request.to), Some(&said), None);
        }
    }

    /// What is kept of an announce whose reply waits for a replica.
    pub(super) fn late(&self, request: &UdpAnnounce, record: FlightRecord) -> Option<Box<Late>> {
        let traces = &self.common.traces;
        let (announce, partition, to) = (request.announce, self.partition(request.hash), request.to);
        traces.is_on().then(|| Box::new(Late { traces: traces.clone(), record, announce, partition, to }))
    }

    fn partition(&self, hash: u64) -> Partition {
        self.common.partitions.partition(hash)
    }
}
