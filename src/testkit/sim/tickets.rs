//! Datagrams by ticket: only a number goes through turmoil's UDP, and the receiver takes the content out of a table. So loss,
//! delay and cuts are real, and nothing has to be encoded. chitchat could not be simulated otherwise, as its codec is
//! private.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use async_trait::async_trait;
use chitchat::ChitchatEnvelope;
use chitchat::transport::{RecvOutcome, SendOutcome, Socket, Transport};
use parking_lot::Mutex;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use turmoil::net::UdpSocket;

use super::World;
use super::clients::{Answer, Ask};
use super::gossip::Rumours;

/// The content of a datagram.
pub enum Payload {
    Chitchat(ChitchatEnvelope),
    Rumours(Rumours),
    Ask(Ask),
    Answer(Answer),
}

/// Datagrams in flight.
pub struct Tickets {
    inner: Mutex<Inner>,
    loss: f64,
}

struct Inner {
    next: u64,
    open: BTreeMap<u64, Payload>,
    random: SmallRng,
}

/// A datagram that was not received after this time is lost.
const KEPT: u64 = 20_000;

impl Tickets {
    pub fn new(seed: u64, loss: f64) -> Self {
        let random = SmallRng::seed_from_u64(seed ^ 0x71c4e7);
        Self { inner: Mutex::new(Inner { next: 0, open: BTreeMap::new(), random }), loss }
    }

    /// Sends a datagram; gossip may get lost.
    pub async fn send(&self, socket: &UdpSocket, to: SocketAddr, payload: Payload) {
        let ticket = {
            let mut inner = self.inner.lock();
            let gossip = matches!(payload, Payload::Chitchat(_) | Payload::Rumours(_));
            if gossip && self.loss > 0.0 && inner.random.random_bool(self.loss) {
                return;
            }
            inner.next += 1;
            let ticket = inner.next;
            inner.open.insert(ticket, payload);
            while inner.open.first_key_value().is_some_and(|(first, _)| first + KEPT < ticket) {
                inner.open.pop_first();
            }
            ticket
        };
        // A datagram to a missing host is lost.
        let _ = socket.send_to(&ticket.to_be_bytes(), to).await;
    }

    /// The next datagram.
    pub async fn recv(&self, socket: &UdpSocket) -> io::Result<(Payload, SocketAddr)> {
        let mut bytes = [0; 8];
        loop {
            let (_, from) = socket.recv_from(&mut bytes).await?;
            if let Some(payload) = self.inner.lock().open.remove(&u64::from_be_bytes(bytes)) {
                return Ok((payload, from));
            }
        }
    }
}

/// Listens at a port of the host that is running.
pub async fn bind(port: u16) -> io::Result<UdpSocket> {
    UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)).await
}

/// The transport for the real chitchat.
pub struct TicketTransport(pub Arc<World>);

#[async_trait]
impl Transport for TicketTransport {
    async fn open(&self, listen: SocketAddr) -> anyhow::Result<Box<dyn Socket>> {
        Ok(Box::new(TicketSocket { world: self.0.clone(), socket: bind(listen.port()).await? }))
    }
}

struct TicketSocket {
    world: Arc<World>,
    socket: UdpSocket,
}

#[async_trait]
impl Socket for TicketSocket {
    fn local_addr(&self) -> anyhow::Result<SocketAddr> {
        Ok(self.socket.local_addr()?)
    }

    async fn send(&mut self, to: SocketAddr, envelope: ChitchatEnvelope) -> anyhow::Result<SendOutcome> {
        self.world.tickets.send(&self.socket, to, Payload::Chitchat(envelope)).await;
        Ok(SendOutcome { num_bytes_sent: 8 })
    }

    async fn recv(&mut self) -> anyhow::Result<RecvOutcome> {
        loop {
            let (payload, from_addr) = self.world.tickets.recv(&self.socket).await?;
            if let Payload::Chitchat(envelope) = payload {
                return Ok(RecvOutcome { from_addr, envelope, num_bytes_received: 8 });
            }
        }
    }
}
