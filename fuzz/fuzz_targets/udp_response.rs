//! Whatever a client receives by UDP: no panic, and nothing is lost between the datagram and the lists.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidings::swarm::Family;
use tidings::wire::udp::{Response, parse_response};

fuzz_target!(|datagram: &[u8]| {
    for family in [Family::V4, Family::V6] {
        match parse_response(datagram, family) {
            Ok(Response::Announce { peers, .. }) => {
                assert_eq!(20 + peers.iter().count() * family.stride(), datagram.len());
            }
            Ok(Response::Scrape { entries, .. }) => assert_eq!(8 + entries.iter().count() * 12, datagram.len()),
            Ok(Response::Connect { .. } | Response::Error { .. }) | Err(_) => {}
        }
    }
});
