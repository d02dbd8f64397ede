//! Whatever a tracker receives by UDP: no panic, no error reply longer than the request, and what is read and written
//! again reads the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidings::wire::udp::{
    ParseError, Request, encode_announce, encode_connect, encode_scrape, parse_request, write_error,
};

fuzz_target!(|datagram: &[u8]| {
    let mut out = Vec::new();
    match parse_request(datagram) {
        Ok(request) => {
            match request {
                Request::Connect { transaction_id } => encode_connect(&mut out, transaction_id),
                Request::Announce(announce) => {
                    assert!(announce.options.url_data().flatten().count() <= datagram.len());
                    encode_announce(&mut out, &announce, &[0; 20]);
                }
                Request::Scrape { connection_id, transaction_id, info_hashes } => {
                    encode_scrape(&mut out, connection_id, transaction_id, info_hashes);
                }
            }
            assert_eq!(parse_request(&out), Ok(request));
        }
        Err(ParseError::Sendable { transaction_id, reason, .. }) => {
            write_error(&mut out, transaction_id, reason.message(), usize::MAX);
            assert!(out.len() <= datagram.len());
        }
        Err(ParseError::Unsendable(_)) => {}
    }
});
