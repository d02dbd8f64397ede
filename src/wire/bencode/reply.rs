//! Replies to HTTP announces and scrapes. Keys are written in sorted order, as clients insist on it.

use std::io::Write as _;
use std::net::IpAddr;

use super::{write_bytes, write_int};
use crate::swarm::{Counts, Family, InfoHash, PeerList};
use crate::wire::udp::Peers;

/// The longest text of an address: eight groups of four digits and the colons between them.
const MAX_IP_TEXT: usize = 8 * 4 + 7;

/// What an announce is answered with.
#[derive(Clone, Copy, Debug)]
pub struct AnnounceReply<'a> {
    /// The swarm after the announce.
    pub counts: Counts,
    /// Seconds until the next regular announce.
    pub interval: u32,
    /// Seconds before which the client should not announce again at all.
    pub min_interval: u32,
    /// The client's address as the tracker sees it (BEP 24).
    pub external_ip: Option<IpAddr>,
    /// Some of the swarm's peers.
    pub peers: &'a PeerList,
    /// Peers as one string (BEP 23, BEP 7) and not as a list of dictionaries.
    pub compact: bool,
    /// A text for the user; the announce has succeeded nevertheless.
    pub warning: Option<&'a str>,
    /// The reply may be out of date, which the key `tracker stale` says.
    pub stale: bool,
}

/// Appends the reply to an announce.
///
/// Dictionaries of peers hold `ip` and `port`, never `peer id`: a peer is known by its address alone, as its id differs
/// per connection, port and torrent. `peers` is always there, even if empty and the peers are in `peers6`, because
/// clients take a reply without it for a broken one.
pub fn write_announce(out: &mut Vec<u8>, reply: &AnnounceReply<'_>) {
    out.reserve(192 + reply.peers.compact.len());
    out.extend_from_slice(b"d8:complete");
    write_int(out, reply.counts.seeders);
    out.extend_from_slice(b"10:downloaded");
    write_int(out, reply.counts.completed);
    match reply.external_ip.map(|ip| ip.to_canonical()) {
        Some(IpAddr::V4(ip)) => {
            out.extend_from_slice(b"11:external ip");
            write_bytes(out, &ip.octets());
        }
        Some(IpAddr::V6(ip)) => {
            out.extend_from_slice(b"11:external ip");
            write_bytes(out, &ip.octets());
        }
        None => {}
    }
    out.extend_from_slice(b"10:incomplete");
    write_int(out, reply.counts.leechers);
    out.extend_from_slice(b"8:interval");
    write_int(out, reply.interval);
    out.extend_from_slice(b"12:min interval");
    write_int(out, reply.min_interval);
    out.extend_from_slice(b"5:peers");
    match (reply.compact, reply.peers.family) {
        (true, Family::V4) => write_bytes(out, &reply.peers.compact),
        (true, Family::V6) => {
            out.extend_from_slice(b"0:6:peers6");
            write_bytes(out, &reply.peers.compact);
        }
        (false, _) => write_peer_dictionaries(out, reply.peers),
    }
    if reply.stale {
        out.extend_from_slice(b"13:tracker stalei1e");
    }
    if let Some(warning) = reply.warning {
        out.extend_from_slice(b"15:warning message");
        write_bytes(out, warning.as_bytes());
    }
    out.push(b'e');
}

fn write_peer_dictionaries(out: &mut Vec<u8>, peers: &PeerList) {
    out.push(b'l');
    for peer in Peers::from_compact(peers.family, &peers.compact).iter().flat_map(Peers::iter) {
        let mut text = [0; MAX_IP_TEXT];
        let mut rest = &mut text[..];
        // Cannot fail, as every address fits.
        let _ = write!(rest, "{}", peer.ip());
        let len = MAX_IP_TEXT - rest.len();
        out.extend_from_slice(b"d2:ip");
        write_bytes(out, &text[..len]);
        out.extend_from_slice(b"4:port");
        write_int(out, peer.port().into());
        out.push(b'e');
    }
    out.push(b'e');
}

/// When a failed client may come back (BEP 31).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryIn {
    /// After that many **minutes**, at least one.
    Minutes(u32),
    /// Not at all.
    Never,
}

