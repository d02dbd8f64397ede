//! What has changed from one list of members to the next.

use crate::cluster::membership::member::{Member, Members};

/// A change in the life of a member. What it holds changes all the time and is no event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MemberEvent {
    /// It is known now; it may be down.
    Joined(Member),
    /// It was down for long and is forgotten, or it no longer agrees with this node's settings.
    Left(Member),
    /// Its heartbeats have stopped.
    WentDown(Member),
    /// Its heartbeats arrive again.
    CameBack(Member),
    /// It has restarted.
    Restarted(Member),
    /// It is about to leave.
    Leaving(Member),
}

/// What has changed, in the order of the members' names.
pub fn diff(old: &Members, new: &Members) -> Vec<MemberEvent> {
    let mut events = Vec::new();
    let (mut before, mut after) = (old.0.iter().peekable(), new.0.iter().peekable());
    loop {
        match (before.peek(), after.peek()) {
            (None, None) => return events,
            (Some(was), now) if now.is_none_or(|now| was.id < now.id) => {
                events.extend(before.next().cloned().map(MemberEvent::Left));
            }
            (was, Some(now)) if was.is_none_or(|was| now.id < was.id) => {
                events.extend(after.next().cloned().map(MemberEvent::Joined));
            }
            _ => {
                if let (Some(was), Some(now)) = (before.next(), after.next()) {
                    changed(was, now, &mut events);
                }
            }
        }
    }
}

fn changed(was: &Member, now: &Member, events: &mut Vec<MemberEvent>) {
    let restarted = was.incarnation != now.incarnation;
    if restarted {
        events.push(MemberEvent::Restarted(now.clone()));
    }
    match (was.alive, now.alive) {
        (true, false) => events.push(MemberEvent::WentDown(now.clone())),
        (false, true) if !restarted => events.push(MemberEvent::CameBack(now.clone())),
        _ => {}
    }
    if now.leaving && (restarted || !was.leaving) {
        events.push(MemberEvent::Leaving(now.clone()));
    }
}

impl MemberEvent {
    /// Writes one line to the log.
    pub fn log(&self) {
        match self {
            Self::Joined(Member { id, region, link, alive, .. }) => {
                tracing::info!(event = "member_joined", node = %id, %region, %link, alive, "a node has joined");
            }
            Self::Left(Member { id, .. }) => tracing::info!(event = "member_left", node = %id, "a node has left"),
            Self::WentDown(Member { id, .. }) => tracing::info!(event = "member_down", node = %id, "a node is down"),
            Self::CameBack(Member { id, .. }) => {
                tracing::info!(event = "member_recovered", node = %id, "a node is back")
            }
            Self::Restarted(Member { id, link, .. }) => {
                tracing::info!(event = "member_restarted", node = %id, %link, "a node has restarted")
            }
            Self::Leaving(Member { id, .. }) => {
                tracing::info!(event = "member_leaving", node = %id, "a node is about to leave")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::swarm::Partition;
    use MemberEvent::*;

    fn member(id: &str, change: impl Fn(&mut Member)) -> Member {
        let mut member = Member {
            id: id.into(),
            region: "eu".into(),
            incarnation: 1,
            link: ([127, 0, 0, 1], 1).into(),
            weight: 1,
            leaving: false,
            held: Default::default(),
            alive: true,
        };
        change(&mut member);
        member
    }

    #[test]
    fn each_change_is_reported_once() {
        let up = || member("m", |_| {});
        let down = || member("m", |member| member.alive = false);
        let leaving = || member("m", |member| member.leaving = true);
        let restarted = || member("m", |member| member.incarnation = 2);
        let restarted_down = || member("m", |member| (member.incarnation, member.alive) = (2, false));
        let holding = || member("m", |member| member.held.insert(Partition(3)));
        let cases = [
            (None, Some(up()), vec![Joined(up())]),
            (Some(up()), None, vec![Left(up())]),
            (Some(up()), Some(up()), vec![]),
            (Some(up()), Some(holding()), vec![]),
            (Some(up()), Some(down()), vec![WentDown(down())]),
            (Some(down()), Some(up()), vec![CameBack(up())]),
            (Some(up()), Some(leaving()), vec![Leaving(leaving())]),
            (Some(leaving()), Some(leaving()), vec![]),
            (Some(up()), Some(restarted()), vec![Restarted(restarted())]),
            (Some(down()), Some(restarted()), vec![Restarted(restarted())]),
            (Some(up()), Some(restarted_down()), vec![Restarted(restarted_down()), WentDown(restarted_down())]),
            (Some(restarted_down()), Some(restarted()), vec![CameBack(restarted())]),
        ];
        for (old, new, events) in cases {
            // Neighbours that do not change.
            let around = |middle: Option<Member>| {
                Members([Some(member("a", |_| {})), middle, Some(member("z", |_| {}))].into_iter().flatten().collect())
            };
            assert_eq!(diff(&around(old.clone()), &around(new.clone())), events, "{old:?} {new:?}");
            let alone = |middle: Option<Member>| Members(middle.into_iter().collect());
            assert_eq!(diff(&alone(old), &alone(new)), events);
        }
    }
}
