//! What needs system calls that no crate wraps as we need them: batched datagrams (`recvmmsg`, `sendmmsg`), a few socket
//! options, and the advice on huge pages. The only module with `unsafe` code; what it offers is safe.

#![allow(unsafe_code, reason = "system calls that take pointers")]

use std::io;
use std::mem::{MaybeUninit, zeroed};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use libc::{c_int, iovec, mmsghdr, sockaddr_in6};

/// Bytes of the longest socket address that we use, `sockaddr_in6`.
const NAME_LEN: usize = size_of::<sockaddr_in6>();
/// AnnounceParams of control data for one datagram: room for the larger packet information, that of IPv6.
const CONTROL_WORDS: usize = 5;
const CONTROL_LEN: usize = CONTROL_WORDS * 8;

/// The remote end of a datagram, and the local address it came to: what is needed to answer it.
///
/// It keeps the kernel's own form of the remote address, which goes back to the kernel as it came.
#[derive(Clone, Copy)]
pub struct Endpoint {
    /// A `sockaddr_in` or `sockaddr_in6`.
    name: [u8; NAME_LEN],
    name_len: u8,
    /// Set for sockets that are bound to every address, so that the answer comes from the address that was asked.
    local: Option<Local>,
}

/// A local address and the interface it was reached by.
#[derive(Clone, Copy)]
enum Local {
    V4([u8; 4]),
    V6([u8; 16], u32),
}

impl Endpoint {
    /// The remote IP address in canonical form, and the remote port. `None` for an address of neither IP family.
    pub fn remote(&self) -> Option<SocketAddr> {
        let name = &self.name[..usize::from(self.name_len)];
        let port = u16::from_be_bytes(name.get(2..4)?.try_into().ok()?);
        let ip: IpAddr = match c_int::from(u16::from_ne_bytes(name.get(..2)?.try_into().ok()?)) {
            libc::AF_INET => Ipv4Addr::from(<[u8; 4]>::try_from(name.get(4..8)?).ok()?).into(),
            libc::AF_INET6 => Ipv6Addr::from(<[u8; 16]>::try_from(name.get(8..24)?).ok()?).into(),
            _ => return None,
        };
        Some(SocketAddr::new(ip.to_canonical(), port))
    }
}

impl From<SocketAddr> for Endpoint {
    fn from(addr: SocketAddr) -> Self {
        let mut name = [0; NAME_LEN];
        name[2..4].copy_from_slice(&addr.port().to_be_bytes());
        let (family, name_len) = match addr {
            SocketAddr::V4(addr) => {
                name[4..8].copy_from_slice(&addr.ip().octets());
                (libc::AF_INET, size_of::<libc::sockaddr_in>())
            }
            SocketAddr::V6(addr) => {
                name[4..8].copy_from_slice(&addr.flowinfo().to_ne_bytes());
                name[8..24].copy_from_slice(&addr.ip().octets());
                name[24..].copy_from_slice(&SocketAddrV6::scope_id(&addr).to_ne_bytes());
                (libc::AF_INET6, NAME_LEN)
            }
        };
        name[..2].copy_from_slice(&(family as u16).to_ne_bytes());
        Self { name, name_len: name_len as u8, local: None }
    }
}

/// Makes the kernel report the local address that each datagram was sent to.
///
/// # Errors
/// Those of `setsockopt`.
pub fn enable_packet_info(socket: BorrowedFd<'_>, ipv6: bool) -> io::Result<()> {
    let (level, option) =
        if ipv6 { (libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO) } else { (libc::IPPROTO_IP, libc::IP_PKTINFO) };
    set_int(socket, level, option, 1)
}

/// Sets the receive buffer to `bytes`, above the system's limit when the process may do that, up to the limit if not.
///
/// # Errors
/// Those of `setsockopt`.
pub fn set_receive_buffer(socket: BorrowedFd<'_>, bytes: c_int) -> io::Result<()> {
    set_int(socket, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, bytes)
        .or_else(|_| set_int(socket, libc::SOL_SOCKET, libc::SO_RCVBUF, bytes))
}

/// Forbids fragmentation of what an IPv4 socket sends. Replies that fit everywhere need no fragments, and packets that cannot
/// be fragmented need no identification, which the kernel would hash for each.
///
/// # Errors
/// Those of `setsockopt`.
pub fn forbid_fragments(socket: BorrowedFd<'_>) -> io::Result<()> {
    set_int(socket, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_DO)
}

