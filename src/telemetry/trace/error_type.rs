//! Why a span failed, as its attribute `error.type` says it.

/// The values of `error.type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorType {
    /// The access list refuses the torrent.
    Forbidden,
    /// The owner was at its limit.
    Overloaded,
    /// The request had waited for longer than its answer is worth.
    Late,
    /// The node that was asked does not hold the partition.
    NotHeld,
    /// No node that holds the partition could be reached.
    NoHolder,
    /// The other node replied, but not to this announce.
    NotAnswered,
    /// The other node replied with something else than what was asked for.
    UnexpectedReply,
    /// Changes were dropped because the queue for the other node was full.
    QueueFull,
    /// Changes of another node could not be merged.
    NotMerged,
    /// No answer came in time, and the client was asked to try again.
    Unavailable,
    /// The request was dropped on its way: the span was never ended.
    Lost,
    /// The link to the other node failed; the word is the link's.
    Link(&'static str),
}

impl ErrorType {
    /// The value.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Forbidden => "forbidden",
            Self::Overloaded => "overloaded",
            Self::Late => "late",
            Self::NotHeld => "not_held",
            Self::NoHolder => "no_holder",
            Self::NotAnswered => "not_answered",
            Self::UnexpectedReply => "unexpected_reply",
            Self::QueueFull => "queue_full",
            Self::NotMerged => "not_merged",
            Self::Unavailable => "unavailable",
            Self::Lost => "lost",
            Self::Link(kind) => kind,
        }
    }
}
