use proptest::prelude::*;

use super::*;
use crate::swarm::{V4, V6};

fn record<F: AddressFamily>(stamp: u64, age: u16, key: u8, now: Second) -> Record<F> {
    let key = F::key_from(&vec![key; F::FAMILY.stride()]).unwrap();
    Record { stamp: Stamp::from_bits(stamp), seen: now.minus(age), key }
}

proptest! {
    #[test]
    fn arbitrary_bytes_are_read_or_refused(bytes in prop::collection::vec(prop_oneof![Just(4u8), Just(6), Just(0), any::<u8>()], 0..400)) {
        let mut read = 0;
        let mut whole = RecordBatch::default();
        for part in swarms(&bytes) {
            let Ok(part) = part else { break };
            let records = part.records::<V4>().count() + part.records::<V6>().count();
            prop_assert_eq!(records, part.len());
            read += HEAD + part.records.len();
            whole.push_swarm(&part);
        }
        prop_assert_eq!(whole.bytes(), &bytes[..read]);
        prop_assert_eq!(check(&bytes).ok(), (read == bytes.len()).then_some(whole.records));
    }

    #[test]
    fn truncated_bytes_are_refused(cut in 1usize..100) {
        let (now, mut batch) = (Second::new(9), RecordBatch::default());
        batch.push(&InfoHash([1; 20]), 7, &[record::<V6>(5, 3, 1, now), record(6, 4, 2, now)], now);
        let bytes = batch.bytes();
        prop_assume!(cut < bytes.len());
        prop_assert_eq!(check(&bytes[..cut]), Err(Malformed));
        prop_assert_eq!(swarms(&bytes[..cut]).count(), 1, "nothing follows the error");
    }

    #[test]
    fn what_is_written_is_read(records in prop::collection::vec((0u8..3, any::<bool>(), any::<u64>(), 0u16..3_000, any::<u8>()), 0..60)) {
        let (now, mut batch) = (Second::new(70_000), RecordBatch::default());
        for (swarm, v6, stamp, age, key) in &records {
            match v6 {
                false => batch.push_one(&InfoHash([*swarm; 20]), &record::<V4>(*stamp, *age, *key, now), now),
                true => batch.push_one(&InfoHash([*swarm; 20]), &record::<V6>(*stamp, *age, *key, now), now),
            }
        }
        let runs = records.chunk_by(|a, b| (a.0, a.1) == (b.0, b.1)).count();
        prop_assert_eq!((batch.records, batch.entries), (records.len(), runs));
        let mut read = Vec::new();
        for part in swarms(batch.bytes()) {
            let part = part.unwrap();
            prop_assert_eq!(part.completed, 0);
            let swarm = part.info_hash.0[0];
            read.extend(part.records::<V4>().map(|it| (swarm, false, it.stamp.to_bits(), it.age, it.key[5])));
            read.extend(part.records::<V6>().map(|it| (swarm, true, it.stamp.to_bits(), it.age, it.key[17])));
        }
        prop_assert_eq!(read, records);
    }
}

#[test]
fn the_bytes_are_those_of_version_1() {
    let (now, mut batch) = (Second::new(300), RecordBatch::after(vec![0xAA]));
    batch.push(&InfoHash([9; 20]), 0x0102, &[record::<V4>(0x1122_3344, 258, 7, now)], now);
    assert!(!batch.is_empty());
    let expected = [
        &[0xAA, 4][..],
        &[9; 20],
        &[2, 1, 0, 0],
        &[1, 0, 0, 0],
        &[0x44, 0x33, 0x22, 0x11, 0, 0, 0, 0],
        &[2, 1],
        &[7; 6],
    ];
    assert_eq!(batch.into_bytes(), expected.concat());
}

#[test]
fn an_entry_of_changes_is_not_extended_after_another_entry() {
    let (now, mut batch) = (Second::new(300), RecordBatch::default());
    let swarm = InfoHash([9; 20]);
    batch.push(&swarm, 5, &[record::<V4>(1, 0, 1, now)], now);
    batch.push_one(&swarm, &record::<V4>(2, 0, 2, now), now);
    batch.push(&swarm, 5, &[record::<V4>(3, 0, 3, now)], now);
    batch.push_one(&swarm, &record::<V4>(4, 0, 4, now), now);
    batch.push_one(&swarm, &record::<V4>(5, 0, 5, now), now);
    let lengths: Vec<_> = swarms(batch.bytes()).map(|part| part.unwrap()).map(|it| (it.completed, it.len())).collect();
    assert_eq!(lengths, [(5, 1), (0, 1), (5, 1), (0, 2)]);
}
