//! The thread that restores, and then writes snapshots round after round.

mod load;

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use ractor::ActorId;
use tokio::sync::oneshot;

use super::format;
use super::walk::{MAX_STEP, Step, Walk};
use super::{DataDir, LAST, Settings, Shared, Stop};
use crate::clock::{Clock, Now};
use crate::partition::{Message, OwnerHandle, Owners, Partitions};
use crate::swarm::Totals;
use crate::telemetry::trace::names;

/// The pause between two steps.
const PAUSE: Duration = Duration::from_millis(20);
/// Swarms and records that a step copies at the least.
const MIN_STEP: usize = 1_024;
/// How long an owner may take to let us in. One that takes longer has failed.
const DEADLINE: Duration = Duration::from_secs(5);

/// The state of the thread.
pub struct Service {
    settings: Settings,
    dir: DataDir,
    owners: Arc<Owners>,
    clock: Arc<dyn Clock>,
    shared: Arc<Shared>,
    /// By the number of the owner.
    filled: Vec<Filled>,
    /// Whether the files on the disk are of the owners as they are now, each of its own.
    settled: bool,
    /// Whether the last round failed, which was said then and need not be said again.
    failing: bool,
}

/// What an owner was given back.
#[derive(Clone, Copy, Default)]
struct Filled {
    /// The owner whose records are all back. One with another id is new and has to be refilled before its snapshot may
    /// replace the one of its predecessor.
    id: Option<ActorId>,
    /// How often in a row an owner failed over what it was given.
    failures: u8,
}

/// Why there is no snapshot of an owner in this round.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("cannot write to node.data_dir: {0}")]
    Disk(#[from] io::Error),
    #[error("an owner of partitions failed or did not answer")]
    Owner,
    #[error("there was no time left")]
    Late,
    #[error("the node stops")]
    Stopped,
}

/// How much a round has to copy, and how fast.
struct Pace {
    begun: Duration,
    /// Zero: as fast as it goes.
    length: Duration,
    units: u64,
    done: u64,
}

/// What a round has written.
#[derive(Default)]
struct Written {
    bytes: u64,
    records: u64,
}

impl Service {
    pub fn new(
        settings: Settings,
        dir: DataDir,
        owners: Arc<Owners>,
        clock: Arc<dyn Clock>,
        shared: Arc<Shared>,
    ) -> Self {
        Self { settings, dir, owners, clock, shared, filled: Vec::new(), settled: false, failing: false }
    }

    /// Restores, tells so, and makes snapshots until it is told to stop.
    pub fn run(mut self, restored: oneshot::Sender<()>) {
        self.restore_all();
        // Those who started us may be gone.
        let _ = restored.send(());
        let mut pause = self.settings.interval;
        loop {
            match self.wait(pause) {
                Some(Stop::Now) => return,
                Some(Stop::Complete) => break,
                None => {}
            }
            let begun = self.clock.now().uptime;
            self.round(self.settings.interval / 2);
            pause = self.settings.interval.saturating_sub(self.clock.now().uptime.saturating_sub(begun));
        }
        self.round(Duration::ZERO);
    }

    /// Waits, and refills owners that are new. Returns early after that, or when told to stop.
    fn wait(&mut self, pause: Duration) -> Option<Stop> {
        let (stop, refill) = {
            let mut orders = self.shared.orders.lock();
            if orders.stop.is_none() && !orders.refill {
                self.shared.ordered.wait_for(&mut orders, pause);
            }
            (orders.stop, std::mem::take(&mut orders.refill))
        };
        if refill && stop != Some(Stop::Now) {
            (0..self.owners.load().len()).for_each(|number| self.refill(number));
        }
        stop
    }

