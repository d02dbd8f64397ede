//! Well-behaved clients, which check every answer.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use tidings::swarm::{Counts, Event, Family, InfoHash, PeerAddr};
use tidings::wire::bencode;
use tidings::wire::udp::{
    Announce, ConnectionId, Options, Response, TransactionId, encode_announce, encode_connect, encode_scrape,
    parse_response,
};

/// The swarm of all clients here.
pub const SWARM: InfoHash = InfoHash(*b"good clients in here");
/// The ports of two peers of each family that others have to find: a seeder and a leecher.
const OTHERS: [(u16, bool); 2] = [(50_001, true), (50_002, false)];
/// The port that clients announce.
const PORT: u16 = 50_000;
/// After this long without an answer a UDP request is repeated, once.
const RETRY: Duration = Duration::from_secs(2);
/// After this long without an answer to the repeated request, or to any over HTTP, the request has failed.
const DEADLINE: Duration = Duration::from_secs(60);
/// Connection ids live for two minutes; clients are to fetch a new one after one.
const CONNECTION_LIFETIME: Duration = Duration::from_secs(60);

/// The outcomes of a client's requests.
#[derive(Debug, Default)]
pub struct Tally {
    /// Requests that were answered correctly.
    pub answers: u64,
    /// Of these, answered only when requested again.
    pub retried: u64,
    /// Answered neither at once nor when requested again.
    pub unanswered: u64,
    /// The longest time to an answer to a first request.
    pub slowest: Duration,
}

impl Tally {
    pub fn add(&mut self, other: &Self) {
        self.answers += other.answers;
        self.retried += other.retried;
        self.unanswered += other.unanswered;
        self.slowest = self.slowest.max(other.slowest);
    }
}

fn source(target: SocketAddr, number: u8) -> IpAddr {
    if target.is_ipv4() { Ipv4Addr::new(127, 0, 0, number).into() } else { Ipv6Addr::LOCALHOST.into() }
}

/// Panics unless the others are among `peers`.
fn must_find(peers: &[PeerAddr], family: Family) {
    let others = OTHERS.map(|(port, _)| port);
    let found = peers.iter().filter(|peer| peer.family() == family && others.contains(&peer.port()));
    assert_eq!(found.count(), others.len(), "some clients were not found: {peers:?}");
}

pub struct Udp {
    socket: UdpSocket,
    family: Family,
    connection: Option<(ConnectionId, Instant)>,
    next_id: u32,
    pub tally: Tally,
}

impl Udp {
    pub fn new(target: SocketAddr, number: u8) -> Self {
        let socket = UdpSocket::bind((source(target, number), 0)).unwrap();
        socket.connect(target).unwrap();
        let family = if target.is_ipv4() { Family::V4 } else { Family::V6 };
        Self { socket, family, connection: None, next_id: 0, tally: Tally::default() }
    }

    /// Announces the peers that others have to find.
    pub fn announce_others(&mut self) {
        for (port, seeder) in OTHERS {
            assert!(self.announce(port, seeder).is_some());
        }
    }

    /// Announces and looks for the others, then scrapes the swarm.
    pub fn round(&mut self) {
        if let Some(peers) = self.announce(PORT, false) {
            must_find(&peers, self.family);
        }
        let Some(id) = self.connection_id() else { return };
        let scrape = |out: &mut Vec<u8>, transaction_id| encode_scrape(out, id, transaction_id, &[SWARM.0]);
        let counts = self.request(scrape, |response| match response {
            Response::Scrape { entries, .. } => entries.iter().collect::<Vec<Counts>>(),
            other => panic!("a scrape was answered by {other:?}"),
        });
        if let Some(counts) = counts {
            let counts = counts.iter().map(|c| (c.seeders, c.completed)).collect::<Vec<_>>();
            assert_eq!(counts, [(1, 0)]);
        }
    }

    fn announce(&mut self, port: u16, seeder: bool) -> Option<Vec<PeerAddr>> {
        let connection_id = self.connection_id()?;
        let left = i64::from(!seeder);
        let announce = |out: &mut Vec<u8>, transaction_id| {
            let (event, num_want, options) = (Event::Started, 50, Options::default());
            let announce = Announce {
                connection_id,
                transaction_id,
                info_hash: SWARM,
                event,
                left,
                key: 0,
                num_want,
                port,
                options,
            };
            encode_announce(out, &announce, b"-GO0000-aaaaaaaaaaaa");
        };
        self.request(announce, |response| match response {
            Response::Announce { interval, peers, .. } => {
                assert!((1620..=1980).contains(&interval), "{interval}");
                peers.iter().collect()
            }
            other => panic!("an announce was answered by {other:?}"),
        })
    }

