use std::collections::BTreeSet;

use parking_lot::Mutex;
use proptest::prelude::*;

use super::*;
use crate::partition::anti_entropy::chunk::{MAX_CHUNK, chunk};
use crate::partition::anti_entropy::scan::ScanScope;
use crate::partition::record_codec;
use crate::partition::testing::*;
use crate::swarm::{AddressFamily, Event, InfoHash, Partition, PartitionCount, PeerAddr, V4, V6};

type Interference = dyn FnMut(&mut Node, &mut Node) + Send;

/// Two nodes, and what happens whenever one of them waits.
struct World {
    nodes: [Mutex<Node>; 2],
    budget: usize,
    interfere: Mutex<Box<Interference>>,
}

impl World {
    fn new(nodes: [Node; 2], budget: usize, interfere: impl FnMut(&mut Node, &mut Node) + Send + 'static) -> Self {
        Self { nodes: nodes.map(Mutex::new), budget, interfere: Mutex::new(Box::new(interfere)) }
    }

    fn quiet(nodes: [Node; 2]) -> Self {
        Self::new(nodes, 50, |_, _| {})
    }

    fn interleave(&self) {
        let [a, b] = &self.nodes;
        (self.interfere.lock())(&mut a.lock(), &mut b.lock());
    }

    fn pull(&self, from: usize, to: usize) -> Result<Pulled, PullError> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(pull(&End(self, from), &End(self, to), Partition(0), PullOptions::new(TTL)))
    }
}

struct End<'a>(&'a World, usize);

impl RemoteCopy for End<'_> {
    async fn digest(&self, partition: Partition, window: Window) -> Result<Vec<u64>, PullError> {
        self.0.interleave();
        Ok(self.0.nodes[self.1].lock().digest(partition, window, self.0.budget))
    }

    async fn fetch(&self, partition: Partition, buckets: u64, cursor: Vec<u8>) -> Result<Chunk, PullError> {
        self.0.interleave();
        let node = self.0.nodes[self.1].lock();
        let scope = ScanScope { partition, buckets, budget: self.0.budget };
        let chunk = chunk(&node.partitions, node.now, &cursor, scope).map_err(|_| Refusal::Malformed)?;
        assert!(record_codec::check(&chunk.batch).unwrap() <= self.0.budget);
        assert!(chunk.batch.len() <= self.0.budget * 57);
        Ok(chunk)
    }
}

impl LocalCopy for End<'_> {
    async fn digest(&self, partition: Partition, window: Window) -> Result<Vec<u64>, PullError> {
        RemoteCopy::digest(self, partition, window).await
    }

    async fn merge(&self, batch: Vec<u8>, waited: u32) -> Result<MergeCounts, PullError> {
        Ok(self.0.nodes[self.1].lock().merge_chunk(&batch, waited))
    }

    fn now(&self) -> Now {
        self.0.nodes[self.1].lock().now
    }

    async fn pause(&self, _: Duration) {
        self.0.interleave();
    }
}

fn window(node: &Node) -> Window {
    let options = PullOptions::new(TTL);
    Window::at(node.now.wall_millis, TTL, options.lag, options.margin)
}

