//! One keep-alive connection, which carries one request at a time.

use std::io;
use std::net::SocketAddr;

use mio::net::TcpStream;
use socket2::{Domain, Protocol, Socket, Type};

use crate::cmd::load::flights::Flight;
use crate::cmd::load::job::Job;

/// A connection of a source, open or not.
#[derive(Default)]
pub struct Connection {
    /// The position of its source among those of the worker.
    pub source: usize,
    pub stream: Option<TcpStream>,
    /// Whether it has carried an answer. The tracker may close such a connection at any time, which is no failure.
    pub proven: bool,
    pub flight: Option<Flight<Job>>,
    /// The position of the target that it leads to.
    pub target: usize,
    /// Targets that were tried for the request before this one.
    pub tries: usize,
    pub out: Vec<u8>,
    /// Bytes of `out` that are written.
    pub written: usize,
    pub input: Vec<u8>,
}

/// Starts to connect and returns at once.
pub fn connect(source: Option<SocketAddr>, target: SocketAddr) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(target), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    if let Some(source) = source {
        // The system picks the port when it connects, so connections to different targets can share one.
        socket.set_reuse_address(true)?;
        socket.bind(&source.into())?;
    }
    match socket.connect(&target.into()) {
        Err(e) if e.raw_os_error() != Some(libc::EINPROGRESS) => Err(e),
        _ => Ok(TcpStream::from_std(socket.into())),
    }
}
