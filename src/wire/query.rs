//! The query string of HTTP announces and scrapes (BEP 3, 7, 21, 23, 48), as bytes: an info hash is no text, so nothing
//! here goes through UTF-8, and `+` is a plus.

use std::fmt;

use percent_encoding::percent_decode;

use crate::swarm::{Event, InfoHash};

/// An announce by HTTP. Addresses that a client claims to have (`ip`, `ipv4`, `ipv6`) are ignored: trusting
/// them would let clients direct peers at a victim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AnnounceQuery {
    /// The swarm.
    pub info_hash: InfoHash,
    /// The port on which the peer accepts connections. Zero only if the peer has stopped.
    pub port: u16,
    /// What happened; [`Event::None`] for anything unknown.
    pub event: Event,
    /// `left` is zero. A missing, huge or negative `left` (magnet links) is a leecher's.
    pub seeder: bool,
    /// How many peers the client wants; `None` for the tracker's default.
    pub num_want: Option<u32>,
    /// Peers as one string (the default since BEP 23) and not as a list of dictionaries.
    pub compact: bool,
    /// The list of dictionaries may go without peer ids. It always does, see [`write_announce`].
    ///
    /// [`write_announce`]: super::bencode::write_announce
    pub no_peer_id: bool,
}

/// A scrape by HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScrapeQuery {
    /// The swarms, in the order of the query. An empty list requests the counts of every swarm (a full scrape).
    pub info_hashes: Vec<InfoHash>,
}

/// Why a query cannot be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueryError {
    /// An announce for no swarm.
    NoInfoHash,
    /// The info hash is in hexadecimal, a common mistake.
    HexInfoHash,
    /// The info hash is not 20 bytes long.
    InfoHashLength,
    /// The port is missing, 0 or not a port.
    Port,
}

impl QueryError {
    /// The failure reason to be sent.
    pub const fn message(self) -> &'static str {
        match self {
            Self::NoInfoHash => "info_hash is missing",
            Self::HexInfoHash => "info_hash is in hexadecimal: send its 20 raw bytes, percent-encoded",
            Self::InfoHashLength => "info_hash must be 20 raw bytes, percent-encoded",
            Self::Port => "port must be a number from 1 to 65535",
        }
    }
}

impl fmt::Display for QueryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.message())
    }
}

impl std::error::Error for QueryError {}

impl AnnounceQuery {
    /// Parses what follows the `?` of the URL. Of a key that is given more than once, the last value counts.
    pub fn parse(query: &[u8]) -> Result<Self, QueryError> {
        let [mut info_hash, mut port, mut event, mut left, mut num_want, mut compact, mut no_peer_id] = [None; 7];
        for (key, value) in pairs(query) {
            let slot = match key {
                b"info_hash" => &mut info_hash,
                b"port" => &mut port,
                b"event" => &mut event,
                b"left" => &mut left,
                b"numwant" => &mut num_want,
                b"compact" => &mut compact,
                b"no_peer_id" => &mut no_peer_id,
                _ => continue,
            };
            *slot = Some(value);
        }
        let info_hash = parse_info_hash(info_hash.ok_or(QueryError::NoInfoHash)?)?;
        let event = event.map_or(Event::None, parse_event);
        let port = port.and_then(number).and_then(|port| u16::try_from(port).ok()).ok_or(QueryError::Port)?;
        // Some clients stop with port 0; as they only leave, it does no harm.
        if port == 0 && event != Event::Stopped {
            return Err(QueryError::Port);
        }
        Ok(Self {
            info_hash,
            port,
            event,
            seeder: left.and_then(number) == Some(0),
            num_want: num_want.and_then(number).map(|n| u32::try_from(n).unwrap_or(u32::MAX)),
            compact: compact != Some(b"0"),
            no_peer_id: no_peer_id.is_some_and(|value| value != b"0"),
        })
    }
}

impl ScrapeQuery {
    /// Parses what follows the `?` of the URL. Info hashes beyond the first `max` are ignored.
    pub fn parse(query: &[u8], max: usize) -> Result<Self, QueryError> {
        let info_hashes = pairs(query).filter(|&(key, _)| key == b"info_hash").take(max);
        let info_hashes = info_hashes.map(|(_, value)| parse_info_hash(value)).collect::<Result<_, _>>()?;
        Ok(Self { info_hashes })
    }
}

/// The keys and values, still encoded. A key without `=` has an empty value; further `=` belong to the value.
fn pairs(query: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    query.split(|byte| matches!(byte, b'&' | b';')).map(|pair| match pair.iter().position(|&byte| byte == b'=') {
        Some(at) => (&pair[..at], &pair[at + 1..]),
        None => (pair, &[][..]),
    })
}

