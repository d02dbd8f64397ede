//! The requests of a client, whichever the transport, and how they are written for HTTP (BEP 3, 7, 23, 48).

use std::io::Write as _;

use crate::swarm::{Event, InfoHash};
use crate::wire::udp;

/// The parameters of an announce, whichever the transport.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AnnounceParams {
    pub info_hash: InfoHash,
    /// Tidings ignores it, and the key: a peer is its address and port.
    pub peer_id: [u8; 20],
    pub key: u32,
    pub event: Event,
    /// Bytes that the peer still has to download.
    pub left: i64,
    /// Peers to ask for; -1 for the tracker's default.
    pub num_want: i32,
    pub port: u16,
}

impl AnnounceParams {
    /// Appends the announce as a datagram.
    pub fn encode_udp(
        &self,
        out: &mut Vec<u8>,
        connection_id: udp::ConnectionId,
        transaction_id: udp::TransactionId,
        options: udp::Options<'_>,
    ) {
        let announce = udp::Announce {
            connection_id,
            transaction_id,
            info_hash: self.info_hash,
            event: self.event,
            left: self.left,
            key: self.key,
            num_want: self.num_want,
            port: self.port,
            options,
        };
        udp::encode_announce(out, &announce, &self.peer_id);
    }
}

/// Appends the target of an HTTP announce: `path`, which may have a query already, with the parameters.
pub fn announce_target(out: &mut Vec<u8>, path: &str, params: &AnnounceParams) {
    // Writing to a vector does not fail.
    let _ = write!(out, "{path}{}info_hash=", if path.contains('?') { '&' } else { '?' });
    percent_encode(out, &params.info_hash.0);
    out.extend_from_slice(b"&peer_id=");
    percent_encode(out, &params.peer_id);
    let _ = write!(
        out,
        "&port={}&uploaded=0&downloaded=0&left={}&compact=1&key={:08x}",
        params.port, params.left, params.key
    );
    if let Ok(num_want) = u32::try_from(params.num_want) {
        let _ = write!(out, "&numwant={num_want}");
    }
    out.extend_from_slice(match params.event {
        Event::Started => b"&event=started",
        Event::Completed => b"&event=completed",
        Event::Stopped => b"&event=stopped",
        Event::None | Event::Paused => b"",
    });
}

/// Appends the request target of an HTTP scrape. By convention (BEP 48) the last `/announce` of the announce URL's path becomes
/// `/scrape`; where there is none, `/scrape` is appended to the path.
pub fn scrape_target(out: &mut Vec<u8>, path: &str, info_hashes: impl IntoIterator<Item = InfoHash>) {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let (before, after) = path.rsplit_once("/announce").unwrap_or((path, ""));
    // Writing to a vector does not fail.
    let _ = write!(out, "{before}/scrape{after}");
    let mut separator = b'?';
    if !query.is_empty() {
        let _ = write!(out, "?{query}");
        separator = b'&';
    }
    for info_hash in info_hashes {
        out.push(separator);
        out.extend_from_slice(b"info_hash=");
        percent_encode(out, &info_hash.0);
        separator = b'&';
    }
}

/// The options of a UDP announce that carry this path and query of its URL (BEP 41).
pub fn url_data(path: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(path.len() + 2);
    for piece in path.as_bytes().chunks(255) {
        out.extend_from_slice(&[udp::URL_DATA, piece.len() as u8]);
        out.extend_from_slice(piece);
    }
    out
}

fn percent_encode(out: &mut Vec<u8>, bytes: &[u8]) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for byte in bytes {
        match byte {
            b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'-' | b'.' | b'_' | b'~' => out.push(*byte),
            _ => out.extend_from_slice(&[b'%', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::query::{AnnounceQuery, ScrapeQuery};

    const PARAMS: AnnounceParams = AnnounceParams {
        info_hash: InfoHash(*b"\x00\xff~ &?=%0123456789ab"),
        peer_id: *b"-TI0001-0123456789ab",
        key: 7,
        event: Event::Started,
        left: 1,
        num_want: 50,
        port: 6881,
    };

    fn target(write: impl Fn(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn an_announce_follows_the_query_of_the_url() {
        for (path, before) in [("/announce", "/announce?info_hash="), ("/announce?k=1", "/announce?k=1&info_hash=")] {
            let target = target(|out| announce_target(out, path, &PARAMS));
            assert!(target.starts_with(before), "{target}");
            let query = AnnounceQuery::parse(target.split_once('?').unwrap().1.as_bytes()).unwrap();
            assert_eq!((query.info_hash, query.port, query.event), (PARAMS.info_hash, 6881, Event::Started));
            assert_eq!((query.seeder, query.num_want, query.compact), (false, Some(50), true));
        }
    }

    #[test]
    fn the_scrape_url_follows_bep_48() {
        let hashes = [PARAMS.info_hash, InfoHash([1; 20])];
        for (path, before) in [
            ("/announce", "/scrape?info_hash="),
            ("/x/announce.php", "/x/scrape.php?info_hash="),
            ("/announce/announce?k=1", "/announce/scrape?k=1&info_hash="),
            ("/a", "/a/scrape?info_hash="),
        ] {
            let target = target(|out| scrape_target(out, path, hashes));
            assert!(target.starts_with(before), "{target}");
            let query = ScrapeQuery::parse(target.split_once('?').unwrap().1.as_bytes(), 10).unwrap();
            assert_eq!(query.info_hashes, hashes);
        }
    }

    #[test]
    fn a_long_url_takes_several_options() {
        let path = format!("/announce?k={}", "x".repeat(300));
        let options = url_data(&path);
        assert_eq!(options.len(), path.len() + 4);
        let joined: Vec<u8> = udp::Options::new(&options).url_data().flatten().copied().collect();
        assert_eq!(joined, path.as_bytes());
    }
}
