//! Connection ids (BEP 15): proof that a client receives at the address it sends from.

use std::net::IpAddr;

use siphasher::sip::SipHasher24;

use crate::wire::udp::ConnectionId;

/// How long an id is accepted, in seconds. BEP 15 asks for two minutes; the third is for clients that began to send at
/// the end of theirs, and for nodes whose clocks differ.
const MAX_AGE: u32 = 180;
/// How far an id may come from the future, in seconds: from a node whose clock is ahead.
const MAX_AHEAD: u32 = 60;

/// Makes and checks connection ids without remembering any.
///
/// An id is 32 bits of wall-clock seconds, then 32 bits of SipHash-2-4 over these and the client's IP address, under a
/// secret key. So every node that has the key accepts the ids of all others, at once after a takeover. The port is not
/// in it, because NAT may change that between two packets. An attacker who cannot receive at an address has to
/// guess 32 bits for every announce; ids of an attacker's own address reveal nothing about the key.
#[derive(Clone)]
pub struct ConnectionIds {
    /// The first key makes ids, all are tried to check them.
    keys: Vec<SipHasher24>,
}

impl ConnectionIds {
    /// Ids under these keys, of which the first makes new ones and the others are still accepted.
    pub fn new(keys: &[[u8; 16]]) -> Self {
        Self { keys: keys.iter().map(SipHasher24::new_with_key).collect() }
    }

    /// An id for a client with the canonical address `ip`, at `now` seconds since the Unix epoch.
    pub fn make(&self, ip: IpAddr, now: u32) -> ConnectionId {
        let tag = self.keys.first().map_or(0, |key| tag(key, ip, now));
        ConnectionId(u64::from(now) << 32 | u64::from(tag))
    }

    /// Whether `id` was made for `ip`, not too long before `now`.
    pub fn check(&self, id: ConnectionId, ip: IpAddr, now: u32) -> bool {
        let (made, claimed) = ((id.0 >> 32) as u32, id.0 as u32);
        let age = now.wrapping_sub(made);
        let in_time = age <= MAX_AGE || age.wrapping_neg() <= MAX_AHEAD;
        // A plain comparison: the difference in time of 32 bits cannot be seen over a network, and an id lives for
        // three minutes.
        in_time && self.keys.iter().any(|key| tag(key, ip, made) == claimed)
    }
}

fn tag(key: &SipHasher24, ip: IpAddr, seconds: u32) -> u32 {
    let mut bytes = [0; 20];
    bytes[..4].copy_from_slice(&seconds.to_be_bytes());
    let len = match ip {
        IpAddr::V4(ip) => {
            bytes[4..8].copy_from_slice(&ip.octets());
            8
        }
        IpAddr::V6(ip) => {
            bytes[4..].copy_from_slice(&ip.octets());
            20
        }
    };
    key.hash(&bytes[..len]) as u32
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KEYS: [[u8; 16]; 2] = [[7; 16], [8; 16]];

    proptest! {
        #[test]
        fn trap_01_an_id_is_accepted_for_two_minutes_and_refused_when_old(ip: IpAddr, made: u32, age in 0u32..2_000_000) {
            let ids = ConnectionIds::new(&KEYS);
            let id = ids.make(ip, made);
            prop_assert_eq!(ids.check(id, ip, made.wrapping_add(age)), age <= MAX_AGE);
            prop_assert!(MAX_AGE >= 120);
        }

        #[test]
        fn an_id_is_for_one_address(ip: IpAddr, other: IpAddr, made: u32) {
            prop_assume!(ip != other);
            let ids = ConnectionIds::new(&KEYS);
            prop_assert!(!ids.check(ids.make(ip, made), other, made));
        }

        #[test]
        fn a_changed_id_is_refused(ip: IpAddr, made in 1_000u32.., bit in 0u32..64) {
            let ids = ConnectionIds::new(&KEYS);
            let id = ConnectionId(ids.make(ip, made).0 ^ 1 << bit);
            prop_assert!(!ids.check(id, ip, made));
        }
    }

    #[test]
    fn trap_03_nodes_with_the_key_accept_each_others_ids_even_with_clocks_apart() {
        let ip = IpAddr::from([192, 0, 2, 1]);
        let id = ConnectionIds::new(&KEYS).make(ip, 1_000);
        let rotated = ConnectionIds::new(&[[9; 16], KEYS[0]]);
        assert!(rotated.check(id, ip, 1_000 - MAX_AHEAD), "made by a node that is ahead");
        assert!(!rotated.check(id, ip, 1_000 - MAX_AHEAD - 1));
        assert!(!ConnectionIds::new(&[[9; 16]]).check(id, ip, 1_000), "another cluster's");
    }

    #[test]
    fn trap_04_the_id_changes_with_time() {
        let (ids, ip) = (ConnectionIds::new(&KEYS), IpAddr::from([192, 0, 2, 1]));
        assert_ne!(ids.make(ip, 1), ids.make(ip, 2));
        assert_ne!(ids.make(ip, 1).0 as u32, ids.make(ip, 2).0 as u32);
    }
}