/// Lets the kernel back a range of addresses by huge pages. `false` when it will not.
///
/// This is only a hint: it changes no byte of the memory, so any range may be passed whatever owns it.
pub fn advise_huge_pages(start: usize, len: usize) -> bool {
    // SAFETY: MADV_HUGEPAGE alters neither the contents nor the validity of the range; the kernel checks its bounds.
    unsafe { libc::madvise(ptr::without_provenance_mut(start), len, libc::MADV_HUGEPAGE) == 0 }
}

fn set_int(socket: BorrowedFd<'_>, level: c_int, option: c_int, value: c_int) -> io::Result<()> {
    let len = size_of::<c_int>() as libc::socklen_t;
    // SAFETY: the pointer and the length are those of `value`, which the call only reads.
    let result = unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, ptr::from_ref(&value).cast(), len) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Buffers for one `recvmmsg`.
pub struct Receiver {
    /// `headers` point into `iovecs`, `names` and `controls`, and `iovecs` into `data`. None of them is ever resized or
    /// handed out mutably, so the pointers, which are set again before each call, are valid during the call.
    data: Box<[u8]>,
    names: Box<[[u8; NAME_LEN]]>,
    controls: Box<[[u64; CONTROL_WORDS]]>,
    iovecs: Box<[iovec]>,
    headers: Box<[mmsghdr]>,
    datagram_len: usize,
    with_packet_info: bool,
}

// SAFETY: the raw pointers in `iovecs` and `headers` point into boxes that the same struct owns and moves along with.
unsafe impl Send for Receiver {}

impl Receiver {
    /// Room for `count` datagrams of up to `datagram_len` bytes; longer ones are reported as truncated.
    pub fn new(count: usize, datagram_len: usize, with_packet_info: bool) -> Self {
        // SAFETY: all-zero bytes are valid for both structs of integers and raw pointers.
        let (iovec, header) = unsafe { (zeroed::<iovec>(), zeroed::<mmsghdr>()) };
        Self {
            data: vec![0; count * datagram_len].into(),
            names: vec![[0; NAME_LEN]; count].into(),
            controls: vec![[0; CONTROL_WORDS]; count].into(),
            iovecs: vec![iovec; count].into(),
            headers: vec![header; count].into(),
            datagram_len,
            with_packet_info,
        }
    }

    /// How many datagrams one call can return.
    pub fn capacity(&self) -> usize {
        self.headers.len()
    }

    /// Receives what is there without waiting, and returns how many datagrams that were.
    ///
    /// # Errors
    /// Those of `recvmmsg`; [`io::ErrorKind::WouldBlock`] when there is none.
    pub fn receive(&mut self, socket: BorrowedFd<'_>) -> io::Result<usize> {
        let datagrams = self.data.chunks_exact_mut(self.datagram_len);
        let buffers = datagrams.zip(&mut self.iovecs).zip(self.names.iter_mut().zip(&mut self.controls));
        for (header, ((data, iovec), (name, control))) in self.headers.iter_mut().zip(buffers) {
            iovec.iov_base = data.as_mut_ptr().cast();
            iovec.iov_len = data.len();
            let header = &mut header.msg_hdr;
            header.msg_iov = iovec;
            header.msg_iovlen = 1;
            header.msg_name = name.as_mut_ptr().cast();
            header.msg_namelen = NAME_LEN as libc::socklen_t;
            if self.with_packet_info {
                header.msg_control = control.as_mut_ptr().cast();
                header.msg_controllen = CONTROL_LEN as _;
            }
        }
        let count = self.headers.len() as libc::c_uint;
        // SAFETY: `headers` holds `count` headers, whose pointers and lengths were just set to buffers that live in
        // `self`, which is borrowed mutably for the whole call.
        let received = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                self.headers.as_mut_ptr(),
                count,
                libc::MSG_DONTWAIT as _,
                ptr::null_mut(),
            )
        };
        usize::try_from(received).map_err(|_| io::Error::last_os_error())
    }

    /// A datagram of the last [`Receiver::receive`]; `None` when it was longer than the buffer.
    ///
    /// # Panics
    /// When `at` is not less than [`Receiver::capacity`].
    pub fn datagram(&self, at: usize) -> Option<(&[u8], Endpoint)> {
        let header = &self.headers[at];
        if header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0 {
            return None;
        }
        let start = at * self.datagram_len;
        let len = (header.msg_len as usize).min(self.datagram_len);
        let name_len = (header.msg_hdr.msg_namelen as usize).min(NAME_LEN) as u8;
        let local = if self.with_packet_info { self.local(at) } else { None };
        Some((&self.data[start..start + len], Endpoint { name: self.names[at], name_len, local }))
    }

    /// The local address in a datagram's control data: one message, as no other kind was asked for.
    fn local(&self, at: usize) -> Option<Local> {
        let header = &self.headers[at].msg_hdr;
        if header.msg_flags & libc::MSG_CTRUNC != 0 {
            return None;
        }
        // SAFETY: the kernel wrote `msg_controllen` bytes of well-formed control messages into `controls[at]`;
        // CMSG_FIRSTHDR returns null or a header that lies within them. The data is read only when the message is of
        // the type that has it and long enough to hold it, and unaligned.
        unsafe {
            let message = libc::CMSG_FIRSTHDR(header).as_ref()?;
            let len = message.cmsg_len as usize;
            let data = libc::CMSG_DATA(message);
            match (message.cmsg_level, message.cmsg_type) {
                (libc::IPPROTO_IP, libc::IP_PKTINFO)
                    if len >= libc::CMSG_LEN(size_of::<libc::in_pktinfo>() as u32) as usize =>
                {
                    let info = data.cast::<libc::in_pktinfo>().read_unaligned();
                    Some(Local::V4(info.ipi_spec_dst.s_addr.to_ne_bytes()))
                }
                (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO)
                    if len >= libc::CMSG_LEN(size_of::<libc::in6_pktinfo>() as u32) as usize =>
                {
                    let info = data.cast::<libc::in6_pktinfo>().read_unaligned();
                    Some(Local::V6(info.ipi6_addr.s6_addr, info.ipi6_ifindex as u32))
                }
                _ => None,
            }
        }
    }
}