fn parse_info_hash(value: &[u8]) -> Result<InfoHash, QueryError> {
    let mut hash = [0; 20];
    let mut len = 0;
    for byte in percent_decode(value) {
        if let Some(slot) = hash.get_mut(len) {
            *slot = byte;
        }
        len += 1;
    }
    match len {
        20 => Ok(InfoHash(hash)),
        40 if percent_decode(value).all(|byte| byte.is_ascii_hexdigit()) => Err(QueryError::HexInfoHash),
        _ => Err(QueryError::InfoHashLength),
    }
}

fn parse_event(value: &[u8]) -> Event {
    match value {
        b"started" => Event::Started,
        b"completed" => Event::Completed,
        b"stopped" => Event::Stopped,
        b"paused" => Event::Paused,
        _ => Event::None,
    }
}

/// Decimal digits and nothing else. What is too large for a `u64` is as good as its largest value.
fn number(digits: &[u8]) -> Option<u64> {
    let digit = |byte: &u8| byte.is_ascii_digit().then(|| u64::from(byte - b'0'));
    let (first, rest) = digits.split_first()?;
    rest.iter().try_fold(digit(first)?, |sum, byte| Some(sum.saturating_mul(10).saturating_add(digit(byte)?)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HASH: &str = "info_hash=aaaaaaaaaaaaaaaaaaaa";

    fn announce(rest: &str) -> Result<AnnounceQuery, QueryError> {
        AnnounceQuery::parse(format!("{HASH}&port=6881{rest}").as_bytes())
    }

    fn event(name: &str) -> Event {
        announce(&format!("&event={name}")).unwrap().event
    }

    #[test]
    fn the_query_of_a_real_client() {
        // The keys and the order of transmission 4.
        let query = b"info_hash=%124Vx%9A%BC%DE%F1%23Eg%89%AB%CD%EF%124Vx%9A&peer_id=-TR4060-0123456789ab&port=51413\
            &uploaded=0&downloaded=0&left=1048576&numwant=80&key=7A3B9C1D&compact=1&supportcrypto=1&event=started\
            &ipv6=2001%3Adb8%3A%3A1";
        let expected = AnnounceQuery {
            info_hash: "123456789abcdef123456789abcdef123456789a".parse().unwrap(),
            port: 51413,
            event: Event::Started,
            seeder: false,
            num_want: Some(80),
            compact: true,
            no_peer_id: false,
        };
        assert_eq!(AnnounceQuery::parse(query), Ok(expected));
    }

    #[test]
    fn trap_09_claimed_addresses_are_ignored() {
        assert_eq!(announce("&ip=192.0.2.1&ipv4=192.0.2.1:1&ipv6=[2001:db8::1]:1"), announce(""));
    }

    #[test]
    fn trap_13_port_zero_only_on_stopped() {
        let query = |rest: &str| AnnounceQuery::parse(format!("{HASH}{rest}").as_bytes()).map(|query| query.port);
        assert_eq!(query("&port=0&event=stopped"), Ok(0));
        assert_eq!(query("&event=stopped&port=0"), Ok(0));
        for rest in ["", "&port", "&port=", "&port=0", "&port=0&event=started", "&port=65536", "&port=-1", "&port=1a"] {
            assert_eq!(query(rest), Err(QueryError::Port), "{rest}");
        }
        assert_eq!(query("&port=65535"), Ok(65535));
    }

    #[test]
    fn trap_14_num_want_absent_or_negative_is_the_default() {
        let num_want = |rest| announce(rest).unwrap().num_want;
        for rest in ["", "&numwant=-1", "&numwant=", "&numwant", "&numwant=many"] {
            assert_eq!(num_want(rest), None, "{rest}");
        }
        assert_eq!(num_want("&numwant=0"), Some(0));
        assert_eq!(num_want("&numwant=7"), Some(7));
        assert_eq!(num_want("&numwant=99999999999999999999999"), Some(u32::MAX));
    }

    #[test]
    fn trap_16_scrapes_are_bounded_and_keep_duplicates() {
        let query = "info_hash=aaaaaaaaaaaaaaaaaaaa&info_hash=aaaaaaaaaaaaaaaaaaaa&x=1&info_hash=bbbbbbbbbbbbbbbbbbbb";
        let [a, b] = [InfoHash([b'a'; 20]), InfoHash([b'b'; 20])];
        let scrape = |max| ScrapeQuery::parse(query.as_bytes(), max).unwrap().info_hashes;
        assert_eq!(scrape(74), [a, a, b]);
        assert_eq!(scrape(2), [a, a]);
        assert_eq!(ScrapeQuery::parse(b"", 74).unwrap().info_hashes, []);
        assert_eq!(ScrapeQuery::parse(b"info_hash=a", 74), Err(QueryError::InfoHashLength));
    }

    #[test]
    fn trap_19_unknown_events_are_no_event() {
        for name in ["", "empty", "STARTED", "4", "%73tarted"] {
            assert_eq!(event(name), Event::None, "{name}");
        }
        assert_eq!(["started", "completed", "stopped"].map(event), [Event::Started, Event::Completed, Event::Stopped]);
    }

    #[test]
    fn trap_20_unknown_left_is_a_leecher() {
        let seeder = |rest| announce(rest).unwrap().seeder;
        for rest in ["&left=-1", "&left=9223372036854775807", "&left=18446744073709551616", "&left=1", "&left=x"] {
            assert!(!seeder(rest), "{rest}");
        }
        assert!(seeder("&left=0"));
    }

    #[test]
    fn trap_26_paused_is_an_event() {
        assert_eq!(event("paused"), Event::Paused);
    }

    #[test]
    fn trap_29_compact_unless_refused() {
        let form = |rest| announce(rest).map(|query| (query.compact, query.no_peer_id)).unwrap();
        assert_eq!(form(""), (true, false));
        assert_eq!(form("&compact=1"), (true, false));
        assert_eq!(form("&compact"), (true, false));
        assert_eq!(form("&compact=0"), (false, false));
        assert_eq!(form("&compact=0&no_peer_id=1"), (false, true));
        assert_eq!(form("&compact=0&no_peer_id=0"), (false, false));
    }

    #[test]
    fn trap_30_info_hash_is_raw_bytes() {
        let hash =
            |value: &[u8]| AnnounceQuery::parse(&[b"port=1&info_hash=", value].concat()).map(|query| query.info_hash.0);
        assert_eq!(hash(b"%aB%Abcdef+++%26%3d%3B%00%ff\xff\xc3%zz%"), Ok(*b"\xab\xabcdef+++&=;\0\xff\xff\xc3%zz%"));
        assert_eq!(hash(&[b'%'; 20]), Ok([b'%'; 20]));
        assert_eq!(hash(b"aaaaaaaaaaaaaaaaaaa="), Ok(*b"aaaaaaaaaaaaaaaaaaa="));
        assert_eq!(hash(b"0123456789abcdefABCD0123456789abcdef0123"), Err(QueryError::HexInfoHash));
        for wrong in [&b""[..], b"aaaaaaaaaaaaaaaaaaa", b"aaaaaaaaaaaaaaaaaaaaa", &[b'x'; 40], &[b'a'; 64]] {
            assert_eq!(hash(wrong), Err(QueryError::InfoHashLength));
        }
    }

    #[test]
    fn trap_31_missing_values_do_not_shift_the_others() {
        let query = "&&=&novalue;other=a=b&peer_id=a=b=c;event=completed&left=0";
        let query = announce(query).unwrap();
        assert_eq!((query.event, query.seeder), (Event::Completed, true));
        assert_eq!(announce("").map(|query| query.seeder), Ok(false));
        assert_eq!(AnnounceQuery::parse(b""), Err(QueryError::NoInfoHash));
    }

    #[test]
    fn the_last_of_several_values_counts() {
        assert_eq!(announce("&port=x&port=7").map(|query| query.port), Ok(7));
        assert_eq!(announce("&port=7&port=x"), Err(QueryError::Port));
    }

    /// Encodes each byte as a literal, in upper or in lower hexadecimal, as different clients do.
    fn encode(bytes: &[u8], style: &[u8]) -> Vec<u8> {
        let escape = |(&byte, style): (&u8, &u8)| match style % 3 {
            0 if !matches!(byte, b'&' | b';' | b'%') => vec![byte],
            1 => format!("%{byte:02x}").into_bytes(),
            _ => format!("%{byte:02X}").into_bytes(),
        };
        bytes.iter().zip(style).flat_map(escape).collect()
    }

    proptest! {
        #[test]
        fn any_info_hash_in_any_encoding(hash: [u8; 20], style: [u8; 20], port in 1u16.., num_want: u32) {
            let mut query = b"info_hash=".to_vec();
            query.extend(encode(&hash, &style));
            query.extend(format!("&port={port}&numwant={num_want}").bytes());
            let parsed = AnnounceQuery::parse(&query).unwrap();
            prop_assert_eq!(parsed.info_hash, InfoHash(hash));
            prop_assert_eq!((parsed.port, parsed.num_want), (port, Some(num_want)));
            prop_assert_eq!(ScrapeQuery::parse(&query, 1).unwrap().info_hashes, [InfoHash(hash)]);
        }

        #[test]
        fn no_query_panics(query: Vec<u8>, words in "((info_hash|port|left|numwant|event)[=&;%0-9a-f]{0,9}){0,9}") {
            for query in [&query[..], words.as_bytes()] {
                let _ = AnnounceQuery::parse(query);
                if let Ok(scrape) = ScrapeQuery::parse(query, 2) {
                    prop_assert!(scrape.info_hashes.len() <= 2);
                }
            }
        }
    }
}
