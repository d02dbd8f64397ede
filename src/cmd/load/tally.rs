//! The counts and latencies of one phase.

use hdrhistogram::Histogram;

use super::answer::Answer;
use super::flights::Nanos;
use super::job::Job;
use super::timeline::Timeline;

/// The most distinct error texts that are kept.
const KEPT_TEXTS: usize = 5;
/// The longest latency that is recorded exactly.
const MAX_LATENCY: Nanos = 120_000_000_000;

/// Kinds of requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Connect,
    Announce,
    Scrape,
}

impl Kind {
    pub const ALL: [Self; 3] = [Self::Connect, Self::Announce, Self::Scrape];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Announce => "announce",
            Self::Scrape => "scrape",
        }
    }
}

impl From<&Job> for Kind {
    fn from(job: &Job) -> Self {
        match job {
            Job::Announce { .. } | Job::Observe { .. } => Self::Announce,
            Job::Scrape { .. } => Self::Scrape,
        }
    }
}

/// The number of failures of a kind, with the first few texts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    pub count: u64,
    /// The first few distinct texts.
    pub texts: Vec<String>,
}

impl Faults {
    /// Counts one.
    pub fn add(&mut self, text: &str) {
        self.count += 1;
        self.keep(text);
    }

    fn keep(&mut self, text: &str) {
        if self.texts.len() < KEPT_TEXTS && !self.texts.iter().any(|kept| kept == text) {
            self.texts.push(text.to_owned());
        }
    }

    fn merge(&mut self, other: &Self) {
        self.count += other.count;
        other.texts.iter().for_each(|text| self.keep(text));
    }
}

/// The counts and latencies of one phase.
#[derive(Clone, Debug)]
pub struct Tally {
    /// Requests sent, of all kinds.
    pub sent: u64,
    /// Good answers, by kind; in nanoseconds from the intended send time.
    latency: [Histogram<u64>; 3],
    /// Peers per good announce reply.
    pub peers: Histogram<u64>,
    /// Error replies.
    pub errors: Faults,
    /// Replies that break the protocol.
    pub malformed: Faults,
    /// Failures of the sockets, such as a refused connection. The requests concerned are lost.
    pub io: Faults,
    /// Requests without an answer before their deadline.
    pub lost: u64,
    /// Requests that were due but never sent, because too many others were unanswered.
    pub unsent: u64,
    /// Requests that the generator itself sent late.
    pub late: u64,
    /// Replies that match no request: duplicates, or later than the deadline.
    pub stray: u64,
    /// Requests that were sent to another target because the first did not answer in time.
    pub failed_over: u64,
    /// Length of the phase until the last request was sent.
    pub elapsed: Nanos,
    /// The same by seconds.
    pub timeline: Timeline,
    /// When the phase began, in the time of its worker.
    start: Nanos,
    /// When the phase began, in milliseconds since the Unix epoch.
    pub started_millis: u64,
}

impl Default for Tally {
    fn default() -> Self {
        // The bounds are constants that the histogram's own rules allow; without them it grows by itself.
        let latency = || Histogram::new_with_bounds(100, MAX_LATENCY, 3).unwrap_or_else(|_| histogram());
        Self {
            sent: 0,
            latency: std::array::from_fn(|_| latency()),
            peers: histogram(),
            errors: Faults::default(),
            malformed: Faults::default(),
            io: Faults::default(),
            lost: 0,
            unsent: 0,
            late: 0,
            stray: 0,
            failed_over: 0,
            elapsed: 0,
            timeline: Timeline::default(),
            start: 0,
            started_millis: 0,
        }
    }
}

#[allow(clippy::expect_used)]
fn histogram() -> Histogram<u64> {
    Histogram::new(3).expect("3 significant digits are allowed")
}

impl Tally {
    /// Latencies of the good answers of a kind, in nanoseconds.
    pub fn latency(&self, kind: Kind) -> &Histogram<u64> {
        &self.latency[kind as usize]
    }

    /// Latencies of all announces and scrapes.
    pub fn all_latencies(&self) -> Histogram<u64> {
        let mut all = self.latency(Kind::Announce).clone();
        // Same bounds, so that it cannot fail.
        let _ = all.add(self.latency(Kind::Scrape));
        all
    }

    /// Good answers of a kind.
    pub fn answers(&self, kind: Kind) -> u64 {
        self.latency(kind).len()
    }

    /// Good answers of all kinds.
    pub fn all_answers(&self) -> u64 {
        Kind::ALL.into_iter().map(|kind| self.answers(kind)).sum()
    }

    /// Share of requests without an answer, in percent.
    pub fn loss(&self) -> f64 {
        let due = self.sent + self.unsent;
        if due == 0 { 0.0 } else { (self.lost + self.unsent) as f64 * 100.0 / due as f64 }
    }

    /// Counts a good answer.
    pub fn good(&mut self, kind: Kind, latency: Nanos) {
        self.latency[kind as usize].saturating_record(latency);
    }

    /// A phase begins: now in the time of its worker, and in milliseconds since the Unix epoch.
    pub fn begin(start: Nanos, started_millis: u64) -> Self {
        Self { start, started_millis, ..Self::default() }
    }

    /// Counts a request that was due at `intended` and is sent for the first time.
    pub fn sends(&mut self, intended: Nanos) {
        self.timeline.sent(intended.saturating_sub(self.start));
    }

    /// Counts a request that was not answered.
    pub fn lose(&mut self, intended: Nanos) {
        self.lost += 1;
        self.fails(intended);
    }

    /// Counts a request that could not be sent.
    pub fn skip(&mut self, intended: Nanos) {
        self.unsent += 1;
        self.fails(intended);
    }

    /// Counts a failed request in the second in which it was due.
    pub fn fails(&mut self, intended: Nanos) {
        self.timeline.failed(intended.saturating_sub(self.start));
    }

    /// Counts an answer that came `now` to a request that was due at `intended`; true if it is correct for `job`.
    pub fn judge(&mut self, job: &Job, num_want: i32, [intended, now]: [Nanos; 2], answer: &Answer<'_>) -> bool {
        if let Err(text) = answer.check(job, num_want) {
            self.malformed.add(&text);
            self.fails(intended);
            return false;
        }
        match answer {
            Answer::Error(text) => {
                self.errors.add(text);
                self.fails(intended);
                return false;
            }
            Answer::Announce(peers) => self.peers.saturating_record(peers.len() as u64),
            Answer::Scrape(_) => {}
        }
        let latency = now.saturating_sub(intended);
        self.good(job.into(), latency);
        self.timeline.answered(intended.saturating_sub(self.start), latency);
        true
    }

    /// Adds the tally of another worker of the same phase.
    pub fn merge(&mut self, other: &Self) {
        self.sent += other.sent;
        for (mine, theirs) in self.latency.iter_mut().zip(&other.latency) {
            let _ = mine.add(theirs);
        }
        let _ = self.peers.add(&other.peers);
        self.errors.merge(&other.errors);
        self.malformed.merge(&other.malformed);
        self.io.merge(&other.io);
        self.lost += other.lost;
        self.unsent += other.unsent;
        self.late += other.late;
        self.stray += other.stray;
        self.failed_over += other.failed_over;
        self.timeline.merge(&other.timeline);
        if self.started_millis == 0 {
            self.started_millis = other.started_millis;
        }
        self.elapsed = self.elapsed.max(other.elapsed);
    }
}
