//! The changes that one other node has not acknowledged. While the node is up the queue is short; while it is down, this is
//! its queue of hints.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::ack::PendingAck;
use crate::clock::Clock;
use crate::faults;
use crate::link::{Class, Completion, Link, LinkError};
use crate::partition::record_codec::RecordBatch;
use crate::telemetry::trace::{ErrorType, RequestTrace, Traces, names};
use crate::wire::peer::{Refusal, Reply, Request};

/// Batches in flight at a time.
const WINDOW: usize = 32;
/// How long the other node may take to acknowledge a batch before it is sent again.
const DEADLINE: Duration = Duration::from_secs(2);

/// The batches for one other node, oldest first. A batch may arrive twice or after a later one: merging records is
/// idempotent and commutative.
pub struct DeltaQueue {
    limit: usize,
    /// How long the other node may take while a reply to a client waits.
    ack_deadline: Duration,
    link: Arc<Link>,
    clock: Arc<dyn Clock>,
    traces: Traces,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Batches that a reply to a client waits for: sent first, so that they do not queue behind the hints for a node that
    /// has come back.
    urgent: VecDeque<Batch>,
    waiting: VecDeque<Batch>,
    in_flight: usize,
    /// Of all batches, those in flight included.
    bytes: usize,
    /// Changes were dropped: the other node has to compare.
    gap: bool,
    /// The queue for a later incarnation of the node, which has replaced this one.
    successor: Option<Arc<DeltaQueue>>,
    counts: QueueStatus,
}

struct Batch {
    pieces: Vec<u8>,
    records: usize,
    made: Duration,
    forward: bool,
    ack: Option<PendingAck>,
    /// The trace of a batch some of whose records come from announces that are traced.
    trace: Option<Box<RequestTrace>>,
}

/// The state of a queue, for status and metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueStatus {
    /// Batches that wait or are on their way.
    pub batches: usize,
    /// Their bytes.
    pub bytes: usize,
    /// How long the oldest has waited.
    pub lag: Duration,
    /// Records that were delivered, since the start.
    pub delivered: u64,
    /// Bytes that were delivered, since the start.
    pub delivered_bytes: u64,
    /// Records that were dropped because the queue was full, since the start.
    pub dropped: u64,
    /// Batches that had to be sent again, since the start.
    pub resent: u64,
}

impl State {
    fn next(&mut self) -> Option<Batch> {
        self.urgent.pop_front().or_else(|| self.waiting.pop_front())
    }
}

impl DeltaQueue {
    /// An empty queue of at most `limit` bytes for the node behind `link`. A reply to a client waits for that node no longer
    /// than `ack_deadline`.
    pub fn new(
        link: Arc<Link>,
        limit: usize,
        ack_deadline: Duration,
        clock: Arc<dyn Clock>,
        traces: Traces,
    ) -> Arc<Self> {
        Arc::new(Self { limit, ack_deadline, link, clock, traces, state: Mutex::default() })
    }

    /// Adds a batch, and sends what can be sent. `ack` is dropped once the other node has the batch, or is found
    /// unreachable.
    pub fn push(self: &Arc<Self>, pieces: RecordBatch, forward: bool, now: Duration, ack: Option<PendingAck>) {
        let records = pieces.records;
        let mut trace = self.traces.start_batch(now, &pieces.causes);
        if let Some(trace) = &mut trace {
            trace.root().set(names::key::RECORDS, records as i64);
            trace.root().set(names::key::CROSS_REGION, forward);
        }
        let pieces = pieces.into_bytes();
        let mut released = Vec::new();
        {
            let mut state = self.state.lock();
            if state.bytes + pieces.len() > self.limit && !faults::OVERFLOW_UNNOTICED.is_on() {
                state.gap = true;
            }
            if state.bytes + pieces.len() > self.limit {
                // Everything that waits is dropped, as the other node now has to compare anyway.
                while let Some(mut batch) = state.next() {
                    if let Some(trace) = &mut batch.trace {
                        trace.fail(ErrorType::QueueFull);
                    }
                    state.bytes -= batch.pieces.len();
                    state.counts.dropped += batch.records as u64;
                    released.extend(batch.ack);
                }
            }
            state.bytes += pieces.len();
            let queue = if ack.is_some() { &mut state.urgent } else { &mut state.waiting };
            queue.push_back(Batch { pieces, records, made: now, forward, ack, trace });
        }
        // Not under the lock: this sends replies.
        drop(released);
        self.pump();
    }

