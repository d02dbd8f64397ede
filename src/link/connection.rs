//! One connection after its handshake: a single task reads, calls completions or the service, and writes.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use super::net::Stream;
use super::outgoing::Outgoing;
use crate::wire::peer::{Frame, FrameError, PREFIX, Parsed, parse};

/// Bytes that are asked for at once, and after which it is the writer's turn.
const TURN: usize = 64 << 10;

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum End {
    /// The other side has closed it.
    #[error("the peer closed the connection")]
    Closed,
    /// In the middle of a frame.
    #[error("the peer closed the connection in the middle of a frame")]
    Truncated,
    /// This side has closed it: it is not wanted any more, or too much waited to be written to it.
    #[error("closed by this node")]
    Shut,
    /// Nothing came for too long.
    #[error("the peer was silent for too long")]
    Silent,
    /// What came is no frame, or not one that belongs here.
    #[error("the peer broke the protocol: {0}")]
    Frame(#[from] FrameError),
    /// The system's error.
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// Bytes that came and went.
#[derive(Debug, Default)]
pub(super) struct Traffic {
    pub(super) bytes_in: AtomicU64,
    pub(super) bytes_out: AtomicU64,
}

/// What one side of a connection does.
pub(super) trait Role {
    /// A frame has come.
    fn frame(&mut self, frame: Frame<'_>) -> Result<(), End>;

    /// When [`tick`](Self::tick) is due. Asked for after every wake-up, so it has to be cheap.
    fn tick_at(&self) -> Instant;

    /// It is due; all that had come before was handed over first.
    fn tick(&mut self, now: Instant) -> Result<(), End>;
}

/// What was read and not yet handed over.
#[derive(Default)]
pub(super) struct Input {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

impl Input {
    /// Makes room for `need` bytes in all, counted from the first that is left.
    fn reserve(&mut self, need: usize) {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
            if need < TURN && self.bytes.len() > 4 * TURN {
                self.bytes = Vec::new();
            }
        }
        if self.bytes.len() - self.start < need.max(PREFIX) || self.bytes.len() == self.end {
            self.bytes.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
            if self.bytes.len() < need.max(TURN) {
                self.bytes.resize(need.max(TURN), 0);
            }
        }
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, stream: &mut Box<dyn Stream>) -> Poll<io::Result<usize>> {
        let mut room = ReadBuf::new(&mut self.bytes[self.end..]);
        ready!(Pin::new(stream).poll_read(cx, &mut room))?;
        let read = room.filled().len();
        self.end += read;
        Poll::Ready(Ok(read))
    }

    fn left(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    /// Reads until there is one frame, and gives it to `take`. For handshakes.
    pub(super) async fn frame<T>(
        &mut self,
        stream: &mut Box<dyn Stream>,
        limit: usize,
        take: impl FnOnce(Frame<'_>) -> T,
    ) -> Result<T, End> {
        loop {
            let need = match parse(self.left(), limit)? {
                Parsed::Frame(frame, used) => {
                    let taken = take(frame);
                    self.start += used;
                    return Ok(taken);
                }
                Parsed::Need(need) => need,
            };
            self.reserve(need);
            let read = stream.read(&mut self.bytes[self.end..]).await?;
            if read == 0 {
                return Err(if self.left().is_empty() { End::Closed } else { End::Truncated });
            }
            self.end += read;
        }
    }
}

/// A connection and what it needs to go on.
pub(super) struct Connection<'a, R> {
    pub(super) stream: Box<dyn Stream>,
    pub(super) input: Input,
    /// Bytes of a frame.
    pub(super) limit: usize,
    pub(super) outgoing: &'a Outgoing,
    pub(super) traffic: &'a Traffic,
    pub(super) role: R,
}

/// The half that writes.
struct Writing {
    bytes: Vec<u8>,
    written: usize,
    flush: bool,
}

impl<R: Role> Connection<'_, R> {
    /// Runs until the connection ends, and returns why.
    pub(super) async fn run(mut self) -> End {
        let mut timer = Box::pin(sleep_until(self.role.tick_at()));
        let mut writing = Writing { bytes: Vec::new(), written: 0, flush: false };
        // The handshake may have read more than its own.
        if let Err(end) = self.hand_over() {
            return end;
        }
        poll_fn(|cx| match self.poll(cx, timer.as_mut(), &mut writing) {
            Ok(()) => Poll::Pending,
            Err(end) => Poll::Ready(end),
        })
        .await
    }

    /// `Ok` is to sleep until woken.
    fn poll(&mut self, cx: &mut Context<'_>, mut timer: Pin<&mut Sleep>, writing: &mut Writing) -> Result<(), End> {
        self.outgoing.awake();
        loop {
            let more = self.read(cx)?;
            if !more {
                // Everything available has been read first, so that a peer is not blamed for what this node was too slow to read.
                self.tick(cx, timer.as_mut())?;
            }
            let blocked = self.write(cx, writing)?;
            if !more && self.outgoing.sleep(cx.waker(), blocked).ok_or(End::Shut)? {
                return Ok(());
            }
        }
    }

    /// Whether there may be more to read.
    fn read(&mut self, cx: &mut Context<'_>) -> Result<bool, End> {
        let mut turn = 0;
        while turn < TURN {
            let Poll::Ready(read) = self.input.poll_read(cx, &mut self.stream)? else {
                return Ok(false);
            };
            if read == 0 {
                return Err(if self.input.left().is_empty() { End::Closed } else { End::Truncated });
            }
            turn += read;
            self.traffic.bytes_in.fetch_add(read as u64, Relaxed);
            self.hand_over()?;
        }
        Ok(true)
    }

    /// Hands over all whole frames, and makes room for the next.
    fn hand_over(&mut self) -> Result<(), End> {
        loop {
            match parse(self.input.left(), self.limit)? {
                Parsed::Frame(frame, used) => {
                    self.role.frame(frame)?;
                    self.input.start += used;
                }
                Parsed::Need(need) => {
                    self.input.reserve(need);
                    return Ok(());
                }
            }
        }
    }

    fn tick(&mut self, cx: &mut Context<'_>, mut timer: Pin<&mut Sleep>) -> Result<(), End> {
        loop {
            let at = self.role.tick_at();
            if at < timer.deadline() {
                timer.as_mut().reset(at);
            }
            if timer.as_mut().poll(cx).is_pending() {
                return Ok(());
            }
            let now = Instant::now();
            self.role.tick(now)?;
            // A tick that is due again at once could keep the task from all else.
            timer.as_mut().reset(self.role.tick_at().max(now + std::time::Duration::from_millis(1)));
        }
    }

    /// Whether the peer has to read first.
    fn write(&mut self, cx: &mut Context<'_>, writing: &mut Writing) -> Result<bool, End> {
        let mut stream = Pin::new(&mut self.stream);
        loop {
            if writing.written == writing.bytes.len() {
                writing.written = 0;
                if !self.outgoing.take(&mut writing.bytes) {
                    return Err(End::Shut);
                }
                if writing.bytes.is_empty() {
                    break;
                }
            }
            match stream.as_mut().poll_write(cx, &writing.bytes[writing.written..])? {
                Poll::Pending => return Ok(true),
                Poll::Ready(0) => return Err(End::Closed),
                Poll::Ready(written) => {
                    writing.written += written;
                    writing.flush = true;
                    self.outgoing.wrote(written);
                    self.traffic.bytes_out.fetch_add(written as u64, Relaxed);
                }
            }
        }
        if writing.flush {
            if stream.poll_flush(cx)?.is_pending() {
                return Ok(true);
            }
            writing.flush = false;
        }
        Ok(false)
    }
}
