//! A strict parser of HTTP response bodies (BEP 3, 7, 23, 48).

use std::borrow::Cow;

use crate::swarm::{Counts, Family};
use crate::wire::bencode::{self, Value};
use crate::wire::udp::Peers;

/// The answer to an announce.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announced<'a> {
    /// Seconds until the next announce.
    pub interval: u32,
    /// The shortest time until then, in seconds, if given.
    pub min_interval: Option<u32>,
    pub seeders: Option<u32>,
    pub leechers: Option<u32>,
    /// IPv4 peers; `None` without the key.
    pub peers: Option<Peers<'a>>,
    /// IPv6 peers (BEP 7); `None` without the key.
    pub peers6: Option<Peers<'a>>,
    /// The warning message.
    pub warning: Option<Cow<'a, str>>,
    /// Whether the tracker marks the answer as possibly out of date.
    pub stale: bool,
}

/// Why a body is rejected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplyError {
    /// Not canonical bencode, or followed by other bytes.
    #[error("not canonical bencode: {0}")]
    Bencode(#[from] bencode::Error),
    /// The failure reason of the tracker.
    #[error("refused: {0}")]
    Refused(String),
    #[error("{0} is missing")]
    Missing(&'static str),
    /// Not a number from 0 to 2^32 - 1.
    #[error("{0} is not a count")]
    NoCount(&'static str),
    #[error("{0} is not a string")]
    NoString(&'static str),
    #[error("{0} is not a string, although the request said compact=1")]
    NotCompact(&'static str),
    /// The last peer is truncated.
    #[error("{key} has {len} bytes, which is not a multiple of {stride}")]
    Stride { key: &'static str, len: usize, stride: usize },
    #[error("files has a key of {0} bytes, which is not an info hash")]
    NoInfoHash(usize),
}

/// Reads the answer to an announce with `compact=1`.
///
/// # Errors
/// See [`ReplyError`].
pub fn read_announce(body: &[u8]) -> Result<Announced<'_>, ReplyError> {
    let reply = accepted(body)?;
    let warning = match reply.get("warning message") {
        Some(text) => Some(String::from_utf8_lossy(text.as_bytes().ok_or(ReplyError::NoString("warning message"))?)),
        None => None,
    };
    let optional = |key| reply.get(key).is_some().then(|| count(&reply, key)).transpose();
    Ok(Announced {
        interval: count(&reply, "interval")?,
        min_interval: optional("min interval")?,
        seeders: optional("complete")?,
        leechers: optional("incomplete")?,
        peers: compact(&reply, "peers", Family::V4)?,
        peers6: compact(&reply, "peers6", Family::V6)?,
        warning,
        stale: optional("tracker stale")?.is_some_and(|stale| stale != 0),
    })
}

/// Reads the answer to a scrape: info hashes in ascending order, and their counts. The keys that BEP 48 requires must be
/// present.
///
/// # Errors
/// See [`ReplyError`].
pub fn read_scrape(body: &[u8]) -> Result<Vec<([u8; 20], Counts)>, ReplyError> {
    let reply = accepted(body)?;
    let Some(Value::Dict(files)) = reply.get("files") else { return Err(ReplyError::Missing("files")) };
    let read = |(key, file): &(&[u8], Value<'_>)| {
        let info_hash = (*key).try_into().map_err(|_| ReplyError::NoInfoHash(key.len()))?;
        let counts = Counts {
            seeders: count(file, "complete")?,
            leechers: count(file, "incomplete")?,
            completed: count(file, "downloaded")?,
            partial_seeds: 0,
        };
        Ok((info_hash, counts))
    };
    files.iter().map(read).collect()
}

/// Parses a body that has no failure reason.
fn accepted(body: &[u8]) -> Result<Value<'_>, ReplyError> {
    let reply = bencode::parse(body)?;
    match reply.get("failure reason") {
        None => Ok(reply),
        Some(reason) => {
            let reason = reason.as_bytes().ok_or(ReplyError::NoString("failure reason"))?;
            Err(ReplyError::Refused(String::from_utf8_lossy(reason).into_owned()))
        }
    }
}

fn count(value: &Value<'_>, key: &'static str) -> Result<u32, ReplyError> {
    let int = value.get(key).ok_or(ReplyError::Missing(key))?;
    int.as_int().and_then(|int| u32::try_from(int).ok()).ok_or(ReplyError::NoCount(key))
}

fn compact<'a>(reply: &Value<'a>, key: &'static str, family: Family) -> Result<Option<Peers<'a>>, ReplyError> {
    let Some(value) = reply.get(key) else { return Ok(None) };
    let bytes = value.as_bytes().ok_or(ReplyError::NotCompact(key))?;
    let stride = family.stride();
    Peers::from_compact(family, bytes).map(Some).ok_or(ReplyError::Stride { key, len: bytes.len(), stride })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_announce_is_parsed_completely() {
        let body =
            b"d8:completei1e10:incompletei2e8:intervali1800e12:min intervali900e5:peers6:\x7f\x01\x02\x03\x1a\xe1\
            13:tracker stalei1e15:warning message4:slowe";
        let reply = read_announce(body).unwrap();
        assert_eq!((reply.interval, reply.min_interval), (1800, Some(900)));
        assert_eq!((reply.seeders, reply.leechers), (Some(1), Some(2)));
        assert_eq!((reply.peers.map(|peers| peers.len()), reply.peers6), (Some(1), None));
        assert_eq!((reply.warning.as_deref(), reply.stale), (Some("slow"), true));
    }

    #[test]
    fn every_key_of_an_announce_is_checked() {
        for (bad, text) in [
            (&b"d5:peers0:e"[..], "interval is missing"),
            (b"d8:intervali-1e5:peers0:e", "interval is not a count"),
            (b"d8:completei-1e8:intervali9ee", "complete is not a count"),
            (b"d8:intervali9e5:peers5:12345e", "5 bytes"),
            (b"d8:intervali9e6:peers66:123456e", "peers6 has 6 bytes"),
            (b"d8:intervali9e5:peerslee", "compact=1"),
            (b"d8:intervali9e15:warning messagei1ee", "warning message is not a string"),
            (b"d14:failure reason2:noe", "refused: no"),
            (b"d14:failure reasoni1ee", "failure reason is not a string"),
            (b"d5:peers0:8:intervali9ee", "not canonical bencode"),
            (b"d8:intervali9e5:peers0:e\n", "1 bytes are left"),
            (b"<html>", "not canonical bencode"),
        ] {
            let error = read_announce(bad).unwrap_err().to_string();
            assert!(error.contains(text), "{error}");
        }
    }

    #[test]
    fn every_key_of_a_scrape_is_checked() {
        let good = b"d5:filesd20:aaaaaaaaaaaaaaaaaaaad8:completei1e10:downloadedi2e10:incompletei3eeee";
        let counts = Counts { seeders: 1, completed: 2, leechers: 3, partial_seeds: 0 };
        assert_eq!(read_scrape(good).unwrap(), [([b'a'; 20], counts)]);
        for (bad, text) in [
            (&b"de"[..], "files is missing"),
            (b"d5:filesd3:aaadeee", "3 bytes"),
            (b"d5:filesd20:aaaaaaaaaaaaaaaaaaaadeee", "complete is missing"),
            (b"d14:failure reason2:noe", "refused: no"),
        ] {
            let error = read_scrape(bad).unwrap_err().to_string();
            assert!(error.contains(text), "{error}");
        }
    }
}
