//! The requests under way, by transaction id. Pure: the caller passes the time, in nanoseconds.

use std::collections::VecDeque;

/// Nanoseconds since the worker started.
pub type Nanos = u64;

const INDEX_BITS: u32 = 20;
/// The most requests that can be under way at once.
pub const MAX_FLIGHTS: usize = 1 << INDEX_BITS;

/// A request under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flight<T> {
    pub job: T,
    /// The position of its source.
    pub source: u32,
    /// When it was due. Latency counts from here, so that a stalled tracker cannot hide the requests that waited for it
    /// (coordinated omission).
    pub intended: Nanos,
    pub sent: Nanos,
}

struct Slot<T> {
    generation: u32,
    flight: Option<Flight<T>>,
}

/// A bounded table of requests under way.
pub struct Flights<T> {
    slots: Vec<Slot<T>>,
    // First in, first out, so that transaction ids are reused as late as possible and a late answer matches no request.
    free: VecDeque<u32>,
    by_age: VecDeque<(u32, Nanos)>,
    deadline: Nanos,
}

impl<T: Copy> Flights<T> {
    /// Room for `capacity` requests (at most [`MAX_FLIGHTS`]), each lost `deadline` after it was sent.
    pub fn new(capacity: usize, deadline: Nanos) -> Self {
        let capacity = capacity.clamp(1, MAX_FLIGHTS);
        Self {
            slots: (0..capacity).map(|_| Slot { generation: 0, flight: None }).collect(),
            free: (0..capacity as u32).collect(),
            by_age: VecDeque::new(),
            deadline,
        }
    }

    /// Requests under way.
    pub fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Starts a request and returns its transaction id; `None` if the table is full.
    pub fn begin(&mut self, flight: Flight<T>) -> Option<u32> {
        let index = self.free.pop_front()?;
        let slot = &mut self.slots[index as usize];
        slot.generation = slot.generation.wrapping_add(1);
        let transaction = slot.generation << INDEX_BITS | index;
        self.by_age.push_back((transaction, flight.sent));
        slot.flight = Some(flight);
        Some(transaction)
    }

    /// Ends a request that was answered; `None` if it is unknown, already answered, or expired.
    pub fn finish(&mut self, transaction: u32) -> Option<Flight<T>> {
        let index = transaction & (MAX_FLIGHTS as u32 - 1);
        let slot = self.slots.get_mut(index as usize)?;
        if slot.generation << INDEX_BITS | index != transaction {
            return None;
        }
        let flight = slot.flight.take()?;
        self.free.push_back(index);
        Some(flight)
    }

    /// Removes one request whose deadline is over; to be called until none is left.
    pub fn expire(&mut self, now: Nanos) -> Option<Flight<T>> {
        while let Some(&(transaction, sent)) = self.by_age.front() {
            let slot = &self.slots[(transaction & (MAX_FLIGHTS as u32 - 1)) as usize];
            let alive = transaction >> INDEX_BITS == slot.generation & (u32::MAX >> INDEX_BITS)
                && slot.flight.as_ref().is_some_and(|flight| flight.sent == sent);
            if alive && now < sent + self.deadline {
                return None;
            }
            self.by_age.pop_front();
            if alive {
                return self.finish(transaction);
            }
        }
        None
    }

    /// When the oldest request will expire.
    pub fn next_expiry(&self) -> Option<Nanos> {
        self.by_age.front().map(|(_, sent)| sent + self.deadline)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flight(job: u32, sent: Nanos) -> Flight<u32> {
        Flight { job, source: 0, intended: sent, sent }
    }

    #[test]
    fn each_answer_matches_one_request() {
        let mut flights = Flights::new(2, 10);
        let (a, b) = (flights.begin(flight(1, 0)).unwrap(), flights.begin(flight(2, 1)).unwrap());
        assert_eq!(flights.begin(flight(3, 2)), None, "full");
        assert_eq!(flights.finish(b).map(|f| f.job), Some(2));
        assert_eq!(flights.finish(b), None, "a duplicate answer");
        let c = flights.begin(flight(3, 3)).unwrap();
        assert_ne!(c, b, "a new generation");
        assert_eq!(flights.finish(b), None, "a late answer does not end the slot's new request");
        assert_eq!(flights.finish(a).map(|f| f.job), Some(1));
        assert_eq!(flights.len(), 1);
    }

    #[test]
    fn unanswered_requests_expire_in_order_and_only_when_due() {
        let mut flights = Flights::new(4, 10);
        let ids: Vec<u32> = (0..4).map(|i| flights.begin(flight(i, u64::from(i))).unwrap()).collect();
        flights.finish(ids[1]).unwrap();
        assert_eq!(flights.expire(9), None);
        assert_eq!(flights.expire(12).map(|f| f.job), Some(0));
        assert_eq!(flights.expire(12).map(|f| f.job), Some(2), "1 was answered");
        assert_eq!(flights.expire(12), None);
        assert_eq!(flights.finish(ids[0]), None, "too late");
        assert_eq!(flights.next_expiry(), Some(13));
    }
}
