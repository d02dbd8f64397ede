//! An announce and its reply, independent of the transport.

use super::{Family, InfoHash, PeerAddr};

/// What a peer reports (BEP 3, BEP 15, BEP 21).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Event {
    /// A regular announce, and any event that we do not know.
    #[default]
    None,
    /// The first announce of a session.
    Started,
    /// The download has just finished.
    Completed,
    /// The peer leaves. Best effort: it is often lost.
    Stopped,
    /// A partial seed: it has all it wants, but not all there is (BEP 21; HTTP only).
    Paused,
}

impl Event {
    /// The name in logs, metrics and traces.
    pub const fn label(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Started => "started",
            Self::Completed => "completed",
            Self::Stopped => "stopped",
            Self::Paused => "paused",
        }
    }
}

/// One announce, checked and canonical.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Announce {
    /// The swarm.
    pub info_hash: InfoHash,
    /// The peer: the packet's canonical source IP and the announced port.
    pub peer: PeerAddr,
    /// What happened.
    pub event: Event,
    /// `left` is zero. A huge or unknown `left` means leecher.
    pub seeder: bool,
    /// How many peers to return, defaults and caps already applied.
    pub num_want: u16,
}

/// The state of a swarm within one address family.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Peers that have everything (BEP 48 `complete`).
    pub seeders: u32,
    /// Peers that lack something (BEP 48 `incomplete`), partial seeds included.
    pub leechers: u32,
    /// Those leechers that are partial seeds (BEP 21): `downloaders` is `leechers - partial_seeds`.
    pub partial_seeds: u32,
    /// How often a known leecher became a seeder (BEP 48 `downloaded`).
    pub completed: u32,
}

/// Peers of one family in compact form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerList {
    /// Decides the stride of `compact`.
    pub family: Family,
    /// Compact peers, one after the other (BEP 23, BEP 7).
    pub compact: Vec<u8>,
}

/// The answer to an [`Announce`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnnounceReply {
    /// The swarm after the announce was applied.
    pub counts: Counts,
    /// Other peers, at most `num_want`.
    pub peers: PeerList,
    pub source: Source,
    /// No node that holds the swarm could be reached: this comes from earlier answers.
    pub stale: bool,
}

/// Who answers an announce.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The first holder of the partition in this region.
    Owner,
    /// Another holder in this region, as the first could not be reached.
    Replica,
    /// A holder in another region, as none in this region could be reached.
    RemoteRegion,
    /// No holder of the partition could be reached: from earlier answers, or from what this node stores itself.
    Stale,
}

impl Source {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Owner, Self::Replica, Self::RemoteRegion, Self::Stale];

    /// Its name in metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::Replica => "replica",
            Self::RemoteRegion => "remote_region",
            Self::Stale => "stale",
        }
    }
}
