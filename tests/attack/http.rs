//! Attackers over HTTP: broken requests, and connections that only take up room.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use rand::RngExt;
use socket2::{Domain, SockRef, Socket, Type};

use crate::forge::Forge;

/// Requests on one connection that are valid HTTP, but nonsense to a tracker.
const PIPELINED: u64 = 8;
/// The tracker may leave no connection open for this long after its client has sent everything.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Default)]
pub struct Tally {
    /// Requests sent, complete or not.
    pub sent: AtomicU64,
    /// Connections made for them.
    pub connections: AtomicU64,
    /// Valid HTTP requests that were answered with a failure reason.
    pub refused: AtomicU64,
}

/// A connection from a random loopback address, because one address has too few ports.
pub fn connect(target: SocketAddr, forge: &mut Forge) -> TcpStream {
    let source: IpAddr = match target {
        SocketAddr::V4(_) => {
            let [a, b, c]: [u8; 3] = forge.rng.random();
            Ipv4Addr::new(127, 64 | a & 63, b, c.clamp(1, 254)).into()
        }
        SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    };
    let socket = Socket::new(Domain::for_address(target), Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::new(source, 0).into()).unwrap();
    socket.connect_timeout(&target.into(), PATIENCE).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Sends broken requests until `quota` is used up.
pub fn attack(target: SocketAddr, seed: u64, quota: &AtomicU64, tally: &Tally) {
    let mut forge = Forge::new(seed);
    while quota.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).is_ok() {
        let mut stream = connect(target, &mut forge);
        tally.connections.fetch_add(1, Relaxed);
        let others = PIPELINED - 1;
        if forge.rng.random_range(0..4) == 0
            && quota.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(others)).is_ok()
        {
            tally.sent.fetch_add(PIPELINED, Relaxed);
            nonsense(&mut stream, &mut forge);
            tally.refused.fetch_add(PIPELINED, Relaxed);
        } else {
            tally.sent.fetch_add(1, Relaxed);
            broken(&mut stream, &mut forge);
        }
        // Most close with a reset, which leaves nothing in the kernel.
        if forge.rng.random_range(0..50) != 0 {
            SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
        }
    }
}

/// Valid HTTP that no tracker can serve, pipelined on one connection: every request gets a failure of its own.
fn nonsense(stream: &mut TcpStream, forge: &mut Forge) {
    let mut requests = Vec::new();
    for number in 0..PIPELINED {
        let query = NONSENSE[forge.rng.random_range(0..NONSENSE.len())];
        let end = if number + 1 == PIPELINED { "connection: close\r\n" } else { "" };
        requests.extend_from_slice(format!("GET {query} HTTP/1.1\r\nhost: a\r\n{end}\r\n").as_bytes());
    }
    stream.write_all(&requests).unwrap();
    let mut reply = Vec::new();
    stream.read_to_end(&mut reply).unwrap();
    let reply = String::from_utf8_lossy(&reply);
    let (good, failures) = (reply.matches("HTTP/1.1 200 OK").count(), reply.matches("d14:failure reason").count());
    assert_eq!((good, failures), (PIPELINED as usize, PIPELINED as usize), "{}\n{reply}", requests.escape_ascii());
}

const NONSENSE: [&str; 14] = [
    "/announce",
    "/announce?",
    "/announce?info_hash=%zz&port=1",
    "/announce?info_hash=%1&port=1",
    "/announce?info_hash=%&port=1",
    "/announce?info_hash=short&port=1&left=0&peer_id=aaaaaaaaaaaaaaaaaaaa",
    "/announce?info_hash=%00%00%00%00%00%00%00%00%00%00%00%00%00%00%00%00%00%00%00%00%00&port=1",
    "/announce?info_hash=aaaaaaaaaaaaaaaaaaaa&port=65536&left=0&peer_id=aaaaaaaaaaaaaaaaaaaa",
    "/announce?info_hash=aaaaaaaaaaaaaaaaaaaa&port=0&left=0&peer_id=aaaaaaaaaaaaaaaaaaaa",
    "/announce?info_hash=aaaaaaaaaaaaaaaaaaaa&port=-1&left=0&peer_id=aaaaaaaaaaaaaaaaaaaa",
    "/announce?info_hash=aaaaaaaaaaaaaaaaaaaa&left=0&peer_id=aaaaaaaaaaaaaaaaaaaa",
    "/announce?&&&&====%%%%&=&=",
    "/scrape?info_hash=%zz",
    "/scrape",
];

