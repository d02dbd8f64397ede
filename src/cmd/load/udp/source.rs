//! One source: a socket that is connected to one target at a time, and its connection id.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::Context;
use mio::net::UdpSocket;

use super::request::Task;
use crate::cmd::load::flights::Nanos;
use crate::cmd::load::population::Population;
use crate::cmd::load::sockets::SECOND;
use crate::cmd::load::spec::{Spec, Target};
use crate::cmd::load::tally::Faults;
use crate::swarm::Family;
use crate::wire::udp::ConnectionId;

/// BEP 15: a client may use a connection id for a minute.
const ID_LIFETIME: Nanos = 60 * SECOND;
/// A connection id is renewed from this age on, so that no announce has to wait for it.
const ID_REFRESH: Nanos = 50 * SECOND;

pub struct Source {
    /// Its position among the sources of all workers.
    pub index: u32,
    pub socket: UdpSocket,
    pub family: Family,
    /// The connection id, and when it came.
    connection: Option<(ConnectionId, Nanos)>,
    /// Whether a request for a connection id is under way.
    pub connecting: bool,
    pub in_flight: u32,
    /// Failed requests since the last good answer.
    pub failures: u32,
    /// The position of the target that it talks to.
    pub target: usize,
    /// Requests that wait for a connection id.
    pub waiting: VecDeque<Task>,
}

impl Source {
    /// Opens the socket.
    ///
    /// # Errors
    /// It cannot be opened or bound.
    pub fn new(spec: &Spec, index: u32) -> anyhow::Result<Self> {
        let target = index as usize % spec.targets.len();
        let addr = spec.targets[target].addr;
        Ok(Self {
            index,
            socket: open_socket(spec, index, addr)?,
            family: if addr.ip().to_canonical().is_ipv4() { Family::V4 } else { Family::V6 },
            connection: None,
            connecting: false,
            in_flight: 0,
            failures: 0,
            target,
            waiting: VecDeque::new(),
        })
    }

    /// The connection id, unless it is too old.
    pub fn connection_id(&self, now: Nanos) -> Option<ConnectionId> {
        self.connection.filter(|(_, since)| now - since < ID_LIFETIME).map(|(id, _)| id)
    }

    /// The connection id, however old; zero without one.
    pub fn last_connection_id(&self) -> ConnectionId {
        self.connection.map_or(ConnectionId(0), |(id, _)| id)
    }

    pub fn set_connection_id(&mut self, id: ConnectionId, now: Nanos) {
        self.connection = Some((id, now));
    }

    /// Whether its connection id should be renewed now.
    pub fn needs_refresh(&self, now: Nanos) -> bool {
        !self.connecting && self.connection.is_some_and(|(_, since)| now - since >= ID_REFRESH)
    }

    /// Switches to the next target, unless it has already left `failed`.
    pub fn leave_target(&mut self, failed: usize, targets: &[Target]) -> io::Result<()> {
        if self.target != failed {
            return Ok(());
        }
        self.target = (self.target + 1) % targets.len();
        self.connection = None;
        self.socket.connect(targets[self.target].addr)
    }

    /// Sends a datagram. If that fails, the request will be lost at its deadline.
    pub fn send(&self, datagram: &[u8], faults: &mut Faults) {
        let sent = match self.socket.send(datagram) {
            // The error is about an earlier datagram, and this one was not sent.
            Err(e) if e.kind() == ErrorKind::ConnectionRefused => {
                faults.add(&e.to_string());
                self.socket.send(datagram)
            }
            other => other,
        };
        if let Err(e) = sent {
            faults.add(&e.to_string());
        }
    }
}

fn open_socket(spec: &Spec, source: u32, target: SocketAddr) -> anyhow::Result<UdpSocket> {
    let local: IpAddr = match target.ip() {
        IpAddr::V4(_) if spec.many_addresses => Population::address(source).into(),
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind(SocketAddr::new(local, 0))
        .with_context(|| format!("cannot open a UDP socket on {local}: fewer --sources may help"))?;
    socket.connect(target).with_context(|| format!("{target} cannot be reached"))?;
    Ok(socket)
}
