//! An HTTP client (BEP 3, 23, 48) that knows nothing of the tracker's code.

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// A reply: its head and its body.
pub struct Reply {
    pub head: String,
    pub body: Vec<u8>,
}

/// Announces a leecher at this port.
pub fn announce(tracker: SocketAddr, info_hash: &[u8; 20], port: u16, more: &str) -> Reply {
    let hash = escaped(info_hash);
    get(tracker, &format!("/announce?info_hash={hash}&peer_id=-TR4060-0123456789ab&port={port}&left=1&compact=1{more}"))
}

/// Seeders, completed and leechers of each; zeros for those that are not in the reply.
pub fn scrape(tracker: SocketAddr, info_hashes: &[[u8; 20]]) -> Vec<[u32; 3]> {
    let query: Vec<_> = info_hashes.iter().map(|hash| format!("info_hash={}", escaped(hash))).collect();
    let body = get(tracker, &format!("/scrape?{}", query.join("&"))).body;
    let counts = |hash: &[u8; 20]| {
        let key = [b"20:", &hash[..]].concat();
        let Some(at) = body.windows(23).position(|window| window == key) else { return [0; 3] };
        let entry = &body[at + 23..];
        [&b"8:completei"[..], b"10:downloadedi", b"10:incompletei"].map(|name| {
            let at = entry.windows(name.len()).position(|window| window == name).unwrap() + name.len();
            let digits: Vec<u8> = entry[at..].iter().copied().take_while(u8::is_ascii_digit).collect();
            String::from_utf8(digits).unwrap().parse().unwrap()
        })
    };
    info_hashes.iter().map(counts).collect()
}

fn escaped(info_hash: &[u8; 20]) -> String {
    info_hash.iter().fold(String::new(), |mut text, byte| {
        write!(text, "%{byte:02x}").unwrap();
        text
    })
}

fn get(tracker: SocketAddr, path: &str) -> Reply {
    let mut stream = TcpStream::connect_timeout(&tracker, Duration::from_secs(2)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nhost: tracker\r\nconnection: close\r\n\r\n").unwrap();
    let mut reply = Vec::new();
    stream.read_to_end(&mut reply).unwrap();
    let end = reply.windows(4).position(|window| window == b"\r\n\r\n").expect("a head");
    Reply { head: String::from_utf8_lossy(&reply[..end]).to_lowercase(), body: reply[end + 4..].to_vec() }
}

impl Reply {
    /// Whether the body holds these bytes.
    pub fn holds(&self, bytes: &[u8]) -> bool {
        self.body.windows(bytes.len()).any(|window| window == bytes)
    }
}