    /// Writes a snapshot of all owners within about `length`.
    fn round(&mut self, length: Duration) {
        let _span = tracing::info_span!(target: names::TARGET, names::span::SNAPSHOT).entered();
        let begun = self.clock.now();
        let handles = Vec::clone(&self.owners.load());
        let units = handles.iter().map(|handle| handle.status().totals.lock().map(units).iter().sum::<u64>()).sum();
        let mut pace = Pace { begun: begun.uptime, length, units, done: 0 };
        let (mut total, mut complete, mut failure) = (Written::default(), Vec::new(), None);
        for number in 0..handles.len() {
            match self.write(number, &mut pace) {
                Ok(written) => {
                    total.bytes += written.bytes;
                    total.records += written.records;
                    complete.push(number);
                }
                // The others need not do without.
                Err(Failure::Owner) => failure = Some(Failure::Owner),
                Err(other) => {
                    failure = Some(other);
                    break;
                }
            }
        }
        // Until every owner has its own file, some of its records may be in the files of others.
        let publish = match failure {
            None => true,
            Some(Failure::Owner) => self.settled,
            Some(_) => false,
        };
        if publish && let Err(error) = self.dir.publish(&complete) {
            failure = Some(error.into());
        }
        self.dir.discard(0..handles.len());
        match failure {
            None => {
                self.settled = true;
                self.dir.remove_from(handles.len());
                let status = &self.shared.status;
                let took = self.clock.now().uptime.saturating_sub(begun.uptime);
                status.last_duration_millis.store(took.as_millis() as u64, Relaxed);
                status.last_bytes.store(total.bytes, Relaxed);
                status.last_records.store(total.records, Relaxed);
                status.last_millis.store(begun.wall_millis, Relaxed);
                if std::mem::take(&mut self.failing) {
                    tracing::info!("snapshots are written again");
                }
            }
            // Stopped in the middle: a last round follows, or none is wanted.
            Some(Failure::Stopped) => {}
            Some(failure) => {
                self.shared.status.errors.fetch_add(1, Relaxed);
                if !std::mem::replace(&mut self.failing, true) {
                    tracing::error!(%failure, "a snapshot of the peers failed; the node goes on and tries again");
                }
            }
        }
    }

    /// Writes the temporary file of an owner.
    fn write(&mut self, number: usize, pace: &mut Pace) -> Result<Written, Failure> {
        self.refill(number);
        let handle = self.owners.load().get(number).cloned().ok_or(Failure::Owner)?;
        if self.filled.get(number).and_then(|filled| filled.id) != Some(handle.actor().get_id()) {
            return Err(Failure::Owner);
        }
        let mut file = self.dir.create(number)?;
        let mut written = Written::default();
        let mut put = |bytes: &[u8]| {
            written.bytes += bytes.len() as u64;
            file.write_all(bytes)
        };
        put(&format::header(&self.settings.node_id, self.clock.now().wall_millis))?;
        let (mut walk, mut frames, mut records) = (Walk::new(), 0, 0);
        loop {
            let budget = pace.budget(self.clock.now().uptime)?;
            let (walked, step) = visit(&handle, move |partitions, now| {
                let step = walk.step(partitions, now, budget);
                (walk, step)
            })
            .ok_or(Failure::Owner)?;
            walk = walked;
            let Step { frame, done } = step;
            if frame.entries > 0 {
                put(&format::frame_head(frame.bytes()))?;
                put(frame.bytes())?;
                frames += 1;
                records += frame.records as u64;
                pace.done += (frame.entries + frame.records) as u64;
            }
            if done {
                break;
            }
            let pause = if pace.is_behind(self.clock.now().uptime) { Duration::ZERO } else { PAUSE };
            // The last round has been told to stop before it began.
            if !pace.length.is_zero() && self.wait(pause).is_some() {
                return Err(Failure::Stopped);
            }
        }
        put(&format::footer(frames, records))?;
        file.sync_all()?;
        written.records = records;
        Ok(written)
    }
}

impl Pace {
    /// Swarms and records that the next step should copy.
    fn budget(&self, now: Duration) -> Result<usize, Failure> {
        let elapsed = now.saturating_sub(self.begun);
        if self.length.is_zero() {
            return if elapsed < LAST { Ok(MAX_STEP) } else { Err(Failure::Late) };
        }
        // Past the end, what came meanwhile.
        if elapsed >= self.length {
            return Ok(MAX_STEP);
        }
        Ok((self.due(elapsed + PAUSE).saturating_sub(self.done) as usize).clamp(MIN_STEP, MAX_STEP))
    }

    fn is_behind(&self, now: Duration) -> bool {
        self.due(now.saturating_sub(self.begun)) > self.done
    }

    /// What should be copied by then.
    fn due(&self, elapsed: Duration) -> u64 {
        let part = elapsed.as_secs_f64() / self.length.as_secs_f64();
        (self.units as f64 * part.min(1.0)) as u64
    }
}

fn units(totals: Totals) -> u64 {
    let Totals { swarms, leechers, partial_seeds, seeders, stopped, .. } = totals;
    (swarms + leechers + partial_seeds + seeders + stopped) as u64
}

/// Lets a function see an owner and waits for what it returns; `None` when the owner fails.
fn visit<T: Send + 'static>(
    handle: &OwnerHandle,
    visit: impl FnOnce(&mut Partitions, Now) -> T + Send + 'static,
) -> Option<T> {
    let (reply, answer) = std::sync::mpsc::sync_channel(1);
    let message = Message::Visit(Box::new(move |partitions, now| {
        // We may have given up.
        let _ = reply.send(visit(partitions, now));
    }));
    handle.send_beyond_limit(message).ok()?;
    answer.recv_timeout(DEADLINE).ok()
}
