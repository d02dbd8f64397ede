//! A UDP client (BEP 15) that shares no code with the tracker.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

pub const CONNECT_MAGIC: u64 = 0x417_2710_1980;
pub const HASH: [u8; 20] = *b"\x12\x34an info hash \xff\x00\x01 +";
/// How long to wait for a reply before a request is sent again, and how often it is sent. Over loopback only a full buffer
/// loses a datagram.
const TIMEOUT: Duration = Duration::from_secs(5);
const TRIES: usize = 10;

pub const CONNECT: u32 = 0;
pub const ANNOUNCE: u32 = 1;
pub const SCRAPE: u32 = 2;
pub const ERROR: u32 = 3;

pub const COMPLETED: u32 = 1;
pub const STARTED: u32 = 2;
pub const STOPPED: u32 = 3;

/// A socket with a connection id.
pub struct Client {
    pub socket: UdpSocket,
    pub id: u64,
}

/// The fields of an announce that tests vary.
#[derive(Clone, Copy)]
pub struct Announce {
    pub info_hash: [u8; 20],
    pub peer_id: [u8; 20],
    pub left: i64,
    pub event: u32,
    pub num_want: i32,
    pub port: u16,
}

/// An announce of a leecher that starts at this port.
pub fn leecher(port: u16) -> Announce {
    Announce { info_hash: HASH, peer_id: *b"-TR4060-0123456789ab", left: 1, event: STARTED, num_want: -1, port }
}

/// The reply to an announce.
#[derive(Debug, PartialEq)]
pub struct Reply {
    pub interval: u32,
    pub leechers: u32,
    pub seeders: u32,
    pub peers: Vec<SocketAddr>,
    pub bytes: usize,
}

impl Announce {
    pub fn bytes(&self, id: u64, transaction: u32) -> Vec<u8> {
        let mut bytes = head(id, ANNOUNCE, transaction);
        bytes.extend(self.info_hash);
        bytes.extend(self.peer_id);
        bytes.extend(0u64.to_be_bytes());
        bytes.extend(self.left.to_be_bytes());
        bytes.extend(0u64.to_be_bytes());
        bytes.extend(self.event.to_be_bytes());
        bytes.extend(0u32.to_be_bytes());
        bytes.extend(7u32.to_be_bytes());
        bytes.extend(self.num_want.to_be_bytes());
        bytes.extend(self.port.to_be_bytes());
        assert_eq!(bytes.len(), 98);
        bytes
    }
}

pub fn head(id: u64, action: u32, transaction: u32) -> Vec<u8> {
    [&id.to_be_bytes()[..], &action.to_be_bytes(), &transaction.to_be_bytes()].concat()
}

impl Client {
    /// Connects to a tracker.
    pub fn new(tracker: SocketAddr) -> Self {
        let mut client = Self { socket: socket(tracker), id: 0 };
        client.connect();
        client
    }

    /// Gets a new connection id.
    pub fn connect(&mut self) {
        let reply = self.request(&head(CONNECT_MAGIC, CONNECT, 1)).expect("a connect is answered");
        assert_eq!((reply.len(), be32(&reply[0..]), be32(&reply[4..])), (16, CONNECT, 1));
        self.id = u64::from_be_bytes(reply[8..].try_into().unwrap());
    }

    /// Sends a datagram until a reply comes, and returns that; `None` if none does.
    pub fn request(&self, request: &[u8]) -> Option<Vec<u8>> {
        let mut buffer = [0; 65_536];
        // Late replies to requests that were sent twice.
        self.socket.set_nonblocking(true).unwrap();
        while self.socket.recv(&mut buffer).is_ok() {}
        self.socket.set_nonblocking(false).unwrap();

        for _ in 0..TRIES {
            self.socket.send(request).unwrap();
            if let Ok(len) = self.socket.recv(&mut buffer) {
                return Some(buffer[..len].to_vec());
            }
        }
        None
    }

    /// Announces and reads the reply, whose stride is that of this socket's family.
    pub fn announce(&self, announce: &Announce) -> Reply {
        self.announce_bytes(&announce.bytes(self.id, 0x0102_0304))
    }

    pub fn announce_bytes(&self, request: &[u8]) -> Reply {
        let reply = self.request(request).expect("an announce is answered");
        assert_eq!((be32(&reply), be32(&reply[4..])), (ANNOUNCE, 0x0102_0304), "{}", reply.escape_ascii());
        let stride = if self.socket.local_addr().unwrap().is_ipv4() { 6 } else { 18 };
        let peers = compact(&reply[20..], stride);
        let [interval, leechers, seeders] = [8, 12, 16].map(|at| be32(&reply[at..]));
        Reply { interval, leechers, seeders, peers, bytes: reply.len() }
    }

    /// Seeders, completed and leechers of each swarm.
    pub fn scrape(&self, info_hashes: &[[u8; 20]]) -> Vec<[u32; 3]> {
        let mut request = head(self.id, SCRAPE, 9);
        request.extend(info_hashes.concat());
        scraped(&self.request(&request).expect("a scrape is answered"))
    }

    /// The message of the error that a request is answered with.
    pub fn error(&self, request: &[u8]) -> String {
        let reply = self.request(request).expect("it is answered");
        assert_eq!(be32(&reply), ERROR, "{}", reply.escape_ascii());
        assert_eq!(reply[4..8], request[12..16], "the transaction id");
        String::from_utf8(reply[8..].to_vec()).unwrap()
    }
}

pub fn scraped(reply: &[u8]) -> Vec<[u32; 3]> {
    assert_eq!((be32(reply), be32(&reply[4..])), (SCRAPE, 9));
    let (entries, rest) = reply[8..].as_chunks::<12>();
    assert!(rest.is_empty());
    entries.iter().map(|entry| [0, 4, 8].map(|at| be32(&entry[at..]))).collect()
}

/// A socket of the tracker's family on this host.
pub fn socket(tracker: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind(SocketAddr::new(tracker.ip(), 0)).unwrap();
    socket.connect(tracker).unwrap();
    socket.set_read_timeout(Some(TIMEOUT)).unwrap();
    socket
}

pub fn be32(bytes: &[u8]) -> u32 {
    u32::from_be_bytes(bytes[..4].try_into().unwrap())
}

/// Peers in compact form.
fn compact(bytes: &[u8], stride: usize) -> Vec<SocketAddr> {
    let chunks = bytes.chunks_exact(stride);
    assert!(chunks.remainder().is_empty(), "{} is no multiple of {stride}", bytes.len());
    let peer = |bytes: &[u8]| {
        let (ip, port) = bytes.split_at(stride - 2);
        let ip = match stride {
            6 => IpAddr::from(<[u8; 4]>::try_from(ip).unwrap()),
            _ => IpAddr::from(<[u8; 16]>::try_from(ip).unwrap()),
        };
        SocketAddr::new(ip, u16::from_be_bytes([port[0], port[1]]))
    };
    chunks.map(peer).collect()
}