    fn connection_id(&mut self) -> Option<ConnectionId> {
        if let Some((id, since)) = self.connection
            && since.elapsed() < CONNECTION_LIFETIME
        {
            return Some(id);
        }
        let id = self.request(encode_connect, |response| match response {
            Response::Connect { connection_id, .. } => connection_id,
            other => panic!("a connect was answered by {other:?}"),
        })?;
        self.connection = Some((id, Instant::now()));
        Some(id)
    }

    /// Sends a request, and again if there is no answer.
    fn request<T>(
        &mut self,
        encode: impl Fn(&mut Vec<u8>, TransactionId),
        read: impl Fn(Response<'_>) -> T,
    ) -> Option<T> {
        self.next_id += 1;
        let mut request = Vec::new();
        encode(&mut request, TransactionId(self.next_id));
        for (attempt, patience) in [RETRY, DEADLINE].into_iter().enumerate() {
            self.socket.send(&request).unwrap();
            let sent = Instant::now();
            while let Some(left) = patience.checked_sub(sent.elapsed()).filter(|left| !left.is_zero()) {
                self.socket.set_read_timeout(Some(left)).unwrap();
                let mut buffer = [0; 2048];
                let len = match self.socket.recv(&mut buffer) {
                    Ok(len) => len,
                    Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => break,
                    Err(error) => panic!("the tracker is gone: {error}"),
                };
                let response = parse_response(&buffer[..len], self.family).unwrap();
                // Any other is a late answer to a request that was sent twice.
                if response.transaction_id() == TransactionId(self.next_id) {
                    self.tally.answers += 1;
                    self.tally.retried += attempt as u64;
                    if attempt == 0 {
                        self.tally.slowest = self.tally.slowest.max(sent.elapsed());
                    }
                    return Some(read(response));
                }
            }
        }
        self.tally.unanswered += 1;
        None
    }
}

/// Announces over HTTP. TCP resends what is lost, so no request is repeated.
pub struct Http {
    target: SocketAddr,
    kept: TcpStream,
    pub tally: Tally,
}

impl Http {
    pub fn new(target: SocketAddr) -> Self {
        Self { target, kept: open(target).unwrap(), tally: Tally::default() }
    }

    /// Announces on the connection that is kept open, and looks for the others.
    pub fn keep_alive_round(&mut self) {
        let (since, answer) = (Instant::now(), request(&mut self.kept, false));
        self.judge(since, answer);
    }

    /// The same on a new connection.
    pub fn round(&mut self) {
        let since = Instant::now();
        let answer = open(self.target).and_then(|mut stream| request(&mut stream, true));
        self.judge(since, answer);
    }

    fn judge(&mut self, since: Instant, answer: std::io::Result<Vec<u8>>) {
        let body = match answer {
            Ok(body) => body,
            Err(error) => {
                eprintln!("no answer over HTTP: {error}");
                self.tally.unanswered += 1;
                return;
            }
        };
        let body = bencode::parse(&body).unwrap_or_else(|e| panic!("{e:?}: {}", body.escape_ascii()));
        let compact = |key: &str| body.get(key).and_then(|value| value.as_bytes()).unwrap_or_default().to_vec();
        let family = if self.target.is_ipv4() { Family::V4 } else { Family::V6 };
        let peers = compact(if family == Family::V4 { "peers" } else { "peers6" });
        let peers = tidings::wire::udp::Peers::from_compact(family, &peers).unwrap().iter().collect::<Vec<_>>();
        must_find(&peers, family);
        self.tally.answers += 1;
        self.tally.slowest = self.tally.slowest.max(since.elapsed());
    }
}

fn open(target: SocketAddr) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&target, DEADLINE)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(DEADLINE))?;
    Ok(stream)
}

/// Announces, and returns the body of the reply.
fn request(stream: &mut TcpStream, close: bool) -> std::io::Result<Vec<u8>> {
    let query = "info_hash=good%20clients%20in%20here&peer_id=-GO0000-aaaaaaaaaaaa&port=50000&left=1&compact=1";
    let connection = if close { "close" } else { "keep-alive" };
    write!(stream, "GET /announce?{query} HTTP/1.1\r\nhost: tracker\r\nconnection: {connection}\r\n\r\n")?;
    let mut reply = Vec::new();
    loop {
        if let Some(end) = reply.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&reply[..end]).to_lowercase();
            assert!(head.starts_with("http/1.1 200"), "{head}");
            let length = head.split("content-length: ").nth(1).unwrap().lines().next().unwrap();
            let length: usize = length.parse().unwrap();
            if reply.len() >= end + 4 + length {
                assert_eq!(reply.len(), end + 4 + length, "more than one reply");
                return Ok(reply.split_off(end + 4));
            }
        }
        let mut chunk = [0; 4096];
        match stream.read(&mut chunk)? {
            0 => return Err(ErrorKind::UnexpectedEof.into()),
            len => reply.extend_from_slice(&chunk[..len]),
        }
    }
}
