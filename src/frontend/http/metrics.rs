//! What the HTTP frontend counts.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::swarm::Family;

/// What a request asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// An announce (BEP 3).
    Announce,
    /// A scrape (BEP 48).
    Scrape,
    /// Anything else.
    Other,
}

impl Action {
    /// Every action, in the order of declaration.
    pub const ALL: [Self; 3] = [Self::Announce, Self::Scrape, Self::Other];

    /// The value of the metric label `action`.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Announce => "announce",
            Self::Scrape => "scrape",
            Self::Other => "other",
        }
    }
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was answered.
    Ok,
    /// The request made no sense.
    Invalid,
    /// The access list forbids the info hash, or the full scrape is off.
    Denied,
    /// A trusted proxy did not send the client's address.
    BadProxy,
    /// No owner could answer in time.
    Unavailable,
}

impl Outcome {
    /// Every outcome, in the order of declaration.
    pub const ALL: [Self; 5] = [Self::Ok, Self::Invalid, Self::Denied, Self::BadProxy, Self::Unavailable];

    /// The value of the metric label `outcome`.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Invalid => "invalid",
            Self::Denied => "denied",
            Self::BadProxy => "bad_proxy",
            Self::Unavailable => "unavailable",
        }
    }
}

/// Counters of one HTTP frontend. All but `connections_open` only grow.
#[derive(Debug, Default)]
pub struct HttpMetrics {
    /// By family, action and outcome.
    requests: [[[AtomicU64; Outcome::ALL.len()]; Action::ALL.len()]; 2],
    /// Connections that are open now.
    pub connections_open: AtomicU64,
    /// Connections that were accepted and served.
    pub connections_accepted: AtomicU64,
    /// Connections that were closed at once, as there were too many.
    pub connections_refused: AtomicU64,
    /// Connections that were closed because the next request was not there in time.
    pub connections_timed_out: AtomicU64,
    /// Connections that ended with something that is not HTTP.
    pub connections_malformed: AtomicU64,
    /// Connections that ended with a panic, which is always a bug.
    pub connection_panics: AtomicU64,
    /// Times that the system could not accept a connection, most often for lack of file descriptors.
    pub accept_errors: AtomicU64,
    /// TLS handshakes that failed.
    pub tls_handshake_failures: AtomicU64,
}

impl HttpMetrics {
    /// Counts one request, by a connection of this family.
    pub fn count(&self, family: Family, action: Action, outcome: Outcome) {
        self.requests[family as usize][action as usize][outcome as usize].fetch_add(1, Relaxed);
    }

    /// How many requests for `action` ended with `outcome`, in both families.
    pub fn requests(&self, action: Action, outcome: Outcome) -> u64 {
        [Family::V4, Family::V6].map(|family| self.requests_by(family, action, outcome)).iter().sum()
    }

    /// How many requests for `action` by connections of `family` ended with `outcome`.
    pub fn requests_by(&self, family: Family, action: Action, outcome: Outcome) -> u64 {
        self.requests[family as usize][action as usize][outcome as usize].load(Relaxed)
    }
}
