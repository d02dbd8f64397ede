//! A client that says which trace its announce belongs to.

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::client::{Announce, Client, Reply};

/// The span of the client.
#[derive(Clone, Copy, Debug)]
pub struct Caller {
    pub trace: [u8; 16],
    pub span: [u8; 8],
}

impl Caller {
    /// One that nobody else has.
    pub fn new() -> Self {
        Self { trace: rand::random(), span: rand::random() }
    }

    /// As W3C has it.
    pub fn traceparent(&self) -> String {
        format!("00-{}-{}-01", hex::encode(self.trace), hex::encode(self.span))
    }
}

/// Announces by UDP with the trace in the URL data (BEP 41), cut in two as a long URL is.
pub fn udp(client: &Client, announce: &Announce, caller: &Caller) -> Reply {
    let mut bytes = announce.bytes(client.id, 0x0102_0304);
    let url = format!("/announce?traceparent={}", caller.traceparent());
    for piece in url.as_bytes().chunks(40) {
        bytes.extend([2, piece.len() as u8]);
        bytes.extend(piece);
    }
    client.announce_bytes(&bytes)
}

/// Announces by HTTP with the trace in a header. Returns the body.
pub fn http(tracker: SocketAddr, announce: &Announce, caller: &Caller) -> Vec<u8> {
    let mut path = String::from("/announce?info_hash=");
    announce.info_hash.iter().for_each(|byte| write!(path, "%{byte:02x}").unwrap());
    write!(path, "&peer_id=-TR4060-0123456789ab&port={}&left=1&compact=1", announce.port).unwrap();
    let mut stream = TcpStream::connect_timeout(&tracker, Duration::from_secs(2)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let traceparent = caller.traceparent();
    write!(stream, "GET {path} HTTP/1.1\r\nhost: t\r\ntraceparent: {traceparent}\r\nconnection: close\r\n\r\n")
        .unwrap();
    let mut reply = Vec::new();
    stream.read_to_end(&mut reply).unwrap();
    let end = reply.windows(4).position(|window| window == b"\r\n\r\n").expect("a head");
    reply.split_off(end + 4)
}
