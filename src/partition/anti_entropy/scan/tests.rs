use proptest::prelude::*;

use super::*;

fn info_hash() -> impl Strategy<Value = InfoHash> {
    any::<[u8; 20]>().prop_map(InfoHash)
}

proptest! {
    #[test]
    fn a_cursor_survives_its_bytes(v6: bool, info_hash in info_hash(), from: u32, completed: u32) {
        let family = if v6 { Family::V6 } else { Family::V4 };
        for at in [Position::Start, Position::After(info_hash), Position::Inside { info_hash, from, completed }] {
            let cursor = ScanCursor { family, at };
            prop_assert_eq!(ScanCursor::from_bytes(&cursor.to_bytes()), Some(cursor));
        }
    }

    #[test]
    fn any_bytes_are_a_cursor_or_refused(bytes in prop::collection::vec(prop_oneof![Just(6u8), Just(18), any::<u8>()], 0..40)) {
        if let Some(cursor) = ScanCursor::from_bytes(&bytes) {
            prop_assert!(bytes.is_empty() || cursor.to_bytes() == bytes);
        }
    }

    #[test]
    fn stretches_cover_exactly_the_wanted_buckets(buckets: u64, width in 1u64 << 22..1 << 34, hash: u64) {
        let (mut next, mut found) = (Some(0), 0);
        while let Some(from) = next && let Some((stretch, stripes)) = stretch(buckets, from, width) {
            prop_assert!(*stretch.start() >= from && !stretch.is_empty());
            found += u32::from(stretch.contains(&scan_order(hash)) && stripes >> (hash >> 60) & 1 == 1);
            next = stretch.end().checked_add(1);
        }
        prop_assert_eq!(found, u32::from(buckets >> bucket(hash) & 1 == 1));
    }
}
