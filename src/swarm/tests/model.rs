//! What a store has to do, written as plainly as possible: a map of maps, full scans, clocks that never wrap.

use std::collections::BTreeMap;

use super::*;

/// A peer of the model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Known {
    pub stamp: Stamp,
    pub seen: u64,
}

impl Known {
    fn valid(&self, now: u64) -> bool {
        now - self.seen <= TTL.into()
    }

    pub fn alive(&self, now: u64) -> bool {
        self.valid(now) && self.stamp.role() != Role::Stopped
    }
}

#[derive(Debug, Default)]
pub struct ModelSwarm {
    pub completed: u32,
    pub peers: BTreeMap<u32, Known>,
}

/// Swarms by number, peers by number.
#[derive(Debug, Default)]
pub struct Model {
    pub swarms: BTreeMap<u32, ModelSwarm>,
}

impl Model {
    /// An announce, of which the store says that others have to learn of `change`. When a renewal is replicated is the
    /// store's choice, within the bounds that are asserted here.
    #[expect(clippy::too_many_arguments, reason = "one announce and what came of it")]
    pub fn announce<F: AddressFamily>(
        &mut self,
        swarm: u32,
        number: u32,
        event: Event,
        seeder: bool,
        now: u64,
        time: HlcTime,
        change: Option<Record<F>>,
    ) {
        let role = role(event, seeder);
        let alive = self.alive(swarm, now).get(&number).copied();
        if role == Role::Stopped && alive.is_none() {
            return assert!(change.is_none());
        }
        let renews = matches!(event, Event::None | Event::Paused) && alive.is_some_and(|it| it.stamp.role() == role);
        if change.is_none() {
            let replicated = alive.filter(|_| renews).expect("only a renewal is not replicated").stamp;
            assert!(time.millis() < replicated.time().millis() + u64::from(TTL / 4) * 1000, "each quarter");
            self.swarms.entry(swarm).or_default().peers.insert(number, Known { stamp: replicated, seen: now });
            return;
        }
        let swarm = self.swarms.entry(swarm).or_default();
        let mut counted = alive.is_some_and(|old| old.stamp.counted());
        if role == Role::Seeder && !counted && alive.is_some_and(|old| old.stamp.role() != Role::Seeder) {
            swarm.completed += 1;
            counted = true;
        }
        let stamp = Stamp::new(time, role, counted);
        assert_eq!(change.map(|it| (it.stamp, it.seen, it.key)), Some((stamp, Second::new(now), key::<F>(number))));
        swarm.peers.insert(number, Known { stamp, seen: now });
    }

    pub fn merge(&mut self, swarm: u32, number: u32, record: Known, now: u64) {
        if !record.valid(now) {
            return;
        }
        let peers = &mut self.swarms.entry(swarm).or_default().peers;
        let known = peers.get(&number).filter(|known| known.valid(now));
        let loses = |known: &Known| (known.stamp, u64::MAX - known.seen) > (record.stamp, u64::MAX - record.seen);
        if !known.is_some_and(loses) {
            peers.insert(number, record);
        }
    }

    /// The living peers of a swarm.
    pub fn alive(&self, swarm: u32, now: u64) -> BTreeMap<u32, Known> {
        let peers = self.swarms.get(&swarm).into_iter().flat_map(|swarm| &swarm.peers);
        peers.filter(|(_, known)| known.alive(now)).map(|(number, known)| (*number, *known)).collect()
    }

    /// Whether anything of a swarm, tombstones included, has to be there.
    pub fn remembers(&self, swarm: u32, now: u64) -> bool {
        self.swarms.get(&swarm).is_some_and(|swarm| swarm.peers.values().any(|known| known.valid(now)))
    }

    pub fn counts(&self, swarm: u32, now: u64) -> Counts {
        let alive = self.alive(swarm, now);
        let of = |role| alive.values().filter(|known| known.stamp.role() == role).count() as u32;
        Counts {
            seeders: of(Role::Seeder),
            leechers: of(Role::Leecher) + of(Role::PartialSeed),
            partial_seeds: of(Role::PartialSeed),
            completed: self.swarms.get(&swarm).map_or(0, |swarm| swarm.completed),
        }
    }

    /// The peers that `asker` may be sent.
    pub fn useful(&self, swarm: u32, asker: u32, role: Role, now: u64) -> Vec<u32> {
        let wanted = |(number, known): (u32, Known)| {
            let of_use = match role {
                Role::Leecher => true,
                Role::Seeder | Role::PartialSeed => known.stamp.role() == Role::Leecher,
                Role::Stopped => false,
            };
            (of_use && number != asker).then_some(number)
        };
        self.alive(swarm, now).into_iter().filter_map(wanted).collect()
    }
}

pub fn role(event: Event, seeder: bool) -> Role {
    match (event, seeder) {
        (Event::Stopped, _) => Role::Stopped,
        (_, true) => Role::Seeder,
        (Event::Paused, false) => Role::PartialSeed,
        (_, false) => Role::Leecher,
    }
}