fn events() -> impl Strategy<Value = Event> {
    prop::sample::select(vec![
        Event::None,
        Event::None,
        Event::Started,
        Event::Completed,
        Event::Stopped,
        Event::Paused,
    ])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn pulls_both_ways_make_equal_copies(
        announces in prop::collection::vec(
            (0usize..2, any::<bool>(), 0u32..30, 0u32..200, events(), any::<bool>(), 0u64..30_000, any::<bool>()), 0..400,
        ),
        skew in 0u64..5_000,
        budget in 1usize..200,
    ) {
        let mut nodes = [Node::new(PartitionCount::new(1), 5, WALL), Node::new(PartitionCount::new(1), 65_000, WALL + skew)];
        for (at, v6, swarm, number, event, seeder, millis, lost) in announces {
            nodes.iter_mut().for_each(|node| node.pass(millis));
            let swarm = if number > 60 { 0 } else { swarm };
            if let Some(delta) = nodes[at].announce(v6, swarm, number, event, seeder) && !lost {
                nodes[1 - at].merge_deltas(&delta, 0);
            }
        }
        // Until no change is in flight any more, by either clock.
        nodes.iter_mut().for_each(|node| node.pass(9_000));
        let world = World::new(nodes, budget, |_, _| {});
        let first = world.pull(0, 1).unwrap();
        let second = world.pull(1, 0).unwrap();
        prop_assert!(second.in_sync, "{first:?} {second:?}");
        let third = world.pull(0, 1).unwrap();
        prop_assert_eq!((third.in_sync, third.merged.changed), (true, 0));
        let [a, b] = world.nodes.each_ref().map(Mutex::lock);
        // What was in both windows, as the clocks differ.
        let window = Window { from: window(&b).from, to: window(&a).to };
        prop_assert_eq!(a.digest(Partition(0), window, 77), b.digest(Partition(0), window, 78));
        prop_assert_eq!(a.contents(window), b.contents(window));
    }

    #[test]
    fn a_copy_contains_everything_that_stays_throughout(
        stays in prop::collection::btree_set((any::<bool>(), 0u32..80, 0u32..3), 1..150),
        large in 0u32..400,
        changes in prop::collection::vec((any::<bool>(), 0u32..80, 3u32..9, any::<bool>()), 1..200),
        budget in 1usize..60,
    ) {
        let mut node = Node::new(PartitionCount::new(1), 5, WALL);
        for swarm in 0..300 {
            node.announce(swarm % 2 == 0, 1_000 + swarm, 1, Event::None, false);
            node.pass(700);
        }
        node.pass(u64::from(TTL) * 1_000 - 210_000);
        for (v6, swarm, number) in &stays {
            node.announce(*v6, *swarm, *number, Event::None, false);
        }
        (0..large).for_each(|number| _ = node.announce(false, 7, 1_000 + number, Event::None, number % 3 == 0));
        let mut changes = changes.into_iter().cycle();
        let (mut found, mut cursor, mut chunks) = (BTreeSet::<(InfoHash, PeerAddr)>::new(), Vec::new(), 0);
        loop {
            let scope = ScanScope { partition: Partition(0), buckets: u64::MAX, budget };
            let Chunk { batch, next } = chunk(&node.partitions, node.now, &cursor, scope).unwrap();
            for swarm in record_codec::swarms(&batch).map(Result::unwrap) {
                found.extend(swarm.records::<V4>().map(|it| (swarm.info_hash, V4::peer(it.key))));
                found.extend(swarm.records::<V6>().map(|it| (swarm.info_hash, V6::peer(it.key))));
            }
            if next.is_empty() {
                break;
            }
            prop_assert_ne!(&cursor, &next);
            cursor = next;
            chunks += 1;
            prop_assert!(chunks < 5_000);
            for (v6, swarm, number, comes) in changes.by_ref().take(3) {
                // Swarms come, others go, and peers change their class within the large one.
                node.announce(v6, 100 + swarm, number, Event::None, false);
                node.pass(700);
                node.partitions.v4.sweep(50, node.second());
                node.partitions.v6.sweep(50, node.second());
                node.announce(false, 7, 1_000 + (swarm * 5) % large.max(1), Event::None, comes);
            }
        }
        for (v6, swarm, number) in stays {
            prop_assert!(found.contains(&(info_hash(swarm), peer(v6, number))));
        }
        for number in 0..large {
            prop_assert!(found.contains(&(info_hash(7), peer(false, 1_000 + number))), "{number} of {large}");
        }
    }
}

