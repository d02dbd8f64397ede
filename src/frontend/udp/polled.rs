//! Registering a socket for polling, and taking it out again.

use std::io;
use std::net::UdpSocket;

/// A second descriptor of a socket, which is registered for polling and taken out again. It is opened at the start: later
/// there may be no descriptors left.
pub(super) enum Polled {
    Registered(tokio::net::UdpSocket),
    Unregistered(UdpSocket),
    /// The kernel refused to register it, for lack of memory.
    Lost,
}

impl Polled {
    /// The second descriptor of this socket, not registered yet.
    pub(super) fn new(socket: &UdpSocket) -> io::Result<Self> {
        socket.try_clone().map(Self::Unregistered)
    }

    pub(super) fn register(&mut self, socket: &UdpSocket) -> Option<&tokio::net::UdpSocket> {
        *self = match std::mem::replace(self, Self::Lost) {
            Self::Unregistered(second) => Self::registered(second),
            Self::Lost => socket.try_clone().map_or(Self::Lost, Self::registered),
            registered => registered,
        };
        self.get()
    }

    fn registered(second: UdpSocket) -> Self {
        tokio::net::UdpSocket::from_std(second).map_or(Self::Lost, Self::Registered)
    }

    pub(super) fn unregister(&mut self) {
        *self = match std::mem::replace(self, Self::Lost) {
            Self::Registered(second) => second.into_std().map_or(Self::Lost, Self::Unregistered),
            other => other,
        };
    }

    pub(super) fn get(&self) -> Option<&tokio::net::UdpSocket> {
        match self {
            Self::Registered(second) => Some(second),
            _ => None,
        }
    }
}