/// One request that is broken as HTTP: the tracker may refuse it or close the connection, but has to do one of them.
fn broken(stream: &mut TcpStream, forge: &mut Forge) {
    let request = request(forge);
    // The tracker may have closed before it has read everything.
    let sent = stream.write_all(&request);
    if forge.rng.random_range(0..4) == 0 {
        return;
    }
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let mut reply = Vec::new();
    match stream.read_to_end(&mut reply) {
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
            panic!("neither answered nor closed: {sent:?} {}", request[..request.len().min(500)].escape_ascii())
        }
        _ => {}
    }
    let is_http_1 = reply.starts_with(b"HTTP/1.");
    // Anything else has to be HTTP/2, which starts with a frame of settings.
    let is_http_2 = reply.len() >= 9 && reply[3] <= 9;
    assert!(reply.is_empty() || is_http_1 || is_http_2, "{}", reply.escape_ascii());
    if is_http_1 {
        let status = &reply[9..12];
        assert!(
            [b"200", b"400", b"404", b"405", b"413", b"414", b"431", b"501", b"505"]
                .contains(&status.try_into().unwrap()),
            "{}",
            reply.escape_ascii()
        );
    }
}

const GOOD: &[u8] =
    b"GET /announce?info_hash=aaaaaaaaaaaaaaaaaaaa&peer_id=aaaaaaaaaaaaaaaaaaaa&port=1&left=0 HTTP/1.1\r\nhost: a\r\n";
const HTTP_2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

fn request(forge: &mut Forge) -> Vec<u8> {
    let len = forge.rng.random_range(0..2000);
    let noise = forge.noise(len).to_vec();
    let kind = forge.rng.random_range(0..BROKEN.len() + 10);
    match kind {
        0 => noise,
        // Huge: a line, a header, many headers.
        1 => [b"GET /announce?", &vec![b'a'; 100_000][..], b" HTTP/1.1\r\n\r\n"].concat(),
        2 => [GOOD, b"x: ", &vec![b'b'; 100_000], b"\r\n\r\n"].concat(),
        3 => [GOOD, &b"x: y\r\n".repeat(5_000)[..], b"\r\n"].concat(),
        // Good, then garbage.
        4 => [GOOD, b"\r\n", &noise].concat(),
        5 => [GOOD, b"transfer-encoding: chunked\r\n\r\n", &noise].concat(),
        6 => [HTTP_2_PREFACE, &noise].concat(),
        7 => {
            // Whole frames of any kind, after good settings.
            let mut frames = [HTTP_2_PREFACE, &[0, 0, 0, 4, 0, 0, 0, 0, 0]].concat();
            for _ in 0..20 {
                let len = forge.rng.random_range(0..64);
                frames.extend_from_slice(&[0, 0, len, forge.rng.random_range(0..12), forge.rng.random(), 0, 0, 0, 1]);
                frames.extend_from_slice(forge.noise(len.into()));
            }
            frames
        }
        // A good one cut off, or with some bytes changed.
        8 => [GOOD, b"\r\n"].concat()[..forge.rng.random_range(0..GOOD.len())].to_vec(),
        9 => {
            let mut request = [GOOD, b"\r\n"].concat();
            for _ in 0..forge.rng.random_range(1..4) {
                let at = forge.rng.random_range(0..request.len());
                request[at] = forge.rng.random();
            }
            request
        }
        kind => BROKEN[kind - 10].to_vec(),
    }
}