#[test]
fn an_empty_copy_is_filled_and_equal_buckets_are_not_fetched() {
    let mut full = Node::new(PartitionCount::new(1), 5, WALL);
    (0..20_000u32)
        .for_each(|number| _ = full.announce(number % 5 == 0, number % 3_000, number, Event::None, number % 4 == 0));
    (0..20_000u32).for_each(|number| _ = full.announce(false, 9_999, number, Event::Started, false));
    full.pass(5_000);
    let (count, empty) = (
        full.contents(Window { from: 0, to: u64::MAX }).0.len() as u64,
        Node::new(PartitionCount::new(1), 60_000, full.now.wall_millis),
    );
    let mut world = World::quiet([full, empty]);
    world.budget = MAX_CHUNK;
    let pulled = world.pull(0, 1).unwrap();
    assert!(pulled.in_sync);
    assert_eq!((pulled.rounds, pulled.buckets_differed), (1, 64));
    assert_eq!((pulled.merged.kept, pulled.merged.changed), (count, count));
    assert!(pulled.chunks < 20, "{} chunks", pulled.chunks);

    // One swarm in which a peer was lost: only its bucket comes again.
    world.nodes[0].get_mut().announce(false, 77, 123_456, Event::Started, false);
    world.nodes.iter_mut().for_each(|node| node.get_mut().pass(5_000));
    let again = world.pull(0, 1).unwrap();
    assert_eq!((again.in_sync, again.buckets_differed, again.buckets_left, again.merged.changed), (true, 1, 0, 1));
    assert!(again.bytes < pulled.bytes / 4, "{} of {} bytes", again.bytes, pulled.bytes);
    // There is nothing to fetch in the other direction.
    assert_eq!(world.pull(1, 0).unwrap().bytes, 0);
}

#[test]
fn a_joiner_gets_in_sync_while_swarms_change() {
    let mut full = Node::new(PartitionCount::new(1), 5, WALL);
    for number in 0..10_000u32 {
        full.announce(number % 5 == 0, number % 1_000, number, Event::None, false);
    }
    full.pass(5_000);
    let joiner = Node::new(PartitionCount::new(1), 60_000, full.now.wall_millis);
    // Whenever a node waits, peers come, change and go, and the joiner gets the deltas 100 ms later.
    let (mut number, mut late) = (0u32, Vec::new());
    let world = World::new([full, joiner], 500, move |full, joiner| {
        late.drain(..).for_each(|delta: Vec<u8>| _ = joiner.merge_deltas(&delta, 1));
        [&mut *full, &mut *joiner].into_iter().for_each(|node| node.pass(100));
        for _ in 0..3 {
            number += 1;
            let event = [Event::Started, Event::Completed, Event::Stopped][number as usize % 3];
            late.extend(full.announce(false, number * 7 % 1_000, number * 13 % 12_000, event, number % 2 == 0));
        }
    });
    let pulled = world.pull(0, 1).unwrap();
    assert!(pulled.in_sync, "{pulled:?}");
    let [a, b] = world.nodes.each_ref().map(Mutex::lock);
    // What was in flight at the end is not there yet; all that is older is.
    let window = Window { from: 0, to: a.now.wall_millis - 1_000 };
    let (ours, theirs) = (a.contents(window).0, b.contents(window).0);
    let missing = ours.iter().filter(|(key, stamp)| theirs.get(key) != Some(stamp)).count();
    assert_eq!(missing, 0);
}

