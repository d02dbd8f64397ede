use std::collections::HashSet;

use proptest::prelude::*;

use super::*;
use crate::clock::Now;

/// A clock that stands where it was set.
#[derive(Default)]
struct Hands(Mutex<Now>);

impl Clock for Hands {
    fn now(&self) -> Now {
        *self.0.lock()
    }
}

const WALL: u64 = 1_700_000_000_000;

fn at(wall_millis: u64) -> Arc<Hands> {
    Arc::new(Hands(Mutex::new(Now { uptime: Duration::ZERO, wall_millis })))
}

fn ring(keys: &[u8]) -> KeyRing {
    let text: Vec<_> = keys.iter().map(|key| hex::encode([*key; 32])).collect();
    KeyRing::parse(text.join("\n").as_bytes(), std::path::Path::new("keys")).unwrap()
}

fn seal(cluster: &str, keys: &[u8]) -> Seal {
    Seal::new(cluster, Arc::new(ArcSwap::from_pointee(ring(keys))), at(WALL))
}

fn from() -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1], 7071))
}

#[test]
fn what_one_node_seals_another_opens_once() {
    let (ours, theirs) = (seal("c", &[1]), seal("c", &[1]));
    let datagram = ours.seal(b"hello").unwrap();
    assert_eq!(theirs.open(&datagram, from()).unwrap(), b"hello");
    assert_eq!(theirs.open(&datagram, from()), Err(OpenError::Replayed));
    assert_eq!(ours.open(&datagram, from()), Err(OpenError::Own));
    assert_eq!(theirs.counts(), SealCounts { opened: 1, replayed: 1, ..Default::default() });
    assert!(ours.seal(&vec![0; MAX_PAYLOAD + 1]).is_none());
    assert_eq!(ours.seal(&vec![0; MAX_PAYLOAD]).unwrap().len(), MAX_DATAGRAM);
}

#[test]
fn the_layout_of_version_1_stays() {
    let keys = Arc::new(ArcSwap::from_pointee(ring(&[7])));
    let sender = Seal::with_session("tidings", keys, at(WALL), 0x0102_0304_0506_0708);
    let golden = "01090909090909090909090909090909090909090909090909\
                  bf70e18e79ac7e6af412083c687307eb2af3b6118f84f5e1c1e26b2fba569e63a6d8df45448dfedbf9d463e7c1fe";
    assert_eq!(hex::encode(sender.seal_with_nonce(b"gossip", [9; NONCE]).unwrap()), golden);
    let receiver = seal("tidings", &[7]);
    assert_eq!(receiver.open(&hex::decode(golden).unwrap(), from()).unwrap(), b"gossip");
}

#[test]
fn strangers_are_refused() {
    let ours = seal("c", &[1, 2]);
    for (cluster, keys) in [("c", &[3][..]), ("d", &[1]), ("", &[1]), ("c", &[3, 1])] {
        let datagram = seal(cluster, keys).seal(b"x").unwrap();
        assert_eq!(ours.open(&datagram, from()), Err(OpenError::BadKeyOrCluster), "{cluster} {keys:?}");
    }
    assert!(ours.open(&seal("c", &[2, 3]).seal(b"x").unwrap(), from()).is_ok(), "the second key opens");
}

#[test]
fn each_changed_bit_and_each_cut_is_noticed() {
    let (ours, theirs) = (seal("c", &[1]), seal("c", &[1]));
    let datagram = theirs.seal(b"hello").unwrap();
    for bit in 0..datagram.len() * 8 {
        let mut changed = datagram.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        assert!(ours.open(&changed, from()).is_err(), "bit {bit}");
    }
    for end in 0..datagram.len() {
        assert!(ours.open(&datagram[..end], from()).is_err(), "cut to {end}");
    }
    assert!(ours.open(&datagram, from()).is_ok(), "none of these used it up");
}

