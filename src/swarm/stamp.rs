//! Hybrid logical clocks, and the stamp that decides which of two records of a peer is the newer.

use std::time::Duration;

/// Bits of the stamp below the clock: the peer's state.
const STATE_BITS: u32 = 6;
/// Bits of the clock below the milliseconds: events within one millisecond.
const COUNTER_BITS: u32 = 14;

/// What a peer is to its swarm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It lacks something and wants it.
    Leecher,
    /// It lacks something and does not want it (BEP 21).
    PartialSeed,
    /// It has everything.
    Seeder,
    /// It has left; the record is a tombstone, kept so that no older copy of the peer can come back.
    Stopped,
}

/// When a record was made, by the hybrid logical clock of the node that accepted it, and the state it gave to the peer.
///
/// From the top: 44 bits of milliseconds since the Unix epoch (until the year 2527), 14 bits of counter, 6 bits of
/// state. Comparing stamps as numbers is the merge law: the later clock wins, and of two records with the same clock
/// (from different nodes) the one with the greater state, in which "stopped" is the topmost bit. This order is total,
/// so merging is commutative, associative and idempotent without knowing who wrote what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stamp(u64);

impl Stamp {
    const STOPPED: u64 = 1 << 5;
    const SEEDER: u64 = 1 << 4;
    const PARTIAL: u64 = 1 << 3;
    /// This peer's completion is already in the swarm's count.
    const COUNTED: u64 = 1 << 2;

    /// Joins a clock reading with a state.
    pub fn new(time: HlcTime, role: Role, counted: bool) -> Self {
        let role = match role {
            Role::Leecher => 0,
            Role::PartialSeed => Self::PARTIAL,
            Role::Seeder => Self::SEEDER,
            Role::Stopped => Self::STOPPED,
        };
        Self(time.0 << STATE_BITS | role | if counted { Self::COUNTED } else { 0 })
    }

    /// The clock reading.
    pub fn time(self) -> HlcTime {
        HlcTime(self.0 >> STATE_BITS)
    }

    /// What the record makes of its peer.
    pub fn role(self) -> Role {
        if self.0 & Self::STOPPED != 0 {
            Role::Stopped
        } else if self.0 & Self::SEEDER != 0 {
            Role::Seeder
        } else if self.0 & Self::PARTIAL != 0 {
            Role::PartialSeed
        } else {
            Role::Leecher
        }
    }

    /// Whether this peer's completion is already counted.
    pub fn counted(self) -> bool {
        self.0 & Self::COUNTED != 0
    }

    /// The 64 bits, for files and frames.
    pub fn to_bits(self) -> u64 {
        self.0
    }

    /// The inverse of [`Stamp::to_bits`]. Every number is a stamp.
    pub fn from_bits(bits: u64) -> Self {
        Self(bits)
    }
}

/// A reading of a hybrid logical clock: milliseconds since the Unix epoch, then a counter, in 58 bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct HlcTime(u64);

impl HlcTime {
    /// The start of the given millisecond since the Unix epoch; later than the year 2527 is the year 2527.
    pub fn from_millis(millis: u64) -> Self {
        Self(millis.min((1 << (64 - STATE_BITS - COUNTER_BITS)) - 1) << COUNTER_BITS)
    }

    /// Milliseconds since the Unix epoch.
    pub fn millis(self) -> u64 {
        self.0 >> COUNTER_BITS
    }
}

/// A hybrid logical clock (Kulkarni et al., 2014): never behind what it has seen, never twice the same, and as near to
/// the wall clock as that allows.
#[derive(Debug, Default)]
pub struct Hlc {
    last: HlcTime,
}

/// A reading from another node that lies too far in the future to be believed.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("a record's clock is {ahead:?} ahead of this node's: check that both nodes run NTP")]
pub struct ClockAhead {
    /// How far.
    pub ahead: Duration,
}

impl Hlc {
    /// How far ahead of our wall clock another node's reading may be.
    pub const MAX_AHEAD: Duration = Duration::from_secs(60);

    /// A new reading, later than all before. `wall` is milliseconds since the Unix epoch; it may jump.
    pub fn tick(&mut self, wall: u64) -> HlcTime {
        self.last = HlcTime(self.last.0 + 1).max(HlcTime::from_millis(wall));
        self.last
    }

    /// Takes notice of another node's reading, so that our next one is later.
    ///
    /// # Errors
    /// [`ClockAhead`] when it is more than [`Hlc::MAX_AHEAD`] ahead of `wall`; the clock does not move then.
    pub fn observe(&mut self, seen: HlcTime, wall: u64) -> Result<(), ClockAhead> {
        let ahead = Duration::from_millis(seen.millis().saturating_sub(wall));
        if ahead > Self::MAX_AHEAD {
            return Err(ClockAhead { ahead });
        }
        self.last = self.last.max(seen);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_clock_never_repeats_nor_goes_back(walls in prop::collection::vec(0u64..1 << 44, 1..200)) {
            let mut clock = Hlc::default();
            let mut last = HlcTime::default();
            for wall in walls {
                let next = clock.tick(wall);
                prop_assert!(next > last);
                last = next;
            }
        }

        #[test]
        fn what_was_observed_is_passed(wall in 0u64..1 << 43, ahead in 0u64..=60_000) {
            let mut clock = Hlc::default();
            let seen = HlcTime::from_millis(wall + ahead);
            prop_assert_eq!(clock.observe(seen, wall), Ok(()));
            prop_assert!(clock.tick(wall) > seen);
        }
    }

    #[test]
    fn a_reading_from_the_far_future_is_refused() {
        let mut clock = Hlc::default();
        let before = clock.tick(1_000);
        assert!(clock.observe(HlcTime::from_millis(61_001), 1_000).is_err());
        assert!(clock.tick(1_000).millis() == before.millis());
    }

    #[test]
    fn of_two_records_of_one_instant_the_stopped_one_wins() {
        let at = HlcTime::from_millis(5);
        let roles = [Role::Leecher, Role::PartialSeed, Role::Seeder];
        for role in roles {
            assert!(Stamp::new(at, Role::Stopped, false) > Stamp::new(at, role, true));
            assert_eq!(Stamp::new(at, role, true).role(), role);
            assert!(Stamp::new(at, role, true).counted());
            assert_eq!(Stamp::new(at, role, false).time(), at);
        }
    }
}
