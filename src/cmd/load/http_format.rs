//! HTTP requests of peers and the answers to them (BEP 3, 7, 23, 48), as bytes.

use std::borrow::Cow;
use std::io::Write as _;

use super::answer::Answer;
use super::args::Target;
use super::workload::{Job, Population};
use crate::swarm::{Counts, Event, Family};
use crate::wire::bencode::{self, Value};
use crate::wire::udp::Peers;

/// A response whose head is complete.
pub struct Parsed {
    /// Whether another request may follow on the connection.
    pub keep_alive: bool,
    /// Where the body starts.
    pub body: usize,
    /// Length of head and body; without it the body goes to the end of the stream.
    pub total: Option<usize>,
}

/// Appends the request for `job`.
pub fn write_request(out: &mut Vec<u8>, target: &Target, population: &Population, job: &Job, num_want: i32) {
    // Writing to a vector does not fail.
    let path = target.path.as_str();
    match (population.words(job, num_want), job) {
        (None, Job::Scrape { first, count }) => {
            // By convention (BEP 48): the last path segment's `announce` becomes `scrape`.
            let (before, after) = path.rsplit_once("/announce").unwrap_or((path, ""));
            let _ = write!(out, "GET {before}/scrape{after}");
            for (swarm, separator) in
                (*first..*first + u32::from(*count)).zip(std::iter::once('?').chain(['&'].into_iter().cycle()))
            {
                let _ = write!(out, "{separator}info_hash=");
                percent_encode(out, &population.info_hash(swarm).0);
            }
        }
        (Some(words), _) => {
            let _ = write!(out, "GET {path}?info_hash=");
            percent_encode(out, &words.info_hash.0);
            out.extend_from_slice(b"&peer_id=");
            percent_encode(out, &words.peer_id);
            let _ = write!(
                out,
                "&port={}&uploaded=0&downloaded=0&left={}&compact=1&key={:08x}",
                words.port, words.left, words.key
            );
            if let Ok(num_want) = u32::try_from(words.num_want) {
                let _ = write!(out, "&numwant={num_want}");
            }
            out.extend_from_slice(match words.event {
                Event::Started => b"&event=started",
                Event::Completed => b"&event=completed",
                Event::Stopped => b"&event=stopped",
                Event::None | Event::Paused => b"",
            });
        }
        (None, _) => {}
    }
    let _ = write!(out, " HTTP/1.1\r\nHost: {}\r\nUser-Agent: tidings-load\r\n\r\n", target.host);
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

/// Reads the head of a response; none if it is not complete yet.
///
/// # Errors
/// What is wrong with it. A status other than 200 counts as such, for clients do not read the body then.
pub fn parse_head(input: &[u8]) -> Result<Option<Parsed>, String> {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut response = httparse::Response::new(&mut headers);
    let body = match response.parse(input) {
        Ok(httparse::Status::Complete(body)) => body,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(e) => return Err(format!("no HTTP response: {e}")),
    };
    if response.code != Some(200) {
        return Err(format!("HTTP status {}", response.code.unwrap_or(0)));
    }
    let mut keep_alive = response.version == Some(1);
    let mut length = None;
    for header in response.headers.iter() {
        let value = String::from_utf8_lossy(header.value);
        let value = value.trim();
        if header.name.eq_ignore_ascii_case("content-length") {
            length = Some(value.parse::<u32>().map_err(|_| format!("Content-Length: {value}"))? as usize);
        } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
            return Err(format!("Transfer-Encoding: {value} is nothing that BitTorrent clients all understand"));
        } else if header.name.eq_ignore_ascii_case("connection") {
            keep_alive =
                !value.eq_ignore_ascii_case("close") && (keep_alive || value.eq_ignore_ascii_case("keep-alive"));
        }
    }
    Ok(Some(Parsed { keep_alive, body, total: length.map(|length| body + length) }))
}

/// Reads the body of the response to `job`, sent over `family`.
///
/// # Errors
/// What is wrong with it.
pub fn parse_body<'a>(
    body: &'a [u8],
    job: &Job,
    population: &Population,
    family: Family,
) -> Result<Answer<'a>, String> {
    let reply = bencode::parse(body).map_err(|e| format!("no bencode: {e}"))?;
    if let Some(reason) = reply.get("failure reason") {
        let reason = reason.as_bytes().ok_or("the failure reason is no string")?;
        return Ok(Answer::Error(String::from_utf8_lossy(reason)));
    }
    if let Job::Scrape { first, count } = *job {
        let files = reply.get("files").ok_or("a scrape without files")?;
        let counts = |swarm| match files.get(population.info_hash(swarm).0) {
            None => Ok(Counts::default()),
            Some(file) => Ok(Counts {
                seeders: int(file, "complete")?,
                leechers: int(file, "incomplete")?,
                completed: int(file, "downloaded")?,
                partial_seeds: 0,
            }),
        };
        let counts = (first..first + u32::from(count)).map(counts).collect::<Result<Vec<_>, String>>()?;
        return Ok(Answer::Scrape(Cow::Owned(counts)));
    }
    int(&reply, "interval")?;
    let key = if family == Family::V4 { "peers" } else { "peers6" };
    let peers = match reply.get(key) {
        Some(peers) => peers.as_bytes().ok_or_else(|| format!("{key} is no string, though compact=1 was asked for"))?,
        None if family == Family::V6 => &[],
        None => return Err("an announce without peers".into()),
    };
    Peers::from_compact(family, peers)
        .map(Answer::Announce)
        .ok_or_else(|| format!("{key} has {} bytes, which is no multiple of {}", peers.len(), family.stride()))
}