    /// Sends what can be sent. Called at every tick as well, for when the link has come back.
    pub fn pump(self: &Arc<Self>) {
        // At most a window at a time: a batch that fails at once is sent again at the next call.
        for _ in 0..WINDOW {
            if !self.link.is_routable() {
                return self.release_acks();
            }
            let batch = {
                let mut state = self.state.lock();
                if state.in_flight >= WINDOW {
                    return;
                }
                let Some(batch) = state.next() else { return };
                state.in_flight += 1;
                batch
            };
            self.send(batch);
        }
    }

    fn send(self: &Arc<Self>, mut batch: Batch) {
        let waited = self.clock.now().uptime.saturating_sub(batch.made).as_secs() as u32;
        let pieces = std::mem::take(&mut batch.pieces);
        let request = Request::Deltas { forward: batch.forward, waited, pieces: pieces.into() };
        let deadline = if batch.ack.is_some() { self.ack_deadline } else { DEADLINE };
        let link = self.link.clone();
        let call = |trace: &mut Box<RequestTrace>| {
            (0, trace.begin_call(names::span::CALL_DELTAS, link.target().id.to_string()))
        };
        let span = batch.trace.as_mut().map(call);
        // The request is encoded within the call, and its bytes are kept for another try.
        let flight = Flight { queue: self.clone(), batch: Some(batch), request: request.clone() };
        link.send_traced(Class::Request, &request, span.as_slice(), deadline, Box::new(flight));
    }

    /// Replies do not wait for a node that cannot be reached.
    fn release_acks(&self) {
        let mut released: Vec<PendingAck> = Vec::new();
        {
            let mut state = self.state.lock();
            let State { urgent, waiting, .. } = &mut *state;
            released.extend(urgent.iter_mut().filter_map(|batch| batch.ack.take()));
            waiting.append(urgent);
        }
        // Not under the lock: this sends replies.
        drop(released);
    }

    /// Moves everything to the queue for a later incarnation of the same node. That one pulls what it is to hold, but some
    /// changes exist nowhere else: those that no other node could be sent, and those for its whole region.
    pub fn move_to(&self, to: &Arc<Self>) {
        let waiting = {
            let mut state = self.state.lock();
            state.successor = Some(to.clone());
            state.bytes = 0;
            [std::mem::take(&mut state.urgent), std::mem::take(&mut state.waiting)]
        };
        let mut state = to.state.lock();
        let [urgent, waiting] = waiting;
        state.bytes += urgent.iter().chain(&waiting).map(|batch| batch.pieces.len()).sum::<usize>();
        state.urgent.extend(urgent);
        state.waiting.extend(waiting);
    }

    /// Moves what waits for another region to the queue of another node there, which passes it on as well; as much as that
    /// queue has room for.
    pub fn redirect_cross_region(&self, to: &Arc<Self>) {
        // Their bytes count here until they are there.
        let mut moved: VecDeque<Batch>;
        {
            let mut state = self.state.lock();
            let waiting = std::mem::take(&mut state.waiting);
            (moved, state.waiting) = waiting.into_iter().partition(|batch: &Batch| batch.forward);
        }
        if moved.is_empty() {
            return;
        }
        let mut bytes = 0;
        {
            let mut state = to.state.lock();
            while let Some(batch) = moved.pop_front_if(|batch| state.bytes + batch.pieces.len() <= to.limit) {
                bytes += batch.pieces.len();
                state.bytes += batch.pieces.len();
                state.waiting.push_back(batch);
            }
        }
        let mut state = self.state.lock();
        state.bytes -= bytes;
        moved.append(&mut state.waiting);
        state.waiting = moved;
    }

