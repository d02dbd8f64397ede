//! From what gossip has heard to the list of members. Pure.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::cluster::membership::advertised::{Advertised, AdvertisedError, Me};
use crate::cluster::membership::conflict::{Conflict, Mismatch};
use crate::cluster::membership::member::{Member, Members, NodeId};

/// What others may still tell of an earlier start of this node, and of nodes that are heard of for the first time, has come
/// in after this time.
const SETTLE: Duration = Duration::from_secs(3);
/// So long may a node be heard of before all that it says of itself has come in.
const INCOMPLETE: Duration = Duration::from_secs(10);
/// So many heartbeats after [`SETTLE`] are no late echo.
const RIVAL_HEARTBEATS: u32 = 2;

/// One start of gossip on one node.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Start {
    /// The node's name.
    pub id: Arc<str>,
    /// Greater for later starts.
    pub generation: u64,
    /// Its gossip address.
    pub gossip: SocketAddr,
}

/// What gossip knows of one start of a node.
#[derive(Clone, Debug)]
pub struct Heard {
    /// Which.
    pub start: Start,
    /// Its heartbeat has come in regularly.
    pub alive: bool,
    /// Goes up as long as it lives.
    pub heartbeat: u64,
    /// What it says of itself.
    pub said: Result<Advertised, AdvertisedError>,
}

/// Remembers what is needed to judge what is heard next.
#[derive(Debug)]
pub struct View {
    me: Me,
    gossip: SocketAddr,
    known: HashMap<Start, Known>,
    ignored: u64,
    told_of_rival: bool,
}

#[derive(Debug)]
struct Known {
    since: Duration,
    was_alive: bool,
    heartbeat: u64,
    /// How often the heartbeat has gone up after [`SETTLE`].
    late_heartbeats: u32,
    complained: bool,
}

/// The best of what was heard of a node: those alive before dead ones, later starts before earlier ones.
type Best = BTreeMap<NodeId, ((bool, u64, SocketAddr), Member)>;

impl View {
    /// The view of a node with this gossip address.
    pub fn new(me: Me, gossip: SocketAddr) -> Self {
        Self { me, gossip, known: HashMap::new(), ignored: 0, told_of_rival: false }
    }

    /// How many starts of nodes were ignored because what they say of themselves cannot be used.
    pub fn ignored(&self) -> u64 {
        self.ignored
    }

    /// The members after all that was `heard`, this node with what it says of itself (`own`) among them, and the worst
    /// conflict. If `hold` is set, nobody who was alive in `before` goes down or is forgotten. `now` never goes back.
    pub fn look(
        &mut self,
        heard: &[Heard],
        own: &Advertised,
        before: &Members,
        hold: bool,
        now: Duration,
    ) -> (Members, Option<Conflict>) {
        let present: HashSet<&Start> = heard.iter().map(|heard| &heard.start).collect();
        self.known.retain(|start, _| present.contains(start));

        let mut best = Best::new();
        let mut conflicts = Vec::new();
        let mut refused = HashSet::new();
        for heard in heard {
            self.notice(heard, now);
            if *heard.start.id == *self.me.id.as_str() {
                conflicts.extend(self.rival(heard));
                continue;
            }
            let Some(said) = self.usable(heard, now) else { continue };
            if let Some(conflict) = self.mismatch(&said.me) {
                refused.insert(said.me.id.clone());
                // Whoever is gone disturbs nobody.
                conflicts.extend(heard.alive.then_some(conflict));
            } else if self.admits(heard, now) {
                let rank = (heard.alive, heard.start.generation, heard.start.gossip);
                let member = || (rank, said.member(heard.alive));
                let entry = best.entry(said.me.id.clone()).or_insert_with(member);
                if entry.0 < rank {
                    *entry = member();
                }
            }
        }
        let mut members: BTreeMap<_, _> = best.into_iter().map(|(id, (_, member))| (id, member)).collect();
        if hold {
            keep_alive(&mut members, before, &refused);
        }
        members.insert(self.me.id.clone(), own.member(true));
        (Members(members.into_values().collect()), conflicts.into_iter().min_by_key(severity))
    }