#[test]
fn what_was_sealed_at_another_time_is_refused() {
    let keys = Arc::new(ArcSwap::from_pointee(ring(&[1])));
    for (wall, taken) in
        [(WALL, true), (WALL - 600_000, true), (WALL + 600_000, true), (WALL - 601_000, false), (0, false)]
    {
        let datagram = Seal::new("c", keys.clone(), at(wall)).seal(b"x").unwrap();
        let opened = seal("c", &[1]).open(&datagram, from());
        assert_eq!(opened.is_ok(), taken, "{wall}");
        assert!(taken || matches!(opened, Err(OpenError::TooOld { .. })), "{wall}");
    }
    // Far in the future, and after a restart that forgot the senders.
    let datagram = Seal::new("c", keys, at(u64::MAX)).seal(b"x").unwrap();
    assert!(matches!(seal("c", &[1]).open(&datagram, from()), Err(OpenError::TooOld { .. })));
}

#[test]
fn keys_rotate_without_a_gap() {
    let keys = [(); 2].map(|()| Arc::new(ArcSwap::from_pointee(ring(&[1]))));
    let nodes = keys.clone().map(|keys| Seal::new("c", keys, at(WALL)));
    let talk = |when: &str| {
        for (sender, receiver) in [(0, 1), (1, 0)] {
            let datagram = nodes[sender].seal(b"x").unwrap();
            assert!(nodes[receiver].open(&datagram, from()).is_ok(), "{when}, {sender} to {receiver}");
        }
    };
    // Each step reaches the nodes one after the other.
    for step in [&[1, 2][..], &[2, 1], &[2]] {
        for node in &keys {
            node.store(Arc::new(ring(step)));
            talk(&format!("{step:?}"));
        }
    }
    let old = seal("c", &[1]).seal(b"x").unwrap();
    assert_eq!(nodes[0].open(&old, from()), Err(OpenError::BadKeyOrCluster));
}

#[test]
fn one_log_line_a_minute_for_each_reason() {
    let clock = at(WALL);
    let ours = Seal::new("c", Arc::new(ArcSwap::from_pointee(ring(&[1]))), clock.clone());
    let lines = Lines::default();
    tracing::subscriber::with_default(lines.clone(), || {
        for _ in 0..100 {
            let _ = ours.open(b"junk", from());
            let _ = ours.open(&[VERSION; 100], from());
        }
        assert_eq!(lines.count(), 2);
        clock.0.lock().uptime = LOG_EVERY - Duration::from_millis(1);
        let _ = ours.open(b"junk", from());
        assert_eq!(lines.count(), 2);
        clock.0.lock().uptime = LOG_EVERY;
        let _ = ours.open(b"junk", from());
        assert_eq!(lines.count(), 3);
    });
    assert_eq!(ours.counts(), SealCounts { malformed: 102, bad_key_or_cluster: 100, ..Default::default() });
}

/// Counts log lines.
#[derive(Clone, Default)]
struct Lines(Arc<AtomicU64>);

impl Lines {
    fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl tracing::Subscriber for Lines {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }
    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }
    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn event(&self, _: &tracing::Event<'_>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}

proptest! {
    // Ciphers are slow without optimisation.
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn no_datagram_panics(mut datagram in prop::collection::vec(any::<u8>(), 0..200), versioned: bool) {
        if let (true, Some(first)) = (versioned, datagram.first_mut()) {
            *first = VERSION;
        }
        prop_assert!(seal("c", &[1]).open(&datagram, from()).is_err());
    }

    #[test]
    fn datagrams_in_any_order_are_each_taken_once(order in prop::collection::vec(0usize..50, 1..200)) {
        let (ours, theirs) = (seal("c", &[1]), seal("c", &[1]));
        let datagrams: Vec<_> = (0..50u8).map(|at| theirs.seal(&[at]).unwrap()).collect();
        let mut seen = HashSet::new();
        for at in order {
            let expected = if seen.insert(at) { Ok(vec![at as u8]) } else { Err(OpenError::Replayed) };
            prop_assert_eq!(ours.open(&datagrams[at], from()), expected);
        }
    }
}