/// Buffers for one `sendmmsg`. They point to nothing between calls.
pub struct Sender {
    iovecs: Box<[MaybeUninit<iovec>]>,
    headers: Box<[MaybeUninit<mmsghdr>]>,
    controls: Box<[[u64; CONTROL_WORDS]]>,
}

// SAFETY: the raw pointers in `iovecs` and `headers` are never read but by the call that has just written them.
unsafe impl Send for Sender {}

impl Sender {
    /// Room for `count` datagrams in one call.
    pub fn new(count: usize) -> Self {
        Self {
            iovecs: vec![MaybeUninit::uninit(); count].into(),
            headers: vec![MaybeUninit::uninit(); count].into(),
            controls: vec![[0; CONTROL_WORDS]; count].into(),
        }
    }

    /// Sends datagrams without waiting, as many as there is room for in one call, and returns how many the kernel took.
    ///
    /// # Errors
    /// Those of `sendmmsg`, which concern the first datagram; the others have not been tried.
    pub fn send<'a>(
        &mut self,
        socket: BorrowedFd<'_>,
        datagrams: impl Iterator<Item = (&'a [u8], &'a Endpoint)>,
    ) -> io::Result<usize> {
        let mut count = 0;
        let buffers = self.headers.iter_mut().zip(&mut self.iovecs).zip(&mut self.controls);
        for ((data, to), ((header, iovec), control)) in datagrams.zip(buffers) {
            let iovec = iovec.write(iovec { iov_base: data.as_ptr().cast_mut().cast(), iov_len: data.len() });
            // SAFETY: all-zero bytes are valid for this struct of integers and raw pointers.
            let header = header.write(unsafe { zeroed() });
            header.msg_hdr.msg_iov = iovec;
            header.msg_hdr.msg_iovlen = 1;
            header.msg_hdr.msg_name = to.name.as_ptr().cast_mut().cast();
            header.msg_hdr.msg_namelen = u32::from(to.name_len);
            if let Some(local) = to.local {
                header.msg_hdr.msg_control = control.as_mut_ptr().cast();
                header.msg_hdr.msg_controllen = CONTROL_LEN as _;
                write_packet_info(&mut header.msg_hdr, local);
            }
            count += 1;
        }
        // SAFETY: the first `count` headers were written above; they point to `count` iovecs and controls in `self` and
        // to data and names that are borrowed for 'a, which outlives the call. The kernel only reads them, but for
        // `msg_len`, which lies in `headers`.
        let sent = unsafe {
            libc::sendmmsg(
                socket.as_raw_fd(),
                self.headers.as_mut_ptr().cast(),
                count,
                (libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) as _,
            )
        };
        usize::try_from(sent).map_err(|_| io::Error::last_os_error())
    }
}

