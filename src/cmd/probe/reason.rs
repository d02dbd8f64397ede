//! Why a phase failed.

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use crate::client::{HttpError, ReplyError, UdpError};
use crate::swarm::PeerAddr;

/// What is wrong with an answer, or why there is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// `--timeout` is over.
    #[error("no answer within {}", millis(.0))]
    NoAnswer(Duration),
    #[error("late: the answer took {}, and --slow is {}", millis(.took), millis(.slow))]
    Late { took: Duration, slow: Duration },
    /// The name cannot be resolved, or no program listens at the address.
    #[error("unreachable: {0}")]
    Unreachable(String),
    /// The handshake failed, most often because the certificate is not trusted.
    #[error("TLS: {0}")]
    Tls(String),
    #[error("malformed: {0}")]
    Malformed(String),
    #[error("wrong transaction id: {0}")]
    TransactionId(String),
    #[error("wrong kind: not answered as {0}")]
    Kind(&'static str),
    #[error("refused: {0}")]
    Refused(String),
    /// An interval that no client should follow.
    #[error("interval: {0} s is not within 1 to 10800 s")]
    Interval(u32),
    /// The swarm is new, so its counts are known.
    #[error("wrong counts: {0}")]
    Counts(String),
    #[error("unexpected peer: {0:?} was returned, but never announced to this swarm")]
    Unexpected(PeerAddr),
    #[error("repeated peer: {0:?} was returned twice")]
    Repeated(PeerAddr),
    #[error("own address: {0:?} was returned to itself")]
    Own(PeerAddr),
    /// The right port, but an address that cannot be right.
    #[error("wrong address: {returned:?} was returned, but announced from {ip}")]
    Address {
        returned: PeerAddr,
        /// The address that it was announced from.
        ip: IpAddr,
    },
    #[error("missing peer: the one at port {0} was announced, but not returned")]
    Missing(u16),
    /// The tracker marks its own answer as out of date.
    #[error("stale: the tracker says that its answer may be out of date")]
    Stale,
    /// A peer of another target was not returned in time.
    #[error("not replicated within {}{}", millis(.within), .last.as_ref().map(|last| format!(": {last}")).unwrap_or_default())]
    NotReplicated {
        within: Duration,
        /// What else was wrong with the last answer.
        last: Option<Box<Reason>>,
    },
    /// One of the two targets failed before.
    #[error("not tried: {0} has failed")]
    NotTried(String),
}

impl Reason {
    /// The reason in one word, for scripts. These words do not change.
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

/// Milliseconds, with one decimal below 100 ms.
pub fn millis(time: &Duration) -> String {
    let millis = time.as_secs_f64() * 1000.0;
    if millis < 100.0 { format!("{millis:.1} ms") } else { format!("{millis:.0} ms") }
}

impl From<io::Error> for Reason {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionRefused => {
                Self::Unreachable("no program listens there (connection refused)".into())
            }
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