const BROKEN: [&[u8]; 24] = [
    b"\r\n\r\n\r\n",
    b"GET\r\n\r\n",
    b"GET /announce\r\n\r\n",
    b"GET /announce HTTP/9.9\r\nhost: a\r\n\r\n",
    b"GET /announce HTTP/1.1\n\n",
    b"GET /announce?a=\0 HTTP/1.1\r\nhost: a\r\n\r\n",
    b"GET /announce HTTP/1.1\r\nho st: a\r\n\r\n",
    b"GET /announce HTTP/1.1\r\n: a\r\n\r\n",
    b"GET /announce HTTP/1.1\r\nhost: a\r\n folded: b\r\n\r\n",
    b"GET /announce HTTP/1.1\r\nhost: a\r\ncontent-length: -1\r\n\r\n",
    b"GET /announce HTTP/1.1\r\nhost: a\r\ncontent-length: 99999999999999999999999\r\n\r\n",
    b"GET /announce HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nabcdef",
    b"GET /announce HTTP/1.1\r\nhost: a\r\ncontent-length: 1000000\r\n\r\nshort",
    b"POST /announce HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\nbody",
    b"POST /announce HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nfffffffffffffffff\r\nabc",
    b"GET /scrape HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n5\r\nabcde\r\n0\r\n\r\n",
    b"GET /scrape HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\ncontent-length: 3\r\n\r\n0\r\n\r\n",
    b"CONNECT tracker:80 HTTP/1.1\r\nhost: a\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nhost: a\r\n\r\n",
    b"GET http://[::::]/announce HTTP/1.1\r\nhost: a\r\n\r\n",
    b"GET //../../etc/passwd HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\n\r\n",
    b"GET /announce HTTP/1.1\r\nhost: a\r\nupgrade: h2c\r\nconnection: upgrade, http2-settings\r\nhttp2-settings: \xff\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10",
];

/// Keeps `count` silent connections open until `done`, replaces those that the tracker closes, and returns how many it closed.
pub fn hoard(target: SocketAddr, count: usize, done: &AtomicBool) -> u64 {
    let mut forge = Forge::new(count as u64);
    let open = |forge: &mut Forge| {
        let stream = connect(target, forge);
        stream.set_nonblocking(true).unwrap();
        stream
    };
    let mut streams: Vec<_> = (0..count).map(|_| open(&mut forge)).collect();
    let mut closed = 0;
    while !done.load(Relaxed) {
        for stream in &mut streams {
            if !matches!(stream.read(&mut [0]), Err(error) if error.kind() == ErrorKind::WouldBlock) {
                *stream = open(&mut forge);
                closed += 1;
            }
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    closed
}

/// Sends headers byte by byte on `count` connections until `done`. Returns the longest life of a connection, and how many
/// the tracker closed.
pub fn dribble(target: SocketAddr, count: usize, done: &AtomicBool) -> (Duration, u64) {
    let mut forge = Forge::new(count as u64);
    let open = |forge: &mut Forge| {
        let mut stream = connect(target, forge);
        stream.write_all(b"GET /announce HTTP/1.1\r\nx: ").unwrap();
        stream.set_nonblocking(true).unwrap();
        (stream, Instant::now())
    };
    let mut streams: Vec<_> = (0..count).map(|_| open(&mut forge)).collect();
    let (mut longest, mut closed) = (Duration::ZERO, 0);
    while !done.load(Relaxed) {
        for (stream, since) in &mut streams {
            longest = longest.max(since.elapsed());
            let gone = !matches!(stream.read(&mut [0]), Err(error) if error.kind() == ErrorKind::WouldBlock);
            if gone || stream.write(b"y").is_err() {
                (*stream, *since) = open(&mut forge);
                closed += 1;
            }
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    (longest, closed)
}
