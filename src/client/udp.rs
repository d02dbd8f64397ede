//! Requests over UDP (BEP 15), one at a time.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::time::timeout;

use crate::swarm::Family;
use crate::wire::udp::{Response, ResponseError, TransactionId, parse_response};

/// Room for the longest possible datagram.
const MAX_DATAGRAM: usize = 1 << 16;

/// When and how often an unanswered datagram is sent again.
#[derive(Clone, Copy, Debug)]
pub struct Resend {
    pub after: Duration,
    pub times: u32,
}

/// A socket that is connected to one tracker.
#[derive(Debug)]
pub struct UdpClient {
    socket: UdpSocket,
    family: Family,
    resend: Resend,
    first: u32,
    requests: u32,
    out: Vec<u8>,
    buffer: Vec<u8>,
}

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub enum UdpError {
    /// The request cannot be delivered, or no program listens there.
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("malformed reply: {0}")]
    Malformed(#[from] ResponseError),
    #[error("the reply has the transaction id {got:08x}, the request had {asked:08x}")]
    TransactionId { got: u32, asked: u32 },
}

impl UdpClient {
    /// A socket for `addr`, with transaction ids from `first` on.
    ///
    /// # Errors
    /// There is no free socket, or no route to the address.
    pub async fn new(addr: SocketAddr, first: TransactionId, resend: Resend) -> io::Result<Self> {
        let (any, family): (IpAddr, _) = match addr {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED.into(), Family::V4),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED.into(), Family::V6),
        };
        let socket = UdpSocket::bind((any, 0)).await?;
        socket.connect(addr).await?;
        let (out, buffer) = (Vec::new(), vec![0; MAX_DATAGRAM]);
        Ok(Self { socket, family, resend, first: first.0, requests: 0, out, buffer })
    }

    /// The local address.
    ///
    /// # Errors
    /// The system does not know it.
    pub fn local_ip(&self) -> io::Result<IpAddr> {
        self.socket.local_addr().map(|addr| addr.ip())
    }

    /// Sends the request that `encode` appends, resends it while there is no answer, and returns the reply. There is no
    /// timeout: the caller sets one and may drop this future at any time.
    ///
    /// # Errors
    /// See [`UdpError`]. Late replies to earlier requests of this socket are ignored.
    pub async fn exchange(
        &mut self,
        encode: impl FnOnce(&mut Vec<u8>, TransactionId),
    ) -> Result<Response<'_>, UdpError> {
        let id = TransactionId(self.first.wrapping_add(self.requests));
        self.requests += 1;
        self.out.clear();
        encode(&mut self.out, id);
        let mut resends = self.resend.times;
        let len = loop {
            self.socket.send(&self.out).await?;
            let (requests, first) = (self.requests, self.first);
            let answer =
                answer(&self.socket, &mut self.buffer, self.family, id, |id| id.0.wrapping_sub(first) < requests);
            if resends == 0 {
                break answer.await?;
            }
            if let Ok(answered) = timeout(self.resend.after, answer).await {
                break answered?;
            }
            resends -= 1;
        };
        Ok(parse_response(&self.buffer[..len], self.family)?)
    }
}

/// Waits for the reply to a request, and returns its length.
async fn answer(
    socket: &UdpSocket,
    buffer: &mut [u8],
    family: Family,
    asked: TransactionId,
    is_ours: impl Fn(TransactionId) -> bool,
) -> Result<usize, UdpError> {
    loop {
        let len = socket.recv(buffer).await?;
        match parse_response(&buffer[..len], family)?.transaction_id() {
            id if id == asked => return Ok(len),
            // A resent request is answered twice.
            id if is_ours(id) => {}
            id => return Err(UdpError::TransactionId { got: id.0, asked: asked.0 }),
        }
    }
}
