//! One peer's record, and how the two address families store it.

use std::fmt::Debug;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::stamp::{HlcTime, Role, Stamp};
use super::{Family, PeerAddr};

/// An address family at compile time: a store holds one, so that its records are as small as they can be.
pub trait AddressFamily: Copy + Debug + Send + Sync + 'static {
    /// A peer's compact form (BEP 23, BEP 7), which is at once its key.
    type Key: Copy + Eq + Debug + Send + Sync + AsRef<[u8]> + 'static;
    /// The same at run time.
    const FAMILY: Family;

    /// The key of `peer`; `None` when it is of the other family.
    fn key(peer: PeerAddr) -> Option<Self::Key>;
    /// The inverse of [`AddressFamily::key`].
    fn peer(key: Self::Key) -> PeerAddr;
    /// The key whose bytes these are; `None` when the length is another.
    fn key_from(bytes: &[u8]) -> Option<Self::Key>;
}

/// IPv4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct V4;

/// IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct V6;

impl AddressFamily for V4 {
    type Key = [u8; 6];
    const FAMILY: Family = Family::V4;

    fn key(peer: PeerAddr) -> Option<Self::Key> {
        let IpAddr::V4(ip) = peer.ip() else { return None };
        let ([a, b, c, d], [high, low]) = (ip.octets(), peer.port().to_be_bytes());
        Some([a, b, c, d, high, low])
    }

    fn peer([a, b, c, d, high, low]: Self::Key) -> PeerAddr {
        PeerAddr::new(Ipv4Addr::new(a, b, c, d).into(), u16::from_be_bytes([high, low]))
    }

    fn key_from(bytes: &[u8]) -> Option<Self::Key> {
        bytes.try_into().ok()
    }
}

impl AddressFamily for V6 {
    type Key = [u8; 18];
    const FAMILY: Family = Family::V6;

    fn key(peer: PeerAddr) -> Option<Self::Key> {
        let IpAddr::V6(ip) = peer.ip() else { return None };
        let mut key = [0; 18];
        key[..16].copy_from_slice(&ip.octets());
        key[16..].copy_from_slice(&peer.port().to_be_bytes());
        Some(key)
    }

    fn peer(key: Self::Key) -> PeerAddr {
        let mut ip = [0; 16];
        ip.copy_from_slice(&key[..16]);
        PeerAddr::new(Ipv6Addr::from(ip).into(), u16::from_be_bytes([key[16], key[17]]))
    }

    fn key_from(bytes: &[u8]) -> Option<Self::Key> {
        bytes.try_into().ok()
    }
}

/// Seconds on the store's own clock, modulo 2^16. Ages up to [`Second::MAX_AGE`] are exact, which is what lets a
/// record spend two bytes on its age; the sweep removes records long before they could wrap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Second(u16);

impl Second {
    /// The greatest age that can be represented, in seconds (over nine hours): the longest lifetime of a peer.
    pub const MAX_AGE: u16 = 1 << 15;

    /// The reading `seconds` after the clock's start.
    pub fn new(seconds: u64) -> Self {
        Self(seconds as u16)
    }

    /// How far ahead a reading may be. Two threads read the clock at different times, so one may hand the other a
    /// record that was made "later" than its own present.
    const MAX_AHEAD: u16 = 60;

    /// Seconds from `self` to `now`; 0 when `self` is up to a minute after it.
    pub fn age(self, now: Self) -> u16 {
        let age = now.0.wrapping_sub(self.0);
        if age > u16::MAX - Self::MAX_AHEAD { 0 } else { age }
    }

    /// Whether a border lies between `self` and `now`: time in stretches of `period` seconds, of which one begins
    /// `offset` seconds before the clock's start. Where the clock wraps (every 18 hours, at another moment for every
    /// offset) a stretch is cut short, so none is ever longer than `period`. `period` is not 0.
    pub fn crossed(self, now: Self, offset: u16, period: u16) -> bool {
        self.age(now) > now.0.wrapping_add(offset) % period
    }

    /// The reading that is `age` seconds old at `self`.
    pub fn minus(self, age: u16) -> Self {
        Self(self.0.wrapping_sub(age))
    }
}

