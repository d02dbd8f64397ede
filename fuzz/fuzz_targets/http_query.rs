//! Whatever stands behind the `?` of an announce or a scrape: no panic, and the promises about ports and lengths hold.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidings::swarm::Event;
use tidings::wire::query::{AnnounceQuery, ScrapeQuery};

fuzz_target!(|query: &[u8]| {
    if let Ok(announce) = AnnounceQuery::parse(query) {
        assert!(announce.port != 0 || announce.event == Event::Stopped);
    }
    if let Ok(scrape) = ScrapeQuery::parse(query, 3) {
        assert!(scrape.info_hashes.len() <= 3);
    }
});
