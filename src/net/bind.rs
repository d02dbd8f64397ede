//! Creates sockets that several threads share by SO_REUSEPORT.

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::AsFd;

use socket2::{Domain, Protocol, Socket, Type};

use super::kernel;

/// The receive buffer that UDP sockets ask for, in bytes: half a second of a busy core's datagrams.
pub const UDP_RECEIVE_BUFFER: i32 = 8 << 20;

/// Maximum connections waiting to be accepted.
const TCP_BACKLOG: i32 = 1024;

/// Makes a UDP socket bound to `addr`. With `port_shared`, other sockets of this user may bind the same address, and the
/// kernel spreads clients over them. Without `fragments`, what it sends is never fragmented. An IPv6 address takes IPv6 only, so that families never mix on one socket.
///
/// # Errors
/// Those of the system calls; [`io::ErrorKind::AddrInUse`] when the port is taken.
pub fn udp(addr: SocketAddr, port_shared: bool, fragments: bool) -> io::Result<UdpSocket> {
    let socket = bound(addr, Type::DGRAM, Protocol::UDP, port_shared)?;
    // As much as the system grants; too little shows as receive errors in the kernel's counters.
    let _ = kernel::set_receive_buffer(socket.as_fd(), UDP_RECEIVE_BUFFER);
    if addr.is_ipv4() && !fragments {
        kernel::forbid_fragments(socket.as_fd())?;
    }
    if addr.ip().is_unspecified() {
        kernel::enable_packet_info(socket.as_fd(), addr.is_ipv6())?;
    }
    Ok(socket.into())
}

/// Makes a listening TCP socket; see [`udp`].
///
/// # Errors
/// Those of the system calls; [`io::ErrorKind::AddrInUse`] when the port is taken.
pub fn tcp(addr: SocketAddr, port_shared: bool) -> io::Result<TcpListener> {
    let socket = bound(addr, Type::STREAM, Protocol::TCP, port_shared)?;
    socket.listen(TCP_BACKLOG)?;
    Ok(socket.into())
}

fn bound(addr: SocketAddr, kind: Type, protocol: Protocol, port_shared: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(addr), kind, Some(protocol))?;
    socket.set_nonblocking(true)?;
    if addr.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    if kind == Type::STREAM {
        // Connections of a former process in TIME_WAIT must not keep a restart from binding.
        socket.set_reuse_address(true)?;
    }
    socket.set_reuse_port(port_shared)?;
    socket.bind(&addr.into())?;
    Ok(socket)
}