/// Writes a control message that sets the source address, into the control buffer of `CONTROL_LEN` bytes that `header`
/// points to.
fn write_packet_info(header: &mut libc::msghdr, local: Local) {
    /// Writes the one message.
    ///
    /// # Safety
    /// `header` points to a control buffer of `CONTROL_LEN` bytes, and `T` has no padding and at most 20 bytes.
    unsafe fn write<T>(header: &mut libc::msghdr, level: c_int, kind: c_int, info: T) {
        const { assert!(size_of::<T>() <= CONTROL_LEN - size_of::<libc::cmsghdr>()) };
        // SAFETY: by the contract above CMSG_FIRSTHDR is not null, and the message with a `T` fits behind it.
        unsafe {
            let message = libc::CMSG_FIRSTHDR(header);
            (*message).cmsg_level = level;
            (*message).cmsg_type = kind;
            (*message).cmsg_len = libc::CMSG_LEN(size_of::<T>() as u32) as _;
            libc::CMSG_DATA(message).cast::<T>().write_unaligned(info);
            header.msg_controllen = libc::CMSG_SPACE(size_of::<T>() as u32) as _;
        }
    }
    // SAFETY: the only caller has set the control buffer; both structs are plain integers of 12 and 20 bytes.
    unsafe {
        match local {
            Local::V4(ip) => {
                let spec = libc::in_addr { s_addr: u32::from_ne_bytes(ip) };
                let info =
                    libc::in_pktinfo { ipi_ifindex: 0, ipi_spec_dst: spec, ipi_addr: libc::in_addr { s_addr: 0 } };
                write(header, libc::IPPROTO_IP, libc::IP_PKTINFO, info);
            }
            Local::V6(ip, interface) => {
                // Only a link-local address needs its interface; for others routing may choose another one.
                let link_local = Ipv6Addr::from(ip).is_unicast_link_local();
                let interface = if link_local { interface } else { 0 };
                let info =
                    libc::in6_pktinfo { ipi6_addr: libc::in6_addr { s6_addr: ip }, ipi6_ifindex: interface as _ };
                write(header, libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, info);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::os::fd::AsFd;
    use std::time::Duration;

    use super::*;

    /// Sends some datagrams of different sizes to a batch socket at `listen` by way of `ask`, echoes them, and checks
    /// that they come back from the address that was asked.
    fn echo(listen: &str, ask: &str) {
        let server = UdpSocket::bind(listen).unwrap();
        let ask = SocketAddr::new(ask.parse().unwrap(), server.local_addr().unwrap().port());
        enable_packet_info(server.as_fd(), ask.is_ipv6()).unwrap();
        let client = UdpSocket::bind((ask.ip(), 0)).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        client.connect(ask).unwrap();
        let sent: Vec<Vec<u8>> = (1u8..=9).map(|n| vec![n; usize::from(n) * 10]).collect();
        sent.iter().for_each(|data| assert_eq!(client.send(data).unwrap(), data.len()));

        let (mut receiver, mut sender) = (Receiver::new(16, 80, true), Sender::new(16));
        assert_eq!(receiver.receive(server.as_fd()).unwrap(), 9);
        assert!(receiver.datagram(8).is_none(), "the last one is longer than the buffer");
        let received: Vec<_> = (0..8).map(|at| receiver.datagram(at).unwrap()).collect();
        for ((data, from), sent) in received.iter().zip(&sent) {
            assert_eq!(data, sent);
            assert_eq!(from.remote().unwrap(), client.local_addr().unwrap());
        }
        let replies = received.iter().map(|(data, from)| (*data, from));
        assert_eq!(sender.send(server.as_fd(), replies).unwrap(), 8);
        let mut buffer = [0; 100];
        for sent in &sent[..8] {
            // A connected socket takes answers only from the address that it asked.
            let len = client.recv(&mut buffer).unwrap();
            assert_eq!(buffer[..len], **sent);
        }
        assert_eq!(receiver.receive(server.as_fd()).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn trap_11_a_wildcard_socket_answers_from_the_address_that_was_asked() {
        echo("0.0.0.0:0", "127.0.0.1");
        echo("0.0.0.0:0", "127.9.8.7");
        echo("[::]:0", "::1");
    }

    #[test]
    fn a_dual_stack_socket_shows_canonical_addresses() {
        let endpoint = Endpoint::from("[::ffff:1.2.3.4]:5".parse::<SocketAddr>().unwrap());
        assert_eq!(endpoint.remote(), Some("1.2.3.4:5".parse().unwrap()));
        let endpoint = Endpoint::from("1.2.3.4:5".parse::<SocketAddr>().unwrap());
        assert_eq!(endpoint.remote(), Some("1.2.3.4:5".parse().unwrap()));
    }

    #[test]
    fn an_impossible_destination_is_an_error() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let to = Endpoint::from("127.0.0.1:0".parse::<SocketAddr>().unwrap());
        let mut sender = Sender::new(4);
        assert!(sender.send(socket.as_fd(), [(&b"x"[..], &to)].into_iter()).is_err());
        assert_eq!(sender.send(socket.as_fd(), std::iter::empty()).unwrap(), 0);
    }
}