fn int(value: &Value<'_>, key: &str) -> Result<u32, String> {
    let int = value.get(key).ok_or_else(|| format!("{key} is missing"))?;
    int.as_int().and_then(|int| u32::try_from(int).ok()).ok_or_else(|| format!("{key} is no count"))
}

#[cfg(test)]
mod tests {
    use super::super::workload::{
        Life,
        tests::{ZIPF, spec},
    };
    use super::*;
    use crate::wire::query::{AnnounceQuery, ScrapeQuery};

    fn population() -> Population {
        Population::new(&spec(100, 1000, ZIPF, true))
    }

    fn query(job: &Job) -> String {
        let target = Target { addr: "127.0.0.1:1".parse().unwrap(), host: "h:1".into(), path: "/a/announce".into() };
        let mut out = Vec::new();
        write_request(&mut out, &target, &population(), job, 30);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn requests_say_what_the_job_says() {
        let job = Job::Announce { peer: 3, event: Event::Completed, next: Life::Seeder };
        let text = query(&job);
        let line = text.strip_prefix("GET /a/announce?").unwrap();
        let (query_text, rest) = line.split_once(' ').unwrap();
        assert_eq!(rest, "HTTP/1.1\r\nHost: h:1\r\nUser-Agent: tidings-load\r\n\r\n");
        let parsed = AnnounceQuery::parse(query_text.as_bytes()).unwrap();
        let population = population();
        assert_eq!(parsed.info_hash, population.info_hash(population.swarm_of(3)));
        assert_eq!((parsed.port, parsed.event, parsed.seeder), (population.port_of(3), Event::Completed, true));
        assert_eq!((parsed.num_want, parsed.compact), (Some(30), true));

        let text = query(&Job::Scrape { first: 97, count: 3 });
        let line = text.strip_prefix("GET /a/scrape?").unwrap();
        let parsed = ScrapeQuery::parse(line.split_once(' ').unwrap().0.as_bytes(), 100).unwrap();
        assert_eq!(parsed.info_hashes, (97..100).map(|swarm| population.info_hash(swarm)).collect::<Vec<_>>());
    }

    #[test]
    fn heads_are_read_in_any_piece() {
        let head = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n";
        for len in 0..head.len() {
            assert!(parse_head(&head[..len]).unwrap().is_none(), "{len}");
        }
        let parsed = parse_head(head).unwrap().unwrap();
        assert_eq!((parsed.keep_alive, parsed.body, parsed.total), (true, head.len(), Some(head.len() + 5)));
        assert!(!parse_head(b"HTTP/1.0 200 OK\r\n\r\n").unwrap().unwrap().keep_alive);
        assert!(!parse_head(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n").unwrap().unwrap().keep_alive);
        for (bad, text) in [
            (&b"HTTP/1.1 503 Busy\r\n\r\n"[..], "503"),
            (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "chunked"),
            (b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", "-1"),
            (b"\x00\x01\x02", "HTTP"),
        ] {
            assert!(parse_head(bad).err().unwrap().contains(text));
        }
    }

    #[test]
    fn bodies_are_checked() {
        let job = Job::Announce { peer: 3, event: Event::None, next: Life::Leecher };
        let parse = |body: &'static [u8]| parse_body(body, &job, &population(), Family::V4);
        let Ok(Answer::Announce(peers)) = parse(b"d8:intervali9e5:peers6:\x7f\x01\x02\x03\x1a\xe1e") else { panic!() };
        assert_eq!(peers.len(), 1);
        assert_eq!(parse(b"d14:failure reason2:noe"), Ok(Answer::Error("no".into())));
        for (bad, text) in [
            (&b"d5:peers0:e"[..], "interval is missing"),
            (b"d8:intervali9ee", "without peers"),
            (b"d8:intervali9e5:peers5:12345e", "5 bytes"),
            (b"d8:intervali9e5:peerslee", "no string"),
            (b"d5:peers0:8:intervali9ee", "no bencode"),
            (b"<html>", "no bencode"),
        ] {
            let error = parse(bad).unwrap_err();
            assert!(error.contains(text), "{error}");
        }
    }
}