/// What the store knows of one peer: 16 bytes for IPv4, 32 for IPv6.
#[derive(Clone, Copy, Debug)]
pub struct Record<F: AddressFamily> {
    /// Which of two records wins, and the peer's role.
    pub stamp: Stamp,
    /// When the peer last announced itself, as far as this node knows. Every copy that a tombstone has to beat was made before it, so a tombstone
    /// that lives as long as a peer outlives them all.
    pub seen: Second,
    /// Who.
    pub key: F::Key,
}

impl<F: AddressFamily> Record<F> {
    /// The peer's role.
    pub fn role(&self) -> Role {
        self.stamp.role()
    }

    /// Whether a plain renewal of this record at `now`, which is `time` by the hybrid logical clock, has to be
    /// replicated to other nodes. One per quarter of the lifetime has to; those in between only move [`Record::seen`],
    /// and the stamp stays, so that all copies keep equal stamps.
    ///
    /// It needs no memory: a renewal is replicated if it is the first after a quarter boundary on this node's own
    /// clock, with boundaries spread over the peers so that not all are replicated at once; or if the stamp, which is
    /// the time of the last replication, is a quarter old. The second rule is for peers that announce to several nodes,
    /// whose boundaries differ, and for copies that a restarted node pulls. The first still works when the wall clock
    /// was set back and stamps do not advance. At the wrap of [`Second`] a quarter is shorter, so one more renewal is
    /// replicated.
    ///
    /// So another node's copy may be up to a quarter of the lifetime older than the peer is, and merging an equal stamp
    /// passes that age on. A peer that keeps the interval lives on in every copy all the same, as long as interval and
    /// quarter together are shorter than the lifetime: the copy is as old as the last replicated renewal, the next
    /// announce after a quarter is replicated again, and it comes before that copy expires.
    pub fn renewal_due(&self, now: Second, time: HlcTime, ttl: u16) -> bool {
        let quarter = (ttl / 4).max(1);
        self.stamp.time().millis() + u64::from(quarter) * 1_000 <= time.millis()
            || self.seen.crossed(now, offset(self.key.as_ref()), quarter)
    }

    /// Whether the peer's lifetime is over.
    pub fn expired(&self, now: Second, ttl: u16) -> bool {
        self.seen.age(now) > ttl
    }

    /// The merge law: the greater stamp wins; copies of one record agree on the greater age, so that no number of hops
    /// between nodes makes a peer younger.
    pub fn merge(self, other: Self, now: Second) -> Self {
        match self.stamp.cmp(&other.stamp) {
            std::cmp::Ordering::Less => other,
            std::cmp::Ordering::Greater => self,
            std::cmp::Ordering::Equal if self.seen.age(now) >= other.seen.age(now) => self,
            std::cmp::Ordering::Equal => other,
        }
    }
}

/// Spreads peers over a quarter: made of the end of the address, and the port.
fn offset(key: &[u8]) -> u16 {
    key.iter().rev().take(6).fold(0u16, |sum, byte| sum.wrapping_mul(251).wrapping_add(u16::from(*byte)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_as_small_as_promised() {
        assert_eq!(size_of::<Record<V4>>(), 16);
        assert_eq!(size_of::<Record<V6>>(), 32);
    }

    #[test]
    fn keys_are_the_compact_form() {
        let peer = PeerAddr::new("::ffff:1.2.3.4".parse().unwrap(), 0x1a2b);
        assert_eq!(V4::key(peer), Some([1, 2, 3, 4, 0x1a, 0x2b]));
        assert_eq!(V6::key(peer), None);
        assert_eq!(V4::peer([1, 2, 3, 4, 0x1a, 0x2b]), peer);
        let peer = PeerAddr::new("2001:db8::7".parse().unwrap(), 80);
        assert_eq!(V6::peer(V6::key(peer).unwrap()), peer);
    }

    #[test]
    fn ages_survive_the_wrap_of_the_clock() {
        let seen = Second::new(65_530);
        assert_eq!(seen.age(Second::new(65_536 + 20)), 26);
        assert_eq!(Second::new(3).minus(10).age(Second::new(3)), 10);
    }

    #[test]
    fn a_record_from_a_thread_whose_clock_is_a_second_ahead_is_young() {
        assert_eq!(Second::new(101).age(Second::new(100)), 0);
        assert_eq!(Second::new(65_540).age(Second::new(65_530)), 0);
    }
}
