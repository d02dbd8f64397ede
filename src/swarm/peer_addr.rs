//! A peer's address, in the one form that keys are made of.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// The address family. It decides the stride of compact peers (6 or 18 bytes); families never mix in one list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// IPv4: 4 bytes of address and 2 of port.
    V4,
    /// IPv6: 16 bytes of address and 2 of port.
    V6,
}

impl Family {
    /// Bytes of one compact peer (BEP 23, BEP 7).
    pub const fn stride(self) -> usize {
        match self {
            Self::V4 => 6,
            Self::V6 => 18,
        }
    }

    /// The value of the metric label `family`.
    pub const fn label(self) -> &'static str {
        match self {
            Self::V4 => "ipv4",
            Self::V6 => "ipv6",
        }
    }
}

/// The canonical address of a peer: an IPv4-mapped IPv6 address is its IPv4 address. A peer *is* its (IP, port); the
/// peer id is no identity, as it differs per connection, port and torrent.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerAddr {
    ip: IpAddr,
    port: u16,
}

impl PeerAddr {
    /// Makes the canonical form of `ip` and `port`.
    pub fn new(ip: IpAddr, port: u16) -> Self {
        Self { ip: ip.to_canonical(), port }
    }

    /// The canonical IP address.
    pub fn ip(&self) -> IpAddr {
        self.ip
    }

    /// The port on which the peer accepts connections.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The family of the canonical address.
    pub fn family(&self) -> Family {
        match self.ip {
            IpAddr::V4(_) => Family::V4,
            IpAddr::V6(_) => Family::V6,
        }
    }
}

impl From<SocketAddr> for PeerAddr {
    fn from(addr: SocketAddr) -> Self {
        Self::new(addr.ip(), addr.port())
    }
}

impl From<PeerAddr> for SocketAddr {
    fn from(addr: PeerAddr) -> Self {
        Self::new(addr.ip, addr.port)
    }
}

impl fmt::Debug for PeerAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        SocketAddr::from(*self).fmt(f)
    }
}
