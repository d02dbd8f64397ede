//! Turns gossip observations into the list of members. Performs no I/O.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::cluster::membership::advertised::{Advertised, AdvertisedError, Me};
use crate::cluster::membership::conflict::{Conflict, Mismatch};
use crate::cluster::membership::member::{Member, Members, NodeId};

/// By this time, echoes of an earlier start of this node and the state of newly seen nodes have arrived.
const SETTLE: Duration = Duration::from_secs(3);
/// How long a node's advertisement may stay incomplete before the node is ignored.
const INCOMPLETE: Duration = Duration::from_secs(10);
/// This many heartbeats after [`SETTLE`] rule out a late echo.
const DUPLICATE_HEARTBEATS: u32 = 2;

/// One start of gossip on one node.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Start {
    pub id: Arc<str>,
    /// Greater for later starts.
    pub generation: u64,
    pub gossip: SocketAddr,
}

/// What gossip knows of one start of a node.
#[derive(Clone, Debug)]
pub struct ObservedNode {
    pub start: Start,
    /// Its heartbeats arrive regularly.
    pub alive: bool,
    /// Increases while the node is alive.
    pub heartbeat: u64,
    pub advertised: Result<Advertised, AdvertisedError>,
}

/// What was observed so far, as needed to judge the next observations.
#[derive(Debug)]
pub struct View {
    me: Me,
    gossip: SocketAddr,
    known: HashMap<Start, Known>,
    ignored: u64,
    warned_of_duplicate: bool,
}

#[derive(Debug)]
struct Known {
    since: Duration,
    was_alive: bool,
    heartbeat: u64,
    /// How often the heartbeat increased after [`SETTLE`].
    late_heartbeats: u32,
    warned: bool,
}

/// The best observation of each node: those alive before dead ones, later starts before earlier ones.
type Best = BTreeMap<NodeId, ((bool, u64, SocketAddr), Member)>;

impl View {
    /// The view of a node with this gossip address.
    pub fn new(me: Me, gossip: SocketAddr) -> Self {
        Self { me, gossip, known: HashMap::new(), ignored: 0, warned_of_duplicate: false }
    }

    /// How many node starts were ignored because what they advertise is unusable.
    pub fn ignored(&self) -> u64 {
        self.ignored
    }

    /// The members according to `observed`, including this node as it advertises itself (`own`), and the worst
    /// conflict. If `hold` is set, no node that was alive in `before` goes down or is forgotten. `now` never goes back.
    pub fn update(
        &mut self,
        observed: &[ObservedNode],
        own: &Advertised,
        before: &Members,
        hold: bool,
        now: Duration,
    ) -> (Members, Option<Conflict>) {
        let present: HashSet<&Start> = observed.iter().map(|heard| &heard.start).collect();
        self.known.retain(|start, _| present.contains(start));

        let mut best = Best::new();
        let mut conflicts = Vec::new();
        let mut refused = HashSet::new();
        for heard in observed {
            self.record(heard, now);
            if *heard.start.id == *self.me.id.as_str() {
                conflicts.extend(self.duplicate_of_self(heard));
                continue;
            }
            let Some(said) = self.usable(heard, now) else { continue };
            if let Some(conflict) = self.mismatch(&said.me) {
                refused.insert(said.me.id.clone());
                // A dead node is no conflict.
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

    fn record(&mut self, heard: &ObservedNode, now: Duration) {
        let known = self.known.entry(heard.start.clone()).or_insert(Known {
            since: now,
            was_alive: false,
            heartbeat: heard.heartbeat,
            late_heartbeats: 0,
            warned: false,
        });
        known.was_alive |= heard.alive;
        if heard.heartbeat > known.heartbeat {
            known.heartbeat = heard.heartbeat;
            known.late_heartbeats += u32::from(now - known.since > SETTLE);
        }
    }

    /// Another node with our name that is alive by itself, rather than an echo of an earlier start of this one.
    fn duplicate_of_self(&mut self, heard: &ObservedNode) -> Option<Conflict> {
        let late = self.known.get(&heard.start).map_or(0, |known| known.late_heartbeats);
        if heard.start.gossip == self.gossip || !heard.alive || late < DUPLICATE_HEARTBEATS {
            return None;
        }
        let other = heard.start.gossip;
        let theirs = heard.advertised.as_ref().map_or(heard.start.generation, |said| said.me.incarnation);
        if (theirs, other) < (self.me.incarnation, self.gossip) {
            return Some(Conflict::DuplicateId { id: self.me.id.clone(), other });
        }
        if !self.warned_of_duplicate {
            self.warned_of_duplicate = true;
            tracing::warn!(node = %self.me.id, %other, "another node with this node's name has started, and should stop");
        }
        None
    }

    fn usable<'a>(&mut self, heard: &'a ObservedNode, now: Duration) -> Option<&'a Advertised> {
        let error = match &heard.advertised {
            Ok(said) => return Some(said),
            Err(error) => error,
        };
        let known = self.known.get_mut(&heard.start)?;
        let on_its_way = matches!(error, AdvertisedError::Missing(_)) && now - known.since < INCOMPLETE;
        if heard.alive && !on_its_way && !known.warned {
            known.warned = true;
            self.ignored += 1;
            // Its id is not logged: it may be any text.
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

    /// A node counts once it was seen alive; one known only as dead counts after [`SETTLE`].
    fn admits(&self, heard: &ObservedNode, now: Duration) -> bool {
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
        // A conflict that stops this node before one that does not.
        conflict if conflict.must_stop() => 2,
        Conflict::Partitions(_) => 3,
        Conflict::Replicas(_) => 4,
        Conflict::Protocol(_) => 5,
    }
}

#[cfg(test)]
mod tests;
