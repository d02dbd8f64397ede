//! Gossip that is the same in every run of a seed: chitchat chooses its partners by the system's randomness, this one by the
//! seed. It sends all that it knows to three others every half second, calls dead whose heartbeat stood still, and lets the
//! library's own view judge what it has heard.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use tidings::cluster::membership::advertised::Advertised;
use tidings::cluster::membership::pause_guard::PauseGuard;
use tidings::cluster::membership::view::{ObservedNode, Start, View};
use tidings::cluster::{Me, Members, PartitionSet};
use tidings::partition::Gossip;
use tokio::sync::{Notify, watch};
use tokio::time::interval;

use super::World;
use super::tickets::{Payload, bind};

pub const PORT: u16 = 7071;
const PERIOD: Duration = Duration::from_millis(500);
/// A heartbeat that stands still for so long is that of a dead node.
const DEAD: Duration = Duration::from_millis(2_600);
/// Others that each round goes to.
const PARTNERS: usize = 3;

/// All that a node knows of the others.
pub type Rumours = Vec<(Start, AnnounceSummary)>;

/// What a node says of itself.
#[derive(Clone, Debug)]
pub struct AnnounceSummary {
    heartbeat: u64,
    advertised: Advertised,
}

struct Known {
    said: AnnounceSummary,
    heard: Duration,
}

/// This node's part in it.
pub struct Scripted {
    own: Mutex<Advertised>,
    changed: Notify,
}

impl Gossip for Scripted {
    fn set_held(&self, held: PartitionSet) -> BoxFuture<'_, ()> {
        self.own.lock().held = held;
        self.changed.notify_one();
        async {}.boxed()
    }

    fn set_leaving(&self) -> BoxFuture<'_, ()> {
        self.own.lock().leaving = true;
        self.changed.notify_one();
        async {}.boxed()
    }
}

/// Starts it as a task of the current host.
pub async fn start(
    world: &Arc<World>,
    me: Me,
    seeds: Vec<IpAddr>,
    seed: u64,
) -> std::io::Result<(Arc<Scripted>, watch::Receiver<Arc<Members>>)> {
    let own = Advertised { me: me.clone(), leaving: false, held: PartitionSet::default() };
    let (sender, members) = watch::channel(Arc::new(Members(vec![own.member(true)])));
    let scripted = Arc::new(Scripted { own: Mutex::new(own), changed: Notify::new() });
    let socket = bind(PORT).await?;
    let (world, script) = (world.clone(), scripted.clone());
    tokio::spawn(async move {
        let gossip = SocketAddr::new(me.link.ip(), PORT);
        let start = Start { id: me.id.as_str().into(), generation: me.incarnation, gossip };
        let mut view = View::new(me, gossip);
        let mut known: BTreeMap<(Arc<str>, u64), (Start, Known)> = BTreeMap::new();
        let mut random = SmallRng::seed_from_u64(seed);
        let began = world.now();
        let mut guard = PauseGuard::new(PERIOD, Duration::ZERO);
        let (mut rounds, mut heartbeat) = (interval(PERIOD), 0);
        loop {
            let mut round = false;
            tokio::select! {
                biased;
                heard = world.tickets.recv(&socket) => {
                    let Ok((Payload::Rumours(rumours), _)) = heard else { continue };
                    merge(&mut known, rumours, &start, world.now());
                    continue;
                }
                () = script.changed.notified() => {}
                _ = rounds.tick() => round = true,
            }
            let now = world.now();
            let own = script.own.lock().clone();
            if round {
                heartbeat += 1;
                let mut rumours: Rumours =
                    known.values().map(|(start, known)| (start.clone(), known.said.clone())).collect();
                rumours.push((start.clone(), AnnounceSummary { heartbeat, advertised: own.clone() }));
                let mut partners: Vec<IpAddr> = known.values().map(|(start, _)| start.gossip.ip()).collect();
                partners.extend(&seeds);
                partners.sort();
                partners.dedup();
                partners.retain(|ip| *ip != gossip.ip());
                for _ in 0..PARTNERS.min(partners.len()) {
                    let partner = partners.swap_remove(random.random_range(0..partners.len()));
                    let payload = Payload::Rumours(rumours.clone());
                    world.tickets.send(&socket, SocketAddr::new(partner, PORT), payload).await;
                }
                guard.wake(now - began);
            }
            let heard: Vec<ObservedNode> = known
                .values()
                .map(|(start, known)| ObservedNode {
                    start: start.clone(),
                    alive: now.saturating_sub(known.heard) < DEAD,
                    heartbeat: known.said.heartbeat,
                    advertised: Ok(known.said.advertised.clone()),
                })
                .collect();
            let before = sender.borrow().clone();
            let (members, _) = view.update(&heard, &own, &before, guard.holds(now - began), now - began);
            if *before != members && sender.send(Arc::new(members)).is_err() {
                return;
            }
        }
    });
    Ok((scripted, members))
}

fn merge(known: &mut BTreeMap<(Arc<str>, u64), (Start, Known)>, rumours: Rumours, own: &Start, now: Duration) {
    for (start, said) in rumours {
        if start == *own {
            continue;
        }
        let entry = known.entry((start.id.clone(), start.generation));
        match entry {
            std::collections::btree_map::Entry::Vacant(entry) => {
                // Whether it is alive its next heartbeat tells.
                entry.insert((start, Known { said, heard: now }));
            }
            std::collections::btree_map::Entry::Occupied(mut entry) => {
                let (_, old) = entry.get_mut();
                if said.heartbeat > old.said.heartbeat {
                    *old = Known { said, heard: now };
                }
            }
        }
    }
}
