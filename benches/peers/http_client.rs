//! A small keep-alive HTTP client, and the announces that it and wrk send.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddrV4, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// Distinct announces, each of its own peer: peers differ by swarm and port, as all come from one address.
pub const ANNOUNCES: usize = 100_000;
/// Swarms that they fall on with equal chance: 20 peers each in the mean, about what the UDP mix makes.
const SWARMS: usize = 5_000;
/// Of four peers three are seeders, as in the UDP mix.
const SEEDERS_IN_FOUR: u64 = 3;

/// Request targets (`/announce?...`), the same in every run.
pub fn announces() -> Vec<String> {
    let mut random = StdRng::seed_from_u64(0x7469_6469_6e67_7300);
    let hashes: Vec<String> = (0..SWARMS)
        .map(|_| {
            let mut hash = [0; 20];
            random.fill_bytes(&mut hash);
            percent_encode(&hash)
        })
        .collect();
    let mut seen = HashSet::new();
    let mut announces = Vec::with_capacity(ANNOUNCES);
    while announces.len() < ANNOUNCES {
        let swarm = (random.next_u64() % SWARMS as u64) as usize;
        let port = 1024 + random.next_u64() % (65_536 - 1024);
        let left = if random.next_u64() % 4 < SEEDERS_IN_FOUR { 0 } else { 50 };
        if seen.insert((swarm, port)) {
            announces.push(format!(
                "/announce?info_hash={}&peer_id=-TI0100-{:012}&port={port}&uploaded=50&downloaded=50&left={left}\
                 &event=started&numwant=30&compact=1",
                hashes[swarm],
                announces.len(),
            ));
        }
    }
    announces
}

/// Encodes as libtorrent does: unreserved characters of RFC 3986 stay as they are.
fn percent_encode(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, &byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            write!(text, "%{byte:02x}").expect("writing into a string cannot fail");
        }
        text
    })
}

#[derive(Debug)]
pub struct Client {
    reader: BufReader<TcpStream>,
    host: SocketAddrV4,
}

impl Client {
    /// Connects to `host`; every later wait is bounded too.
    pub fn connect(host: SocketAddrV4) -> Result<Self> {
        let limit = Duration::from_secs(10);
        let stream = TcpStream::connect_timeout(&host.into(), limit)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(limit))?;
        stream.set_write_timeout(Some(limit))?;
        Ok(Self { reader: BufReader::new(stream), host })
    }

    /// Requests `target` and returns the reply's body.
    pub fn get(&mut self, target: &str) -> Result<Vec<u8>> {
        let request = format!("GET {target} HTTP/1.1\r\nHost: {}\r\n\r\n", self.host);
        self.reader.get_mut().write_all(request.as_bytes())?;
        let mut line = String::new();
        self.reader.read_line(&mut line)?;
        ensure!(line.starts_with("HTTP/1.1 200"), "the server answered {line:?} to {target}");
        let mut length = None;
        loop {
            line.clear();
            ensure!(self.reader.read_line(&mut line)? > 0, "the server closed the connection within a reply");
            let Some((name, value)) = line.split_once(':') else { break };
            if name.eq_ignore_ascii_case("content-length") {
                length = Some(value.trim().parse()?);
            }
        }
        let mut body = vec![0; length.context("the server's reply has no length")?];
        self.reader.read_exact(&mut body)?;
        Ok(body)
    }
}

/// Number of compact IPv4 peers in the bencoded reply to an announce, `None` if it has no such list.
pub fn peers_in(body: &[u8]) -> Option<usize> {
    const KEY: &[u8] = b"5:peers";
    let start = body.windows(KEY.len()).position(|window| window == KEY)? + KEY.len();
    let digits = body[start..].split(|&byte| byte == b':').next()?;
    Some(std::str::from_utf8(digits).ok()?.parse::<usize>().ok()? / 6)
}