/// Appends the reply to a request that has failed. It belongs into an HTTP response with status 200, since many clients
/// do not look at the body of others.
pub fn write_failure(out: &mut Vec<u8>, reason: &str, retry_in: Option<RetryIn>) {
    out.extend_from_slice(b"d14:failure reason");
    write_bytes(out, reason.as_bytes());
    match retry_in {
        Some(RetryIn::Minutes(minutes)) => {
            out.extend_from_slice(b"8:retry in");
            write_int(out, minutes.max(1));
        }
        Some(RetryIn::Never) => out.extend_from_slice(b"8:retry in5:never"),
        None => {}
    }
    out.push(b'e');
}

/// Appends the reply to a scrape (BEP 48). It is a dictionary, so `swarms` is brought into its order and repeated info
/// hashes are answered once.
pub fn write_scrape(out: &mut Vec<u8>, swarms: &mut Vec<(InfoHash, Counts)>) {
    swarms.sort_unstable_by_key(|&(info_hash, _)| info_hash);
    swarms.dedup_by_key(|&mut (info_hash, _)| info_hash);
    write_scrape_begin(out);
    for (info_hash, counts) in swarms {
        write_scrape_entry(out, info_hash, counts);
    }
    write_scrape_end(out);
}

/// Appends what stands before the first swarm of a scrape reply that is made in pieces.
pub fn write_scrape_begin(out: &mut Vec<u8>) {
    out.extend_from_slice(b"d5:filesd");
}

/// Appends one swarm to a scrape reply. The caller goes through the swarms in ascending order of their hashes.
pub fn write_scrape_entry(out: &mut Vec<u8>, info_hash: &InfoHash, counts: &Counts) {
    write_bytes(out, &info_hash.0);
    out.extend_from_slice(b"d8:complete");
    write_int(out, counts.seeders);
    out.extend_from_slice(b"10:downloaded");
    write_int(out, counts.completed);
    out.extend_from_slice(b"11:downloaders");
    write_int(out, counts.leechers.saturating_sub(counts.partial_seeds));
    out.extend_from_slice(b"10:incomplete");
    write_int(out, counts.leechers);
    out.push(b'e');
}

