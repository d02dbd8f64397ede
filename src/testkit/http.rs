//! An HTTP client (BEP 3, 23, 48) that shares no code with the tracker.

use std::fmt::Write as _;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Only a reply that never comes takes this long.
const TIMEOUT: Duration = Duration::from_secs(60);

pub struct Reply {
    pub status: u16,
    /// The status line and the headers, in lower case.
    pub head: String,
    pub body: Vec<u8>,
}

/// Requests `target` on a connection of its own.
///
/// # Panics
///
/// If there is no reply.
#[track_caller]
pub fn get(addr: SocketAddr, target: &str) -> Reply {
    get_with(addr, target, "")
}

/// [`get`] with further header lines, each with its line end.
///
/// # Panics
///
/// If there is no reply.
#[track_caller]
pub fn get_with(addr: SocketAddr, target: &str, headers: &str) -> Reply {
    send(addr, &format!("GET {target}"), headers).unwrap_or_else(|error| panic!("GET {target} at {addr}: {error}"))
}

/// Sends a request that begins with this method and target.
pub fn send(addr: SocketAddr, request: &str, headers: &str) -> io::Result<Reply> {
    let mut stream = TcpStream::connect_timeout(&addr, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    write!(stream, "{request} HTTP/1.1\r\nhost: tracker\r\nconnection: close\r\n{headers}\r\n")?;
    let mut reply = Vec::new();
    stream.read_to_end(&mut reply)?;
    let end = reply.windows(4).position(|window| window == b"\r\n\r\n").ok_or(io::ErrorKind::UnexpectedEof)?;
    let head = String::from_utf8_lossy(&reply[..end]).to_lowercase();
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or(io::ErrorKind::InvalidData)?;
    Ok(Reply { status, head, body: reply.split_off(end + 4) })
}

impl Reply {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Whether these bytes are in the body.
    pub fn contains(&self, bytes: &[u8]) -> bool {
        self.body.windows(bytes.len()).any(|window| window == bytes)
    }
}

/// Announces a leecher at this port; `rest` continues the query.
#[track_caller]
pub fn announce(tracker: SocketAddr, info_hash: &[u8; 20], port: u16, rest: &str) -> Reply {
    get(tracker, &announce_target(info_hash, port, rest))
}

/// The request target of an announce.
pub fn announce_target(info_hash: &[u8; 20], port: u16, rest: &str) -> String {
    let hash = escaped(info_hash);
    format!("/announce?info_hash={hash}&peer_id=-TR4060-0123456789ab&port={port}&left=1&compact=1{rest}")
}

/// Seeders, completed and leechers of each swarm; zeros for those that are not in the reply.
pub fn scrape(tracker: SocketAddr, info_hashes: &[[u8; 20]]) -> Vec<[u32; 3]> {
    try_scrape(tracker, info_hashes).unwrap_or_else(|error| panic!("scrape at {tracker}: {error}"))
}

/// [`scrape`] at a tracker that may not be there.
pub fn try_scrape(tracker: SocketAddr, info_hashes: &[[u8; 20]]) -> io::Result<Vec<[u32; 3]>> {
    let query: Vec<_> = info_hashes.iter().map(|hash| format!("info_hash={}", escaped(hash))).collect();
    let body = send(tracker, &format!("GET /scrape?{}", query.join("&")), "")?.body;

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
    Ok(info_hashes.iter().map(counts).collect())
}

/// An info hash with all its bytes percent-encoded.
pub fn escaped(info_hash: &[u8; 20]) -> String {
    info_hash.iter().fold(String::new(), |mut text, byte| {
        write!(text, "%{byte:02x}").unwrap();
        text
    })
}
