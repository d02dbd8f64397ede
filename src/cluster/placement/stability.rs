//! Which members count for placement. It changes slowly: a member that is briefly away keeps its place.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::cluster::{Members, NodeId, Region};

#[cfg(test)]
mod tests;

/// How many times `stable_after` the dead are kept when too many of a region died at once: once, and twice more.
const GUARDED: u32 = 3;

/// One node that counts for placement.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StableMember {
    pub region: Region,
    pub id: NodeId,
    /// Its share of the partitions, relative to the other nodes of its region; 0 for none.
    pub weight: u16,
}

/// All nodes that count for placement, sorted by region and then by id. Equal sets give equal placements.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StableMembers(Vec<StableMember>);

impl StableMembers {
    /// The members, sorted by region and then by id.
    pub fn as_slice(&self) -> &[StableMember] {
        &self.0
    }

    pub fn contains(&self, id: &NodeId) -> bool {
        self.0.iter().any(|member| member.id == *id)
    }
}

impl FromIterator<StableMember> for StableMembers {
    fn from_iter<I: IntoIterator<Item = StableMember>>(members: I) -> Self {
        let mut members: Vec<_> = members.into_iter().collect();
        members.sort();
        members.dedup_by(|a, b| a.region == b.region && a.id == b.id);
        Self(members)
    }
}

/// Decides which members count for placement: those that are alive, and those that died less than `stable_after` ago.
///
/// - A member that leaves goes at once. A restart within `stable_after` changes nothing.
/// - Time counts from when this node noticed. A member that it has never seen alive counts as noticed when first heard of.
/// - A member that is no longer listed counts as dead.
/// - **Guard**: when a member is due to go, and of its region more than a third are dead or went within the last
///   `stable_after`, then it stays for 2 × `stable_after` more. More often than not it is then this node that is cut off,
///   or a whole rack that will be back; moving a third of the data onto the rest would do more harm than a copy less.
///   After 3 × `stable_after` from its death it goes in any case. So in a region of two the guard always holds, where
///   there is nothing to move anyway.
#[derive(Debug)]
pub struct StableMembership {
    stable_after: Duration,
    known: BTreeMap<NodeId, Known>,
}

#[derive(Debug)]
struct Known {
    region: Region,
    weight: u16,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    Alive,
    /// Counts for placement until `until`.
    Dead {
        until: Duration,
        guarded: bool,
    },
    /// No longer counts, but is remembered, so that it does not count as newly dead.
    Gone {
        since: Duration,
    },
}

impl Known {
    fn counts(&self) -> bool {
        !matches!(self.state, State::Gone { .. })
    }
}

impl StableMembership {
    /// Starts without members; dead ones stay for `stable_after`.
    pub fn new(stable_after: Duration) -> Self {
        Self { stable_after, known: BTreeMap::new() }
    }

    /// Takes note of the members as they are at this uptime, and returns those that count for placement. Called when the
    /// members change, and periodically.
    pub fn update(&mut self, uptime: Duration, members: &Members) -> StableMembers {
        self.record(uptime, members);
        for (id, guarded) in self.due(uptime) {
            if let Some(known) = self.known.get_mut(&id) {
                known.state = match known.state {
                    State::Dead { until, .. } if guarded => {
                        State::Dead { until: until + self.stable_after * (GUARDED - 1), guarded }
                    }
                    _ => State::Gone { since: uptime },
                };
            }
        }
        // Once more, as after a long silence the guard's time may be over as well.
        for known in self.known.values_mut() {
            if matches!(known.state, State::Dead { until, guarded: true } if until <= uptime) {
                known.state = State::Gone { since: uptime };
            }
        }
        let counting = self.known.iter().filter(|(_, known)| known.counts());
        counting
            .map(|(id, known)| StableMember { region: known.region.clone(), id: id.clone(), weight: known.weight })
            .collect()
    }

    fn record(&mut self, uptime: Duration, members: &Members) {
        let dead = State::Dead { until: uptime + self.stable_after, guarded: false };
        for member in &members.0 {
            if member.leaving {
                self.known.remove(&member.id);
                continue;
            }
            let state = match self.known.get(&member.id).map(|known| known.state) {
                _ if member.alive => State::Alive,
                None | Some(State::Alive) => dead,
                Some(state) => state,
            };
            let known = Known { region: member.region.clone(), weight: member.weight, state };
            self.known.insert(member.id.clone(), known);
        }
        self.known.retain(|id, known| {
            let listed = members.get(id).is_some();
            if !listed && known.state == State::Alive {
                known.state = dead;
            }
            listed || known.counts() || self.stable_after > Self::removed_for(uptime, known)
        });
    }

    /// The members due for removal, and whether the guard keeps them.
    fn due(&self, uptime: Duration) -> Vec<(NodeId, bool)> {
        let due = |known: &Known| matches!(known.state, State::Dead { until, .. } if until <= uptime);
        let due = self.known.iter().filter(|(_, known)| due(known));
        due.map(|(id, known)| {
            let fresh = matches!(known.state, State::Dead { guarded: false, .. });
            (id.clone(), fresh && self.too_many_dead(uptime, &known.region))
        })
        .collect()
    }

    fn too_many_dead(&self, uptime: Duration, region: &Region) -> bool {
        let (mut dead, mut all) = (0, 0);
        for known in self.known.values().filter(|known| known.region == *region) {
            // A member removed longer ago no longer belongs to the region.
            if known.counts() || self.stable_after > Self::removed_for(uptime, known) {
                all += 1;
                dead += usize::from(known.state != State::Alive);
            }
        }
        dead * 3 > all
    }

    /// How long ago the member was removed from placement.
    fn removed_for(uptime: Duration, known: &Known) -> Duration {
        match known.state {
            State::Gone { since } => uptime.saturating_sub(since),
            _ => Duration::ZERO,
        }
    }
}
