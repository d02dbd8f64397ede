//! The peers that one round announces, and its trace. All of it is random, so that rounds do not interfere.

use rand::RngExt;
use rand::rngs::StdRng;

use crate::client::AnnounceParams;
use crate::swarm::{Event, InfoHash};

/// Ports of the dynamic range (RFC 6335), which no service is assigned to. Only other probes are ever returned these peers.
const FIRST_PORT: u16 = 49_152;
/// More peers than any correct answer holds, so that wrong ones show.
const NUM_WANT: i32 = 50;

/// The peers that are announced to one target.
#[derive(Clone, Copy, Debug)]
pub struct Identities {
    /// The first peer in a swarm that only this target gets.
    pub seeder: AnnounceParams,
    /// The second peer in that swarm.
    pub leecher: AnnounceParams,
    /// The only seeder of a second swarm, in which all other targets should return it.
    pub source: AnnounceParams,
    /// Announces to this target in the swarms of the sources of others; the info hash is replaced each time.
    pub looker: AnnounceParams,
}

/// The identities for each of `targets` targets. No two have the same port.
pub fn identities(targets: usize, random: &mut StdRng) -> Vec<Identities> {
    let mut ports: Vec<u16> = Vec::with_capacity(targets * 4);
    let mut next = |info_hash, left, random: &mut StdRng| {
        let port = loop {
            let port = random.random_range(FIRST_PORT..=u16::MAX);
            if !ports.contains(&port) {
                break port;
            }
        };
        ports.push(port);
        let mut peer_id = *b"-TI0000-            ";
        peer_id[8..].copy_from_slice(hex::encode(random.random::<[u8; 6]>()).as_bytes());
        let (event, num_want) = (Event::Started, NUM_WANT);
        AnnounceParams { info_hash, peer_id, key: random.random(), event, left, num_want, port }
    };
    let mut all = Vec::with_capacity(targets);
    for _ in 0..targets {
        let (swarm, shared) = (InfoHash(random.random()), InfoHash(random.random()));
        all.push(Identities {
            seeder: next(swarm, 0, random),
            leecher: next(swarm, 1, random),
            source: next(shared, 0, random),
            looker: next(shared, 1, random),
        });
    }
    all
}

/// A trace that the requests ask for (W3C Trace Context).
#[derive(Clone, Debug)]
pub struct Trace {
    /// 32 hexadecimal digits.
    pub id: String,
    /// The value of the header `traceparent`, with the flag that says it is sampled.
    pub parent: String,
}

impl Trace {
    pub fn new(random: &mut StdRng) -> Self {
        let (id, span) = (hex::encode(random.random::<[u8; 16]>()), hex::encode(random.random::<[u8; 8]>()));
        Self { parent: format!("00-{id}-{span}-01"), id }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use rand::SeedableRng;

    use super::*;

    #[test]
    fn identities_are_distinct_peers_and_rounds_use_distinct_swarms() {
        let mut random = StdRng::seed_from_u64(1);
        let all = identities(16, &mut random);
        let peers = |it: &Identities| [it.seeder, it.leecher, it.source, it.looker];
        let ports: HashSet<_> = all.iter().flat_map(peers).map(|peer| peer.port).collect();
        assert_eq!(ports.len(), 64);
        let swarms: HashSet<_> = all.iter().flat_map(peers).map(|peer| peer.info_hash).collect();
        assert_eq!(swarms.len(), 32);
        assert!(!swarms.contains(&identities(1, &mut random)[0].seeder.info_hash));
        assert!(all[0].seeder.peer_id.iter().all(u8::is_ascii_graphic));
    }

    #[test]
    fn a_trace_is_sampled() {
        let trace = Trace::new(&mut StdRng::seed_from_u64(1));
        assert_eq!((trace.id.len(), trace.parent.len()), (32, 55));
        assert!(trace.parent.starts_with(&format!("00-{}-", trace.id)) && trace.parent.ends_with("-01"));
    }
}
