//! Why a phase failed.

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use crate::client::{HttpError, ReplyError, UdpError};
use crate::swarm::PeerAddr;

/// What is wrong with an answer, or with the lack of one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// Nothing came within `--timeout`.
    #[error("no answer within {}", millis(.0))]
    NoAnswer(Duration),
    /// It came, but later than `--slow` allows.
    #[error("late: the answer took {}, and --slow is {}", millis(.took), millis(.slow))]
    Late {
        /// How long it took.
        took: Duration,
        /// How long it may take.
        slow: Duration,
    },
    /// The name cannot be resolved, or nobody is reached at the address.
    #[error("unreachable: {0}")]
    Unreachable(String),
    /// The handshake failed, most often because the certificate is not trusted.
    #[error("TLS: {0}")]
    Tls(String),
    /// What came is no answer of a tracker.
    #[error("malformed: {0}")]
    Malformed(String),
    /// It answers something else.
    #[error("wrong transaction id: {0}")]
    TransactionId(String),
    /// It is an answer to another kind of request.
    #[error("wrong kind: not answered as {0}")]
    Kind(&'static str),
    /// The tracker says that it does not serve this.
    #[error("refused: {0}")]
    Refused(String),
    /// An interval that no client should follow.
    #[error("interval: {0} s is not within 1 to 10800 s")]
    Interval(u32),
    /// The swarm is new, so that its counts are known.
    #[error("wrong counts: {0}")]
    Counts(String),
    /// A peer that was not announced.
    #[error("unexpected peer: {0:?} was told, which nobody has announced to this swarm")]
    Unexpected(PeerAddr),
    /// One peer more than once.
    #[error("repeated peer: {0:?} was told twice")]
    Repeated(PeerAddr),
    /// The peer itself.
    #[error("own address: {0:?} was told of itself")]
    Own(PeerAddr),
    /// The right port at an address that cannot be right.
    #[error("wrong address: {told:?} was told, and announced from {ip}")]
    Address {
        /// What was told.
        told: PeerAddr,
        /// Where it was announced from.
        ip: IpAddr,
    },
    /// A peer that was announced is not told.
    #[error("missing peer: the one at port {0} was announced, and was not told")]
    Missing(u16),
    /// The tracker marks its own answer as out of date.
    #[error("stale: the tracker says that its answer may be out of date")]
    Stale,
    /// What another target holds was not told in time.
    #[error("not replicated within {}{}", millis(.within), .last.as_ref().map(|last| format!(": {last}")).unwrap_or_default())]
    NotReplicated {
        /// How long it may take.
        within: Duration,
        /// What was wrong with the last answer, if anything but that.
        last: Option<Box<Reason>>,
    },
    /// One of the two targets has failed by itself.
    #[error("not tried: {0} has failed")]
    NotTried(String),
}

impl Reason {
    /// The reason as one word, for scripts. These words do not change.
    pub fn word(&self) -> &'static str {
        match self {
            Self::NoAnswer(_) => "no_answer",
            Self::Late { .. } => "late",
            Self::Unreachable(_) => "unreachable",
            Self::Tls(_) => "tls",
            Self::Malformed(_) => "malformed",
            Self::TransactionId(_) => "transaction_id",
            Self::Kind(_) => "wrong_kind",
            Self::Refused(_) => "refused",
            Self::Interval(_) => "interval",
            Self::Counts(_) => "counts",
            Self::Unexpected(_) => "unexpected_peer",
            Self::Repeated(_) => "repeated_peer",
            Self::Own(_) => "own_address",
            Self::Address { .. } => "wrong_address",
            Self::Missing(_) => "missing_peer",
            Self::Stale => "stale",
            Self::NotReplicated { .. } => "not_replicated",
            Self::NotTried(_) => "not_tried",
        }
    }
}

/// Milliseconds, with a tenth below a hundred of them.
pub fn millis(time: &Duration) -> String {
    let millis = time.as_secs_f64() * 1000.0;
    if millis < 100.0 { format!("{millis:.1} ms") } else { format!("{millis:.0} ms") }
}

impl From<io::Error> for Reason {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Self::Unreachable("nobody listens there (connection refused)".into()),
            _ => Self::Unreachable(error.to_string()),
        }
    }
}

impl From<UdpError> for Reason {
    fn from(error: UdpError) -> Self {
        match error {
            UdpError::Io(error) => error.into(),
            UdpError::Malformed(error) => Self::Malformed(error.to_string()),
            UdpError::TransactionId { got, asked } => Self::TransactionId(format!("{got:08x} instead of {asked:08x}")),
        }
    }
}

impl From<HttpError> for Reason {
    fn from(error: HttpError) -> Self {
        match error {
            HttpError::Io(error) => error.into(),
            HttpError::Tls(error) => Self::Tls(error.to_string()),
            error => Self::Malformed(error.to_string()),
        }
    }
}

impl From<ReplyError> for Reason {
    fn from(error: ReplyError) -> Self {
        match error {
            ReplyError::Refused(reason) => Self::Refused(reason),
            error => Self::Malformed(error.to_string()),
        }
    }
}
