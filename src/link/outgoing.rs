//! What waits to be written to a connection: frames one after the other in one buffer, so that one write takes them all.

use std::task::Waker;

use parking_lot::Mutex;

use crate::wire::peer::FrameError;

/// A buffer that has grown beyond this is given back once it is empty.
const KEPT: usize = 1 << 20;

/// The bytes on their way to one connection. Any thread adds to them; the connection's task takes them.
pub(super) struct Outgoing {
    state: Mutex<State>,
    /// Bytes that may wait.
    limit: usize,
}

struct State {
    bytes: Vec<u8>,
    /// Bytes that the task has taken and not yet written.
    taken: usize,
    /// There is a connection.
    open: bool,
    /// The task sleeps.
    waker: Option<Waker>,
    /// It waits for the peer to read, so that there is no sense in waking it for more.
    blocked: bool,
}

/// Why a frame was not taken.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum PushError {
    /// There is no connection.
    Closed,
    /// Too many bytes wait.
    Full,
    /// The frame itself.
    Frame,
}

impl Outgoing {
    /// Nothing, with no connection yet.
    pub(super) fn new(limit: usize) -> Self {
        let state = State { bytes: Vec::new(), taken: 0, open: false, waker: None, blocked: false };
        Self { state: Mutex::new(state), limit }
    }

    /// A connection is there.
    pub(super) fn open(&self) {
        let mut state = self.state.lock();
        state.bytes.clear();
        state.taken = 0;
        state.open = true;
    }

    /// The connection is gone, or shall go: its task ends when it sees this.
    pub(super) fn close(&self) {
        let mut state = self.state.lock();
        state.open = false;
        state.bytes = Vec::new();
        state.taken = 0;
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Adds what `write` appends to the buffer.
    ///
    /// # Errors
    /// See [`PushError`]. Nothing is added then.
    pub(super) fn push(&self, write: impl FnOnce(&mut Vec<u8>) -> Result<(), FrameError>) -> Result<(), PushError> {
        let mut state = self.state.lock();
        if !state.open {
            return Err(PushError::Closed);
        }
        if state.bytes.len() + state.taken >= self.limit {
            return Err(PushError::Full);
        }
        write(&mut state.bytes).map_err(|_| PushError::Frame)?;
        let waker = if state.blocked { None } else { state.waker.take() };
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
        Ok(())
    }

    /// Bytes that wait.
    pub(super) fn len(&self) -> usize {
        let state = self.state.lock();
        state.bytes.len() + state.taken
    }

    /// The task is awake and needs no wake-up.
    pub(super) fn awake(&self) {
        self.state.lock().waker = None;
    }

    /// The task is about to sleep: whether it may, or has something to do first. `None` if the connection shall go.
    pub(super) fn sleep(&self, waker: &Waker, blocked: bool) -> Option<bool> {
        let mut state = self.state.lock();
        if !state.open {
            return None;
        }
        if !blocked && !state.bytes.is_empty() {
            return Some(false);
        }
        state.blocked = blocked;
        state.waker = Some(waker.clone());
        Some(true)
    }

    /// The task has written all of `written`, and takes what was added since into it. False if the connection shall go.
    pub(super) fn take(&self, written: &mut Vec<u8>) -> bool {
        written.clear();
        if written.capacity() > KEPT {
            *written = Vec::new();
        }
        let mut state = self.state.lock();
        std::mem::swap(&mut state.bytes, written);
        state.taken = written.len();
        state.open
    }

    /// The task has written this many of the bytes that it took.
    pub(super) fn wrote(&self, bytes: usize) {
        let mut state = self.state.lock();
        state.taken = state.taken.saturating_sub(bytes);
    }
}