#[test]
fn a_malformed_answer_ends_the_pull() {
    struct Wrong(u8);
    impl RemoteCopy for Wrong {
        async fn digest(&self, _: Partition, _: Window) -> Result<Vec<u64>, PullError> {
            match self.0 {
                0 => Ok(vec![1; 63]),
                1 => Err(Refusal::NotHeld.into()),
                _ => Ok(vec![1; 64]),
            }
        }

        async fn fetch(&self, _: Partition, _: u64, cursor: Vec<u8>) -> Result<Chunk, PullError> {
            match self.0 {
                // Never an end.
                2 => Ok(Chunk { batch: Vec::new(), next: vec![6] }),
                _ => Ok(Chunk { batch: Vec::new(), next: cursor }),
            }
        }
    }
    let world = World::quiet([Node::new(PartitionCount::new(1), 5, WALL), Node::new(PartitionCount::new(1), 5, WALL)]);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let options = PullOptions::new(TTL);
    let expected = [PullError::Malformed, PullError::Refused(Refusal::NotHeld), PullError::Malformed];
    for (wrong, error) in expected.into_iter().enumerate() {
        let result = runtime.block_on(pull(&Wrong(wrong as u8), &End(&world, 0), Partition(0), options));
        assert_eq!(result, Err(error));
    }
    // One that differs and has nothing to send.
    let result = runtime.block_on(pull(&Wrong(3), &End(&world, 0), Partition(0), options)).unwrap();
    assert_eq!((result.in_sync, result.buckets_left, result.rounds, result.chunks), (true, 64, 1, 1));
}

#[test]
fn a_copy_that_has_more_than_the_other_counts_as_in_sync() {
    let (mut less, mut more) = (Node::new(PartitionCount::new(1), 5, WALL), Node::new(PartitionCount::new(1), 9, WALL));
    for number in 0..500 {
        let delta = less.announce(false, number, number, Event::Started, false).unwrap();
        if number != 7 {
            more.merge_deltas(&delta, 0);
        }
    }
    // As if it had died before the delta left, and come back with its snapshot.
    more.announce(false, 1_000, 1, Event::Started, false);
    more.announce(false, 3, 3, Event::Completed, true);
    [&mut less, &mut more].into_iter().for_each(|node| node.pass(5_000));
    let world = World::quiet([less, more]);
    let pulled = world.pull(0, 1).unwrap();
    assert_eq!((pulled.in_sync, pulled.buckets_left, pulled.merged.changed, pulled.rounds), (true, 2, 1, 2));
    let back = world.pull(1, 0).unwrap();
    assert_eq!((back.in_sync, back.buckets_differed, back.buckets_left, back.merged.changed), (true, 2, 0, 2));
}

#[test]
fn a_completion_while_a_large_swarm_is_copied_is_counted_once() {
    let (mut from, mut to) =
        (Node::new(PartitionCount::new(1), 5, WALL), Node::new(PartitionCount::new(1), 60_000, WALL));
    (0..1_000).for_each(|number| _ = from.announce(false, 0, number, Event::Started, false));
    let (mut cursor, mut deltas, mut number) = (Vec::new(), Vec::new(), 0);
    loop {
        let scope = ScanScope { partition: Partition(0), buckets: u64::MAX, budget: 100 };
        let Chunk { batch, next } = chunk(&from.partitions, from.now, &cursor, scope).unwrap();
        to.merge_chunk(&batch, 0);
        assert!(to.counts(0).completed <= from.counts(0).completed);
        if next.is_empty() {
            break;
        }
        cursor = next;
        // Peers on both sides of the walk complete; their deltas come after the copy, or soon.
        for _ in 0..50 {
            let delta = from.announce(false, 0, number, Event::Completed, true).unwrap();
            if number % 2 == 0 {
                to.merge_deltas(&delta, 0).clear()
            } else {
                deltas.push(delta)
            }
            number += 1;
        }
        assert!(to.counts(0).completed <= from.counts(0).completed);
    }
    assert!(number > 400);
    for delta in deltas {
        to.merge_deltas(&delta, 0);
        assert!(to.counts(0).completed <= from.counts(0).completed);
    }
    // Now all records are equal, and so are the counts, or the digests show it.
    [&mut from, &mut to].into_iter().for_each(|node| node.pass(5_000));
    let world = World::quiet([from, to]);
    assert!(world.pull(0, 1).unwrap().in_sync);
    let [from, to] = world.nodes.map(Mutex::into_inner);
    assert_eq!(to.counts(0), from.counts(0));
}
