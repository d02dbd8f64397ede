//! The requests of one connection that wait for their replies.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::api::{Completion, LinkError};

/// Requests that wait. Any thread adds to them; only the connection's task takes them out, except one whose frame found no
/// room in the queue.
pub(super) struct Pending {
    table: Mutex<Table>,
    accepting: AtomicBool,
    len: AtomicUsize,
    limit: usize,
}

#[derive(Default)]
struct Table {
    accepting: bool,
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// No deadline is earlier. It may be that of a request that has its reply.
    earliest: Option<Instant>,
}

struct Slot {
    /// How often the slot was used; with its position it makes the id of a request.
    generation: u32,
    deadline: Instant,
    state: State,
}

enum State {
    Free,
    Waiting(Box<dyn Completion>),
    /// The completion is being called with a part of the reply.
    BeingCalled,
}

impl Pending {
    /// No requests, and none accepted.
    pub(super) fn new(limit: usize) -> Self {
        Self {
            table: Mutex::default(),
            accepting: AtomicBool::new(false),
            len: AtomicUsize::new(0),
            limit: limit.min(u32::MAX as usize),
        }
    }

    /// Whether requests are accepted.
    pub(super) fn is_accepting(&self) -> bool {
        self.accepting.load(Ordering::Acquire)
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }

    /// From here on requests are accepted.
    pub(super) fn accept(&self) {
        self.table.lock().accepting = true;
        self.accepting.store(true, Ordering::Release);
    }

    /// From here on none are accepted, and those that wait fail.
    pub(super) fn refuse(&self, error: LinkError) -> usize {
        let mut failed = Vec::new();
        {
            let mut table = self.table.lock();
            self.accepting.store(false, Ordering::Release);
            table.accepting = false;
            table.earliest = None;
            for at in 0..table.slots.len() {
                failed.extend(self.release(&mut table, at));
            }
        }
        fail(failed, error)
    }

    /// Adds a request, and returns its id.
    ///
    /// # Errors
    /// Returns the completion when none are accepted, or too many wait.
    pub(super) fn insert(
        &self,
        deadline: Duration,
        completion: Box<dyn Completion>,
    ) -> Result<u64, (Box<dyn Completion>, LinkError)> {
        let now = Instant::now();
        let deadline = now.checked_add(deadline).unwrap_or(now);
        let mut table = self.table.lock();
        if !table.accepting {
            return Err((completion, LinkError::NotConnected));
        }
        let at = match table.free.pop() {
            Some(at) => at as usize,
            None if table.slots.len() >= self.limit => return Err((completion, LinkError::Overloaded)),
            None => {
                table.slots.push(Slot { generation: 0, deadline, state: State::Free });
                table.slots.len() - 1
            }
        };
        if table.earliest.is_none_or(|earliest| deadline < earliest) {
            table.earliest = Some(deadline);
        }
        self.len.fetch_add(1, Ordering::Relaxed);
        let slot = &mut table.slots[at];
        slot.deadline = deadline;
        slot.state = State::Waiting(completion);
        Ok(u64::from(slot.generation) << 32 | at as u64)
    }

    /// Takes a request out for its last reply.
    pub(super) fn finish(&self, id: u64) -> Option<Box<dyn Completion>> {
        let mut table = self.table.lock();
        let at = table.find(id)?;
        self.release(&mut table, at)
    }

    /// Takes a completion to be called with a part of the reply; [`put_back`](Self::put_back) has to follow.
    pub(super) fn take_for_part(&self, id: u64) -> Option<Box<dyn Completion>> {
        let mut table = self.table.lock();
        let at = table.find(id)?;
        match std::mem::replace(&mut table.slots[at].state, State::BeingCalled) {
            State::Waiting(completion) => Some(completion),
            State::Free | State::BeingCalled => None,
        }
    }

    /// Puts a completion back after [`take_for_part`](Self::take_for_part).
    pub(super) fn put_back(&self, id: u64, completion: Box<dyn Completion>) {
        let mut table = self.table.lock();
        if let Some(at) = table.find(id) {
            table.slots[at].state = State::Waiting(completion);
        }
    }

    /// Fails the requests whose deadline has passed, and returns how many there were.
    pub(super) fn expire(&self, now: Instant) -> usize {
        let mut failed = Vec::new();
        {
            let mut table = self.table.lock();
            if table.earliest.is_none_or(|earliest| now < earliest) {
                return 0;
            }
            let mut earliest = None;
            for at in 0..table.slots.len() {
                let Slot { deadline, state: State::Waiting(_), .. } = table.slots[at] else { continue };
                if deadline <= now {
                    failed.extend(self.release(&mut table, at));
                } else if earliest.is_none_or(|earliest| deadline < earliest) {
                    earliest = Some(deadline);
                }
            }
            table.earliest = earliest;
        }
        fail(failed, LinkError::Timeout)
    }

    fn release(&self, table: &mut Table, at: usize) -> Option<Box<dyn Completion>> {
        let slot = &mut table.slots[at];
        match std::mem::replace(&mut slot.state, State::Free) {
            State::Free => None,
            state => {
                slot.generation = slot.generation.wrapping_add(1);
                table.free.push(at as u32);
                self.len.fetch_sub(1, Ordering::Relaxed);
                if let State::Waiting(completion) = state { Some(completion) } else { None }
            }
        }
    }
}

impl Table {
    /// Where the request with this id waits.
    fn find(&self, id: u64) -> Option<usize> {
        let at = id as u32 as usize;
        let slot = self.slots.get(at)?;
        (slot.generation == (id >> 32) as u32 && !matches!(slot.state, State::Free)).then_some(at)
    }
}

/// Tells all of them, outside of the lock: they may send again at once.
fn fail(failed: Vec<Box<dyn Completion>>, error: LinkError) -> usize {
    let count = failed.len();
    for completion in failed {
        completion.failed(error);
    }
    count
}
