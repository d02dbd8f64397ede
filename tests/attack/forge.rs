//! Datagrams that no well-behaved client sends.

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use tidings::swarm::{Event, InfoHash};
use tidings::wire::udp::{
    Announce, ConnectionId, Options, TransactionId, encode_announce, encode_connect, encode_scrape,
};

/// The largest datagram that an attacker sends: nearly the largest that UDP has.
pub const OVERSIZED: usize = 65_000;

/// Makes datagrams, the same ones for the same seed.
pub struct Forge {
    pub rng: SmallRng,
    noise: Vec<u8>,
}

impl Forge {
    pub fn new(seed: u64) -> Self {
        let mut rng = SmallRng::seed_from_u64(seed);
        let noise = (0..1 << 18).map(|_| rng.random()).collect();
        Self { rng, noise }
    }

    pub fn noise(&mut self, len: usize) -> &[u8] {
        let start = self.rng.random_range(0..self.noise.len() - len);
        &self.noise[start..start + len]
    }

    fn add_noise(&mut self, out: &mut Vec<u8>, len: usize) {
        let start = self.rng.random_range(0..self.noise.len() - len);
        out.extend_from_slice(&self.noise[start..start + len]);
    }

    fn up_to(&mut self, most: usize) -> usize {
        self.rng.random_range(0..=most)
    }

    /// Writes a datagram into `out`. Those that resemble requests contain `id`.
    pub fn datagram(&mut self, id: ConnectionId, out: &mut Vec<u8>) {
        out.clear();
        match self.rng.random_range(0..200) {
            0..30 => {
                let len = self.up_to(1500);
                self.add_noise(out, len);
            }
            30..34 => {}
            34..36 => self.add_noise(out, OVERSIZED),
            36..40 => {
                let len = self.rng.random_range(2000..2100);
                self.request(id, out);
                let len = len - out.len().min(2000);
                self.add_noise(out, len);
            }
            40..75 => {
                self.request(id, out);
                let len = self.up_to(out.len());
                out.truncate(len);
            }
            75..120 => {
                self.request(id, out);
                self.mutate(out);
            }
            120..150 => {
                self.announce(id, out);
                let len = self.up_to(600);
                self.options(out, len);
            }
            150..165 => {
                let foreign = OTHER_PROTOCOLS[self.rng.random_range(0..OTHER_PROTOCOLS.len())];
                out.extend_from_slice(foreign);
                let len = self.up_to(40);
                self.add_noise(out, len);
            }
            165..180 => {
                // Replies, and requests with unknown actions.
                out.extend_from_slice(&self.rng.random_range(0..6u32).to_be_bytes());
                let len = self.up_to(100);
                self.add_noise(out, len);
            }
            _ => self.request(id, out),
        }
    }

    /// Well-formed, but with any values.
    fn request(&mut self, id: ConnectionId, out: &mut Vec<u8>) {
        let transaction_id = TransactionId(self.rng.random());
        match self.rng.random_range(0..10) {
            0..2 => encode_connect(out, transaction_id),
            2..4 => {
                let hashes: Vec<[u8; 20]> = (0..self.up_to(100)).map(|_| self.rng.random()).collect();
                encode_scrape(out, id, transaction_id, &hashes);
            }
            _ => self.announce(id, out),
        }
    }

    fn announce(&mut self, id: ConnectionId, out: &mut Vec<u8>) {
        let extreme = |rng: &mut SmallRng| [0, 1, -1, i64::MIN, i64::MAX, rng.random()][rng.random_range(0..6)];
        let event = [Event::None, Event::Started, Event::Stopped, Event::Completed][self.rng.random_range(0..4)];
        let announce = Announce {
            connection_id: id,
            transaction_id: TransactionId(self.rng.random()),
            info_hash: InfoHash(if self.rng.random() { [1; 20] } else { self.rng.random() }),
            event,
            left: extreme(&mut self.rng),
            key: self.rng.random(),
            num_want: extreme(&mut self.rng) as i32,
            port: if self.rng.random_range(0..10) == 0 { 0 } else { self.rng.random() },
            options: Options::default(),
        };
        encode_announce(out, &announce, &self.rng.random());
    }

    /// Broken options of BEP 41: wrong lengths, unknown kinds, endless padding.
    fn options(&mut self, out: &mut Vec<u8>, len: usize) {
        let end = out.len() + len;
        while out.len() < end {
            match self.rng.random_range(0..4) {
                0 => out.resize(out.len() + self.rng.random_range(1..50), 1),
                1 => out.extend_from_slice(&[2, self.rng.random()]),
                2 => out.extend_from_slice(&[self.rng.random(), self.rng.random(), 0]),
                _ => {
                    let len = self.up_to(300);
                    self.add_noise(out, len);
                }
            }
        }
    }

    fn mutate(&mut self, out: &mut Vec<u8>) {
        for _ in 0..self.rng.random_range(1..5) {
            let at = self.rng.random_range(0..out.len());
            match self.rng.random_range(0..5) {
                0 => out[at] ^= 1 << self.rng.random_range(0..8),
                1 => out[at] = [0, 1, 0x7f, 0x80, 0xff][self.rng.random_range(0..5)],
                2 => out[at] = self.rng.random(),
                3 => out.insert(at, self.rng.random()),
                _ if out.len() > 1 => drop(out.remove(at)),
                _ => {}
            }
        }
    }
}

/// What else arrives at a UDP port: DHT, uTP, DNS, HTTP, SIP, QUIC.
const OTHER_PROTOCOLS: [&[u8]; 6] = [
    b"d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:t2:aa1:y1:qe",
    b"\x41\x00\x12\x34\x00\x00\x00\x01\x00\x00\x00\x00\x00\x10\x00\x00\x00\x01\x00\x00",
    b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x07example\x03com\x00\x00\x01\x00\x01",
    b"GET /announce HTTP/1.1\r\n\r\n",
    b"OPTIONS sip:nm SIP/2.0\r\nVia: SIP/2.0/UDP nm;branch=foo\r\n\r\n",
    b"\xc0\x00\x00\x00\x01\x08\x00\x01\x02\x03\x04\x05\x06\x07",
];