    fn notice(&mut self, heard: &Heard, now: Duration) {
        let known = self.known.entry(heard.start.clone()).or_insert(Known {
            since: now,
            was_alive: false,
            heartbeat: heard.heartbeat,
            late_heartbeats: 0,
            complained: false,
        });
        known.was_alive |= heard.alive;
        if heard.heartbeat > known.heartbeat {
            known.heartbeat = heard.heartbeat;
            known.late_heartbeats += u32::from(now - known.since > SETTLE);
        }
    }

    /// Another node with our name that is alive by itself, rather than an echo of an earlier start of this one.
    fn rival(&mut self, heard: &Heard) -> Option<Conflict> {
        let late = self.known.get(&heard.start).map_or(0, |known| known.late_heartbeats);
        if heard.start.gossip == self.gossip || !heard.alive || late < RIVAL_HEARTBEATS {
            return None;
        }
        let other = heard.start.gossip;
        let theirs = heard.said.as_ref().map_or(heard.start.generation, |said| said.me.incarnation);
        if (theirs, other) < (self.me.incarnation, self.gossip) {
            return Some(Conflict::DuplicateId { id: self.me.id.clone(), other });
        }
        if !self.told_of_rival {
            self.told_of_rival = true;
            tracing::warn!(node = %self.me.id, %other, "another node with this node's name has started, and should stop");
        }
        None
    }

    fn usable<'a>(&mut self, heard: &'a Heard, now: Duration) -> Option<&'a Advertised> {
        let error = match &heard.said {
            Ok(said) => return Some(said),
            Err(error) => error,
        };
        let known = self.known.get_mut(&heard.start)?;
        let on_its_way = matches!(error, AdvertisedError::Missing(_)) && now - known.since < INCOMPLETE;
        if heard.alive && !on_its_way && !known.complained {
            known.complained = true;
            self.ignored += 1;
            // Not its id: it may be anything.
            tracing::warn!(gossip = %heard.start.gossip, "ignoring a node: {error}");
        }
        None
    }

    fn mismatch(&self, theirs: &Me) -> Option<Conflict> {
        fn compare<T: Copy + PartialEq>(view: &View, them: &Me, number: impl Fn(&Me) -> T) -> Option<Mismatch<T>> {
            let (ours, theirs) = (number(&view.me), number(them));
            let younger = (them.incarnation, &them.id) < (view.me.incarnation, &view.me.id);
            (ours != theirs).then(|| Mismatch { node: them.id.clone(), theirs, ours, younger })
        }
        compare(self, theirs, |me| me.partitions)
            .map(Conflict::Partitions)
            .or_else(|| compare(self, theirs, |me| me.replicas).map(Conflict::Replicas))
            .or_else(|| compare(self, theirs, |me| me.protocol).map(Conflict::Protocol))
    }

    /// A node counts from its first sign of life; one that is said to be dead by others, when no such sign has come.
    fn admits(&self, heard: &Heard, now: Duration) -> bool {
        self.known.get(&heard.start).is_some_and(|known| known.was_alive || now - known.since > SETTLE)
    }
}

fn keep_alive(members: &mut BTreeMap<NodeId, Member>, before: &Members, refused: &HashSet<NodeId>) {
    for was in before.0.iter().filter(|was| was.alive && !refused.contains(&was.id)) {
        match members.get_mut(&was.id) {
            Some(now) if now.incarnation == was.incarnation => now.alive = true,
            Some(now) if now.alive => {}
            _ => _ = members.insert(was.id.clone(), was.clone()),
        }
    }
}

fn severity(conflict: &Conflict) -> u8 {
    match conflict {
        Conflict::Gossip { .. } => 0,
        Conflict::DuplicateId { .. } => 1,
        // One that asks for an end before one that does not.
        conflict if conflict.must_stop() => 2,
        Conflict::Partitions(_) => 3,
        Conflict::Replicas(_) => 4,
        Conflict::Protocol(_) => 5,
    }
}

#[cfg(test)]
mod tests;
