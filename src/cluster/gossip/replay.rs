//! Which datagrams of which sender have been seen, so that none is taken twice.

use std::collections::HashMap;

/// The datagrams of one sender that may overtake each other: older ones are refused.
pub const WINDOW: u64 = 1024;
/// The most senders that are remembered.
pub const MAX_SENDERS: usize = 4096;

const WORDS: usize = (WINDOW / 64) as usize;

/// Why a datagram is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// It was seen already, or more than [`WINDOW`] later ones were.
    Replayed,
    /// It is the first of a sender for which there is no room.
    Full,
}

/// Remembers what was seen of each sender.
///
/// A sender is forgotten as soon as all its datagrams are too old to be accepted anyway, so forgetting is safe.
/// When none can be forgotten and the table is full, new senders are refused until one can. A sender is one start of
/// a node and holds a key, so only a node that restarts every fraction of a second gets there.
#[derive(Debug)]
pub struct Senders {
    senders: HashMap<u64, Sender>,
    capacity: usize,
}

#[derive(Debug)]
struct Sender {
    window: Window,
    /// The latest wall time in its datagrams, in milliseconds.
    newest: u64,
}

impl Senders {
    /// An empty table with room for `capacity` senders.
    pub fn new(capacity: usize) -> Self {
        Self { senders: HashMap::new(), capacity }
    }

    /// Takes the datagram `counter` of the sender `session`, sealed at `wall`. What was sealed before `too_old` is
    /// refused by the caller; both are milliseconds since the Unix epoch.
    ///
    /// # Errors
    /// See [`Refused`].
    pub fn take(&mut self, session: u64, counter: u64, wall: u64, too_old: u64) -> Result<(), Refused> {
        if let Some(sender) = self.senders.get_mut(&session) {
            sender.newest = sender.newest.max(wall);
            return if sender.window.take(counter) { Ok(()) } else { Err(Refused::Replayed) };
        }
        if self.senders.len() >= self.capacity {
            self.senders.retain(|_, sender| sender.newest >= too_old);
            if self.senders.len() >= self.capacity {
                return Err(Refused::Full);
            }
        }
        let mut window = Window::default();
        window.take(counter);
        self.senders.insert(session, Sender { window, newest: wall });
        Ok(())
    }
}

/// The last [`WINDOW`] counters of a sender, as a ring of bits.
#[derive(Debug, Default)]
struct Window {
    /// One more than the highest counter that was seen, 0 before any.
    end: u64,
    bits: [u64; WORDS],
}

impl Window {
    /// Marks a counter as seen; false if it was, or is too far behind.
    fn take(&mut self, counter: u64) -> bool {
        // The last counter of all could not be followed by another; no sender gets there.
        let Some(after) = counter.checked_add(1) else { return false };
        if after > self.end {
            if after - self.end >= WINDOW {
                self.bits = [0; WORDS];
            } else {
                (self.end..after).for_each(|skipped| self.bits[word(skipped)] &= !bit(skipped));
            }
            self.end = after;
        } else if self.end - counter > WINDOW || self.bits[word(counter)] & bit(counter) != 0 {
            return false;
        }
        self.bits[word(counter)] |= bit(counter);
        true
    }
}

fn word(counter: u64) -> usize {
    (counter % WINDOW / 64) as usize
}

fn bit(counter: u64) -> u64 {
    1 << (counter % 64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;

    #[test]
    fn a_counter_is_taken_once_and_late_ones_within_the_window() {
        let mut window = Window::default();
        assert!(window.take(5000));
        assert!(!window.take(5000));
        assert!(window.take(5000 - WINDOW + 1));
        assert!(!window.take(5000 - WINDOW + 1));
        assert!(!window.take(5000 - WINDOW));
        assert!(window.take(u64::MAX - 1));
        assert!(!window.take(u64::MAX));
        assert!(!window.take(5001));
    }

    proptest! {
        #[test]
        fn the_window_agrees_with_a_set(steps in prop::collection::vec((0u64..3000, 0u64..1100), 1..300)) {
            let (mut window, mut seen, mut highest) = (Window::default(), HashSet::new(), 0u64);
            for (ahead, behind) in steps {
                let counter = (highest + ahead / 10).saturating_sub(behind * u64::from(ahead % 3 != 0));
                let fresh = (seen.is_empty() || counter + WINDOW > highest) && !seen.contains(&counter);
                prop_assert_eq!(window.take(counter), fresh, "{}", counter);
                seen.insert(counter);
                highest = highest.max(counter);
            }
        }
    }

    #[test]
    fn a_full_table_forgets_only_senders_that_can_no_longer_be_replayed() {
        let mut senders = Senders::new(2);
        assert_eq!(senders.take(1, 0, 1_000, 0), Ok(()));
        assert_eq!(senders.take(2, 0, 2_000, 0), Ok(()));
        assert_eq!(senders.take(3, 0, 2_000, 1_000), Err(Refused::Full));
        assert_eq!(senders.take(1, 0, 1_000, 1_000), Err(Refused::Replayed));
        assert_eq!(senders.take(3, 0, 2_000, 1_001), Ok(()));
        assert_eq!(senders.take(2, 0, 2_000, 1_001), Err(Refused::Replayed));
        assert_eq!(senders.take(2, 1, 2_000, 1_001), Ok(()));
    }
}
