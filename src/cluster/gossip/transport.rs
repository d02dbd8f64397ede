//! Gossip over sealed datagrams.
//!
//! chitchat keeps the codec of its messages to itself; only its own UDP socket can encode and decode them. So that socket
//! talks to a second one of ours over the loopback, the "far end": messages arrive there encoded, and datagrams sent from
//! there are decoded. The datagrams between nodes go through a third socket, sealed.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use arc_swap::ArcSwap;
use async_trait::async_trait;
use chitchat::ChitchatEnvelope;
use chitchat::transport::{RecvOutcome, SendOutcome, Socket, Transport};
use tokio::net::UdpSocket;
use tokio::time::{sleep, timeout};

use crate::clock::Clock;
use crate::cluster::gossip::keyring::KeyRing;
use crate::cluster::gossip::seal::{MAX_DATAGRAM, OpenError, Seal, SealCounts};

/// How long a datagram may take through the loopback. A slower datagram was not a message.
const CODEC: Duration = Duration::from_millis(200);
/// After this many failures in a row the outer socket counts as broken.
const MAX_FAILURES: u32 = 50;
/// The pause after such a failure.
const FAILURE_PAUSE: Duration = Duration::from_millis(100);

/// A transport for chitchat that seals every datagram.
pub struct SealedTransport {
    seal: Arc<Seal>,
}

impl SealedTransport {
    /// A transport for the cluster of this name, which seals with `keys`; keys that are stored there later count from the
    /// next datagram on. Without keys the datagrams look the same but are **not protected** (see
    /// [`KeyRing::insecure`]).
    pub fn new(cluster: &str, keys: Option<Arc<ArcSwap<KeyRing>>>, clock: Arc<dyn Clock>) -> Self {
        let keys = keys.unwrap_or_else(|| Arc::new(ArcSwap::from_pointee(KeyRing::insecure(cluster))));
        Self { seal: Arc::new(Seal::new(cluster, keys, clock)) }
    }

    /// Datagrams received since the start, by outcome.
    pub fn counts(&self) -> SealCounts {
        self.seal.counts()
    }
}

#[async_trait]
impl Transport for SealedTransport {
    async fn open(&self, listen: SocketAddr) -> anyhow::Result<Box<dyn Socket>> {
        let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let outer = UdpSocket::bind(listen)
            .await
            .with_context(|| format!("cannot listen for gossip on {listen}/udp: check cluster.gossip"))?;
        let codec = chitchat::transport::UdpSocket::open(loopback).await?;
        let far = UdpSocket::bind(loopback).await.context("cannot bind a UDP socket of the loopback")?;
        // So that the kernel drops datagrams from all other senders.
        far.connect(codec.local_addr()?).await.context("cannot connect over the loopback")?;
        let far_addr = far.local_addr().context("cannot read the address of a socket")?;
        let buffer = vec![0; MAX_DATAGRAM].into_boxed_slice();
        Ok(Box::new(SealedSocket { seal: self.seal.clone(), outer, codec, far, far_addr, decoding: None, buffer }))
    }
}

struct SealedSocket {
    seal: Arc<Seal>,
    /// Talks to other nodes.
    outer: UdpSocket,
    /// chitchat's own, which encodes and decodes.
    codec: chitchat::transport::UdpSocket,
    /// The other end of `codec`.
    far: UdpSocket,
    far_addr: SocketAddr,
    /// Who sent the datagram that is on its way through `codec`, so that a cancelled `recv` can go on.
    decoding: Option<SocketAddr>,
    buffer: Box<[u8]>,
}

#[async_trait]
impl Socket for SealedSocket {
    fn local_addr(&self) -> anyhow::Result<SocketAddr> {
        self.outer.local_addr().context("cannot read the address of a socket")
    }

    async fn send(&mut self, to: SocketAddr, envelope: ChitchatEnvelope) -> anyhow::Result<SendOutcome> {
        // What an earlier call has left there would come out instead of this envelope.
        while self.far.try_recv(&mut self.buffer).is_ok() {}
        self.codec.send(self.far_addr, envelope).await?;
        let received = timeout(CODEC, self.far.recv(&mut self.buffer)).await;
        let length = received.context("the loopback lost a datagram")?.context("the loopback fails")?;
        let Some(datagram) = self.seal.seal(&self.buffer[..length]) else {
            bail!("a gossip message of {length} bytes is too large");
        };
        // A node that cannot be reached must not cost a log line each time; membership reports it.
        if let Err(error) = self.outer.send_to(&datagram, self.reachable(to)).await {
            tracing::debug!(%to, "cannot send gossip: {error}");
        }
        Ok(SendOutcome { num_bytes_sent: datagram.len() })
    }

    async fn recv(&mut self) -> anyhow::Result<RecvOutcome> {
        let mut failures = 0;
        loop {
            let from = match self.decoding {
                Some(from) => from,
                None => match self.receive().await {
                    Ok(Some(from)) => from,
                    Ok(None) => continue,
                    Err(error) if failures < MAX_FAILURES => {
                        failures += 1;
                        tracing::debug!("cannot receive gossip: {error}");
                        sleep(FAILURE_PAUSE).await;
                        continue;
                    }
                    Err(error) => return Err(error).context("cannot receive gossip"),
                },
            };
            match timeout(CODEC, self.codec.recv()).await {
                Ok(outcome) => {
                    let outcome = outcome?;
                    // Others on this host can send to the codec, though they do not learn its port.
                    if outcome.from_addr == self.far_addr {
                        self.decoding = None;
                        return Ok(RecvOutcome { from_addr: from, ..outcome });
                    }
                }
                Err(_) => {
                    self.decoding = None;
                    self.seal.refused(OpenError::Malformed, from);
                }
            }
        }
    }
}

impl SealedSocket {
    /// Puts the next datagram that opens into the codec; `None` if one did not open. Can be cancelled.
    async fn receive(&mut self) -> io::Result<Option<SocketAddr>> {
        let (length, from) = self.outer.recv_from(&mut self.buffer).await?;
        let Ok(payload) = self.seal.open(&self.buffer[..length], from) else { return Ok(None) };
        // Cancelled before it is sent, the datagram is lost, as datagrams are; once it is sent, nothing comes between
        // that and the note that it is under way.
        self.far.send(&payload).await?;
        self.decoding = Some(from);
        Ok(self.decoding)
    }

    /// A socket for IPv6 reaches IPv4 by mapped addresses.
    fn reachable(&self, to: SocketAddr) -> SocketAddr {
        match (self.outer.local_addr(), to) {
            (Ok(SocketAddr::V6(_)), SocketAddr::V4(to)) => (to.ip().to_ipv6_mapped(), to.port()).into(),
            _ => to,
        }
    }
}

#[cfg(test)]
mod tests;
