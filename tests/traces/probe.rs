//! Announces that carry a trace context.

use std::net::SocketAddr;

use tidings::testkit::http;
use tidings::testkit::udp_client::{Announce, Client, Reply};

/// The client's span.
#[derive(Clone, Copy, Debug)]
pub struct Caller {
    pub trace: [u8; 16],
    pub span: [u8; 8],
}

impl Caller {
    /// A random one.
    pub fn new() -> Self {
        Self { trace: rand::random(), span: rand::random() }
    }

    /// The header of W3C Trace Context.
    pub fn traceparent(&self) -> String {
        format!("00-{}-{}-01", hex::encode(self.trace), hex::encode(self.span))
    }
}

/// Announces by UDP with the trace context in the URL data (BEP 41), cut in pieces as a long URL is.
pub fn udp(client: &Client, announce: &Announce, caller: &Caller) -> Reply {
    let mut bytes = announce.bytes(client.id, 0x0102_0304);
    let url = format!("/announce?traceparent={}", caller.traceparent());
    for piece in url.as_bytes().chunks(40) {
        bytes.extend([2, piece.len() as u8]);
        bytes.extend(piece);
    }
    client.announce_bytes(&bytes)
}

/// Announces by HTTP with the trace context in a header, and returns the body.
pub fn http(tracker: SocketAddr, announce: &Announce, caller: &Caller) -> Vec<u8> {
    let target = http::announce_target(&announce.info_hash, announce.port, "");
    http::get_with(tracker, &target, &format!("traceparent: {}\r\n", caller.traceparent())).body
}
