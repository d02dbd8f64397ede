//! Attackers over UDP, and the proof that the tracker does not amplify traffic.

use std::collections::{HashMap, HashSet};
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use rand::RngExt;
use tidings::swarm::Family;
use tidings::wire::udp::{ConnectionId, Response, TransactionId, encode_connect, parse_response};

use crate::forge::Forge;

/// Datagrams that an attacker sends before it waits until the tracker has read them. Otherwise the kernel would drop most of
/// an attack, and the requests of clients with it, before the tracker sees either.
const BATCH: u64 = 32;
/// The largest reply to anyone (the default of `limits.udp_reply_bytes`).
const LARGEST_REPLY: usize = 1232;
/// How long to wait for an answer before a request is repeated, and how often it is sent.
const PATIENCE: (Duration, u32) = (Duration::from_secs(5), 20);

#[derive(Default)]
pub struct Tally {
    /// Datagrams sent, including those that got a connection id.
    pub sent: AtomicU64,
    pub replies: AtomicU64,
    /// Replies to unproven addresses, each checked to be no longer than its request.
    pub to_unproven: AtomicU64,
}

/// Sends datagrams until `quota` is used up.
pub fn attack(target: SocketAddr, seed: u64, quota: &AtomicU64, tally: &Tally) {
    let mut forge = Forge::new(seed);
    let mut stolen = ConnectionId(forge.rng.random());
    let (mut batch, mut earlier) = (0u64, HashSet::new());
    while quota.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(BATCH)).is_ok() {
        if batch.is_multiple_of(1000) && target.is_ipv4() {
            stolen = Attacker::new(target, source(target, true, &mut forge), tally).connect(&mut forge);
        }
        let proven = forge.rng.random_range(0..4) == 0;
        let mut attacker = Attacker::new(target, source(target, proven, &mut forge), tally);
        attacker.earlier = earlier;
        if proven {
            attacker.proven = Some(attacker.connect(&mut forge));
        }
        batch += 1;
        attacker.send_batch(&mut forge, stolen);
        // Both directions are FIFO: once this is answered, so is everything before it that needs no owner.
        attacker.connect(&mut forge);
        earlier = attacker.finish();
    }
}

/// A random loopback address, from different networks for proven and unproven addresses.
fn source(target: SocketAddr, proven: bool, forge: &mut Forge) -> IpAddr {
    if target.is_ipv6() {
        return Ipv6Addr::LOCALHOST.into();
    }
    let [a, b, c]: [u8; 3] = forge.rng.random();
    Ipv4Addr::new(127, if proven { 128 | a } else { 64 | a & 63 }, b, c.clamp(1, 254)).into()
}

struct Attacker<'a> {
    socket: UdpSocket,
    family: Family,
    /// Its own connection id, if it uses one.
    proven: Option<ConnectionId>,
    /// The bytes of the longest request with each transaction id.
    asked: HashMap<u32, usize>,
    /// Transaction ids of earlier proven attackers. Over IPv6 all have one address, and ports repeat soon, so that an owner's
    /// answer may reach a later attacker.
    earlier: HashSet<u32>,
    tally: &'a Tally,
}

impl<'a> Attacker<'a> {
    fn new(target: SocketAddr, source: IpAddr, tally: &'a Tally) -> Self {
        let socket = UdpSocket::bind((source, 0)).unwrap();
        socket.connect(target).unwrap();
        socket.set_read_timeout(Some(PATIENCE.0)).unwrap();
        let family = if target.is_ipv4() { Family::V4 } else { Family::V6 };
        Self { socket, family, proven: None, asked: HashMap::new(), earlier: HashSet::new(), tally }
    }

    /// The transaction ids that may still be answered.
    fn finish(mut self) -> HashSet<u32> {
        if self.earlier.len() > 1 << 16 {
            self.earlier.clear();
        }
        if self.proven.is_some() && self.family == Family::V6 {
            self.earlier.extend(self.asked.into_keys());
        }
        self.earlier
    }

    fn send(&mut self, datagram: &[u8]) {
        if let Some(bytes) = datagram.get(12..16) {
            let transaction_id = u32::from_be_bytes(bytes.try_into().unwrap());
            let longest = self.asked.entry(transaction_id).or_default();
            *longest = datagram.len().max(*longest);
        }
        self.socket.send(datagram).unwrap();
        self.tally.sent.fetch_add(1, Relaxed);
    }

    fn send_batch(&mut self, forge: &mut Forge, stolen: ConnectionId) {
        let mut datagram = Vec::new();
        for _ in 0..BATCH {
            let id = self.proven.unwrap_or_else(|| match forge.rng.random_range(0..4) {
                // That of another address, one of an hour ago, zero, or a random one.
                0 => stolen,
                1 => ConnectionId(stolen.0.wrapping_sub(3600 << 32)),
                2 => ConnectionId(0),
                _ => ConnectionId(forge.rng.random()),
            });
            forge.datagram(id, &mut datagram);
            self.send(&datagram);
        }
    }

    /// Gets a connection id, and checks all other answers that come before it.
    fn connect(&mut self, forge: &mut Forge) -> ConnectionId {
        let mut buffer = [0; 65_536];
        for _ in 0..PATIENCE.1 {
            let transaction_id = TransactionId(forge.rng.random());
            let mut request = Vec::new();
            encode_connect(&mut request, transaction_id);
            self.send(&request);
            loop {
                match self.socket.recv(&mut buffer) {
                    Ok(len) => match self.check(&buffer[..len]) {
                        Response::Connect { transaction_id: its, connection_id } if its == transaction_id => {
                            return connection_id;
                        }
                        _ => {}
                    },
                    Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => break,
                    Err(error) => panic!("the tracker is gone: {error}"),
                }
            }
        }
        panic!("the tracker no longer answers")
    }

    fn check<'b>(&self, reply: &'b [u8]) -> Response<'b> {
        self.tally.replies.fetch_add(1, Relaxed);
        let response = parse_response(reply, self.family).unwrap();
        assert!(reply.len() <= LARGEST_REPLY, "{} bytes", reply.len());
        let Some(&asked) = self.asked.get(&response.transaction_id().0) else {
            assert!(self.earlier.contains(&response.transaction_id().0), "an answer without a request: {response:?}");
            return response;
        };
        if self.proven.is_none() {
            self.tally.to_unproven.fetch_add(1, Relaxed);
            assert!(reply.len() <= asked, "{} bytes in answer to {asked} of an unproven source", reply.len());
            assert!(
                matches!(response, Response::Connect { .. } | Response::Error { .. }),
                "an unproven source was served: {response:?}"
            );
        }
        response
    }
}