/// Appends what stands after the last swarm of a scrape reply.
pub fn write_scrape_end(out: &mut Vec<u8>) {
    out.extend_from_slice(b"ee");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{Value, parse};
    use super::*;

    const COUNTS: Counts = Counts { seeders: 3, leechers: 5, partial_seeds: 2, completed: 7 };

    fn announce(peers: &PeerList, compact: bool) -> Vec<u8> {
        let mut out = Vec::new();
        let (external_ip, warning) = (None, None);
        let reply = AnnounceReply {
            counts: COUNTS,
            interval: 1800,
            min_interval: 900,
            external_ip,
            peers,
            compact,
            warning,
            stale: false,
        };
        write_announce(&mut out, &reply);
        out
    }

    fn v4() -> PeerList {
        PeerList { family: Family::V4, compact: b"\xc0\x00\x02\x01\x1a\xe1\x7f\x00\x00\x01\x00\x50".to_vec() }
    }

    fn v6() -> PeerList {
        let compact = b"\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01\x1a\xe1".to_vec();
        PeerList { family: Family::V6, compact }
    }

    #[test]
    fn compact_ipv4() {
        let golden = b"d8:completei3e10:downloadedi7e10:incompletei5e8:intervali1800e12:min intervali900e\
            5:peers12:\xc0\x00\x02\x01\x1a\xe1\x7f\x00\x00\x01\x00\x50e";
        assert_eq!(announce(&v4(), true), golden);
    }

    #[test]
    fn trap_35_ipv6_peers_come_beside_an_empty_peers() {
        let golden = b"d8:completei3e10:downloadedi7e10:incompletei5e8:intervali1800e12:min intervali900e\
            5:peers0:6:peers618:\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01\x1a\xe1e";
        assert_eq!(announce(&v6(), true), golden);
    }

    #[test]
    fn trap_29_dictionaries_if_asked_for() {
        let reply = announce(&v4(), false);
        let end = b"5:peersld2:ip9:192.0.2.14:porti6881eed2:ip9:127.0.0.14:porti80eeee";
        assert!(reply.ends_with(end), "{}", reply.escape_ascii());
        assert!(announce(&v6(), false).ends_with(b"5:peersld2:ip11:2001:db8::14:porti6881eeee"));
        let none = PeerList { family: Family::V6, compact: Vec::new() };
        assert!(announce(&none, false).ends_with(b"5:peerslee"));
    }

    #[test]
    fn bep_24_external_ip_is_raw_bytes_and_canonical() {
        let peers = v4();
        let reply = |ip: &str| {
            let mut out = Vec::new();
            let external_ip = Some(ip.parse().unwrap());
            let (compact, warning) = (true, Some("soon gone"));
            write_announce(
                &mut out,
                &AnnounceReply {
                    counts: COUNTS,
                    interval: 1,
                    min_interval: 1,
                    external_ip,
                    peers: &peers,
                    compact,
                    warning,
                    stale: false,
                },
            );
            let value = parse(&out).unwrap();
            assert_eq!(value.get("warning message"), Some(&Value::Bytes(b"soon gone")));
            value.get("external ip").and_then(Value::as_bytes).unwrap().to_vec()
        };
        assert_eq!(reply("192.0.2.1"), [192, 0, 2, 1]);
        assert_eq!(reply("::ffff:192.0.2.1"), [192, 0, 2, 1]);
        assert_eq!(reply("::1"), [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    }

    #[test]
    fn trap_28_failures_and_bep_31_retry_in_minutes() {
        let failure = |retry_in| {
            let mut out = Vec::new();
            write_failure(&mut out, "full", retry_in);
            out
        };
        assert_eq!(failure(None), b"d14:failure reason4:fulle");
        assert_eq!(failure(Some(RetryIn::Minutes(15))), b"d14:failure reason4:full8:retry ini15ee");
        assert_eq!(failure(Some(RetryIn::Never)), b"d14:failure reason4:full8:retry in5:nevere");
    }

    #[test]
    fn scrape_golden() {
        let mut out = Vec::new();
        write_scrape(&mut out, &mut vec![(InfoHash(*b"aaaaaaaaaaaaaaaaaaaa"), COUNTS)]);
        let golden =
            b"d5:filesd20:aaaaaaaaaaaaaaaaaaaad8:completei3e10:downloadedi7e11:downloadersi3e10:incompletei5eeee";
        assert_eq!(out, golden);
        out.clear();
        write_scrape(&mut out, &mut Vec::new());
        assert_eq!(out, b"d5:filesdee");
    }

    fn counts() -> impl Strategy<Value = Counts> {
        any::<[u32; 4]>().prop_map(|[seeders, leechers, partial_seeds, completed]| Counts {
            seeders,
            leechers,
            partial_seeds,
            completed,
        })
    }

    proptest! {
        #[test]
        fn trap_35_scrape_is_sorted_and_each_swarm_is_there_once(
            swarms in prop::collection::vec((prop::array::uniform20(0u8..2), counts()), 0..20),
        ) {
            let mut out = Vec::new();
            write_scrape(&mut out, &mut swarms.iter().map(|&(hash, counts)| (InfoHash(hash), counts)).collect());
            let reply = parse(&out).unwrap();
            let Some(Value::Dict(files)) = reply.get("files") else { panic!("no files") };
            for (hash, _) in &swarms {
                prop_assert_eq!(files.iter().filter(|(key, _)| key == hash).count(), 1);
            }
            prop_assert!(files.len() <= swarms.len());
        }

        #[test]
        fn trap_35_announces_are_strictly_valid(
            counts in counts(), interval: u32, v6: bool, compact: bool, ip: Option<std::net::IpAddr>,
            warning: Option<String>, peers in prop::collection::vec(any::<[u8; 18]>(), 0..9),
        ) {
            let (family, bytes) = match v6 {
                true => (Family::V6, peers.concat()),
                false => (Family::V4, peers.iter().flat_map(|peer| &peer[..6]).copied().collect()),
            };
            let list = PeerList { family, compact: bytes };
            let reply = AnnounceReply {
                counts, interval, min_interval: interval, external_ip: ip, peers: &list, compact,
                warning: warning.as_deref(),
                stale: false,
            };
            let mut out = Vec::new();
            write_announce(&mut out, &reply);
            let value = parse(&out).unwrap();
            prop_assert_eq!(value.get("complete").and_then(Value::as_int), Some(counts.seeders.into()));
            match value.get("peers").unwrap() {
                Value::List(entries) => prop_assert_eq!((entries.len(), compact), (peers.len(), false)),
                Value::Bytes(bytes) if v6 => {
                    prop_assert!(bytes.is_empty() && compact);
                    prop_assert_eq!(value.get("peers6").and_then(Value::as_bytes), Some(&list.compact[..]));
                }
                bytes => prop_assert_eq!((bytes.as_bytes(), compact), (Some(&list.compact[..]), true)),
            }
        }
    }
}
