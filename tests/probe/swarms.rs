//! The state of the smallest tracker: swarms, and the phase of a probe that a request belongs to.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};

/// A request, as far as faults depend on it.
#[derive(Clone, Debug)]
pub struct Received {
    /// `connect`, `announce`, `re-announce`, `scrape` or `stopped`.
    pub phase: &'static str,
    /// The announcing peer in compact form; empty for other requests.
    pub me: Vec<u8>,
    /// The options of a datagram, or the head of an HTTP request.
    pub rest: Vec<u8>,
}

pub struct AnnounceReply {
    pub seeders: u32,
    pub leechers: u32,
    /// Compact peers.
    pub peers: Vec<u8>,
}

/// Swarms that several responders may share.
#[derive(Clone, Default)]
pub struct Swarms(Arc<Mutex<HashMap<[u8; 20], Vec<Member>>>>);

struct Member {
    compact: Vec<u8>,
    seeder: bool,
}

impl Swarms {
    /// Applies an announce. With one target, the first peer announces and all others re-announce.
    pub fn announce(
        &self,
        hash: [u8; 20],
        compact: &[u8],
        seeder: bool,
        stopped: bool,
    ) -> (&'static str, AnnounceReply) {
        let mut swarms = self.0.lock().unwrap();
        let swarm = swarms.entry(hash).or_default();
        let at = swarm.iter().position(|member| member.compact == compact);
        let phase = match at {
            _ if stopped => "stopped",
            Some(0) => "announce",
            None if swarm.is_empty() => "announce",
            _ => "re-announce",
        };
        match at {
            Some(at) if stopped => _ = swarm.remove(at),
            None if !stopped => swarm.push(Member { compact: compact.to_vec(), seeder }),
            _ => {}
        }
        let others = swarm.iter().filter(|member| member.compact != compact && !stopped);
        let peers = others.flat_map(|member| member.compact.clone()).collect();
        let (seeders, leechers) = counts(swarm);
        (phase, AnnounceReply { seeders, leechers, peers })
    }

    /// Seeders and leechers of a swarm.
    pub fn counts(&self, hash: &[u8; 20]) -> (u32, u32) {
        self.0.lock().unwrap().get(hash).map_or((0, 0), |swarm| counts(swarm))
    }

    /// The number of peers in all swarms.
    pub fn peers(&self) -> usize {
        self.0.lock().unwrap().values().map(Vec::len).sum()
    }

    /// The number of swarms so far.
    pub fn swarms(&self) -> usize {
        self.0.lock().unwrap().len()
    }
}

fn counts(swarm: &[Member]) -> (u32, u32) {
    let seeders = swarm.iter().filter(|member| member.seeder).count();
    (seeders as u32, (swarm.len() - seeders) as u32)
}

/// The compact form of a peer.
pub fn compact(ip: IpAddr, port: u16) -> Vec<u8> {
    let mut out = match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    out.extend(port.to_be_bytes());
    out
}