    /// Whether changes were dropped since the last call.
    pub fn take_gap(&self) -> bool {
        let mut state = self.state.lock();
        self.link.is_routable() && std::mem::take(&mut state.gap)
    }

    /// Whether everything has been delivered.
    pub fn is_empty(&self) -> bool {
        let state = self.state.lock();
        state.urgent.is_empty() && state.waiting.is_empty() && state.in_flight == 0
    }

    /// Its state.
    pub fn status(&self) -> QueueStatus {
        let now = self.clock.now().uptime;
        let state = self.state.lock();
        let oldest = [&state.urgent, &state.waiting].into_iter().filter_map(|queue| Some(queue.front()?.made)).min();
        QueueStatus {
            batches: state.urgent.len() + state.waiting.len() + state.in_flight,
            bytes: state.bytes,
            lag: oldest.map(|made| now.saturating_sub(made)).unwrap_or_default(),
            ..state.counts
        }
    }
}

/// A batch in flight.
struct Flight {
    queue: Arc<DeltaQueue>,
    batch: Option<Batch>,
    request: Request,
}

impl Flight {
    fn bytes(&self) -> usize {
        match &self.request {
            Request::Deltas { pieces, .. } => pieces.len(),
            _ => 0,
        }
    }

    fn delivered(&mut self) {
        let Some(batch) = self.batch.take() else { return };
        let bytes = self.bytes();
        {
            let mut state = self.queue.state.lock();
            state.in_flight -= 1;
            state.bytes = state.bytes.saturating_sub(bytes);
            state.counts.delivered += batch.records as u64;
            state.counts.delivered_bytes += bytes as u64;
        }
        if let Some(trace) = batch.trace {
            trace.finish();
        }
        drop(batch.ack);
        self.queue.pump();
    }

    /// The batch can never be delivered: the other node has to compare instead.
    fn undeliverable(&mut self) {
        let Some(mut batch) = self.batch.take() else { return };
        if let Some(trace) = &mut batch.trace {
            trace.fail(ErrorType::NotMerged);
        }
        let bytes = self.bytes();
        let mut state = self.queue.state.lock();
        state.in_flight -= 1;
        state.bytes = state.bytes.saturating_sub(bytes);
        state.counts.dropped += batch.records as u64;
        state.gap = true;
    }

    /// The batch has to be sent again.
    fn failed_with(&mut self, error: ErrorType) {
        let Some(mut batch) = self.batch.take() else { return };
        if let Some(trace) = &mut batch.trace {
            trace.end_call(Some(error));
        }
        // The client does not wait for another try: its owner has the announce, and the replica will have it.
        let ack = batch.ack.take();
        if let Request::Deltas { pieces, .. } = &mut self.request {
            batch.pieces = std::mem::take(pieces).into_vec();
        }
        let successor = {
            let mut state = self.queue.state.lock();
            state.in_flight -= 1;
            state.counts.resent += 1;
            state.successor.clone()
        };
        let queue = successor.as_ref().unwrap_or(&self.queue);
        {
            let mut state = queue.state.lock();
            if successor.is_some() {
                state.bytes += batch.pieces.len();
            }
            state.waiting.push_front(batch);
        }
        drop(ack);
    }
}

impl Completion for Flight {
    fn reply(&mut self, reply: Reply, _last: bool) {
        match reply {
            Reply::Done => self.delivered(),
            _ => self.failed_with(ErrorType::UnexpectedReply),
        }
    }

    fn failed(mut self: Box<Self>, error: LinkError) {
        match error {
            // It cannot be read there, or not even be sent, and that will not change the next time.
            LinkError::Refused(Refusal::Malformed) => self.undeliverable(),
            error => self.failed_with(ErrorType::Link(error.kind())),
        }
    }
}
