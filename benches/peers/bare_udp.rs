//! The bare UDP responder: what the kernel lets any tracker reach on one core.
//!
//! Like a tracker it waits for readiness, receives with `recvmmsg`, and answers each batch with one `sendmmsg`; but it
//! checks nothing and looks nothing up. The standard library has neither call, hence the unsafe code.
#![allow(unsafe_code)]

use std::io;
use std::net::{SocketAddrV4, UdpSocket};
use std::os::fd::{AsRawFd, RawFd};

use anyhow::Result;
use socket2::SockRef;

/// Datagrams per system call.
const BATCH: usize = 64;
/// More than a scrape of 74 hashes, the most that BEP 15 gives.
const DATAGRAM: usize = 2048;
/// As large as aquatic's by default.
const RECEIVE_BUFFER: usize = 8_000_000;

/// Answers on `listen` until the process is ended; every announce reply holds `peers` IPv4 peers.
pub fn run(listen: SocketAddrV4, peers: usize) -> Result<()> {
    anyhow::ensure!(20 + 6 * peers <= DATAGRAM, "{peers} peers do not fit into a reply of {DATAGRAM} bytes");
    let socket = UdpSocket::bind(listen)?;
    socket.set_nonblocking(true)?;
    SockRef::from(&socket).set_recv_buffer_size(RECEIVE_BUFFER)?;
    let fd = socket.as_raw_fd();
    let mut batch = Batch::new();
    loop {
        wait(fd, libc::POLLIN)?;
        loop {
            let received = batch.receive(fd)?;
            if received == 0 {
                break;
            }
            let replies = batch.answer(received, peers);
            batch.send(fd, replies)?;
        }
    }
}

/// The buffers of a batch and the headers that point the kernel to them, all allocated once.
///
/// The headers hold pointers into the other vectors, whose elements stay where they are: none ever grows or shrinks.
struct Batch {
    names: Vec<libc::sockaddr_in>,
    requests: Vec<[u8; DATAGRAM]>,
    replies: Vec<[u8; DATAGRAM]>,
    reply_parts: Vec<libc::iovec>,
    receive: Vec<libc::mmsghdr>,
    send: Vec<libc::mmsghdr>,
    /// Held for the pointers in `receive`.
    _request_parts: Vec<libc::iovec>,
}

impl Batch {
    fn new() -> Self {
        let unspecified =
            libc::sockaddr_in { sin_family: 0, sin_port: 0, sin_addr: libc::in_addr { s_addr: 0 }, sin_zero: [0; 8] };
        let mut names = vec![unspecified; BATCH];
        let mut requests = vec![[0; DATAGRAM]; BATCH];
        let mut replies = vec![[0; DATAGRAM]; BATCH];
        let mut request_parts: Vec<_> = requests.iter_mut().map(part).collect();
        let mut reply_parts: Vec<_> = replies.iter_mut().map(part).collect();
        let receive = names.iter_mut().zip(&mut request_parts).map(|(name, part)| header(name, part)).collect();
        let send = names.iter_mut().zip(&mut reply_parts).map(|(name, part)| header(name, part)).collect();
        Self { names, requests, replies, reply_parts, receive, send, _request_parts: request_parts }
    }

    /// Takes what has arrived, up to a batch; 0 if nothing has.
    fn receive(&mut self, fd: RawFd) -> io::Result<usize> {
        let flags = libc::MSG_DONTWAIT;
        // SAFETY: every header points into vectors of `self`, which are as long as it says and outlive the call.
        let count = unsafe { libc::recvmmsg(fd, self.receive.as_mut_ptr(), BATCH as u32, flags, std::ptr::null_mut()) };
        count_or_none(count)
    }

    /// Writes the replies to the first `received` requests, one behind the other, and returns how many there are.
    fn answer(&mut self, received: usize, peers: usize) -> usize {
        let mut replies = 0;
        for index in 0..received {
            let request = &self.requests[index][..self.receive[index].msg_len as usize];
            if let Some(length) = answer(request, peers, &mut self.replies[replies]) {
                self.reply_parts[replies].iov_len = length;
                self.send[replies].msg_hdr.msg_name = std::ptr::from_mut(&mut self.names[index]).cast();
                replies += 1;
            }
        }
        replies
    }

    /// Sends the first `replies`, waiting when the socket is full.
    fn send(&mut self, fd: RawFd, replies: usize) -> io::Result<()> {
        let mut rest = &mut self.send[..replies];
        while !rest.is_empty() {
            // SAFETY: every header points into vectors of `self`, which are as long as it says and outlive the call.
            let count = unsafe { libc::sendmmsg(fd, rest.as_mut_ptr(), rest.len() as u32, libc::MSG_DONTWAIT) };
            let sent = count_or_none(count)?;
            if sent == 0 {
                wait(fd, libc::POLLOUT)?;
            }
            rest = &mut rest[sent..];
        }
        Ok(())
    }
}

/// Writes the reply to a connect, announce or scrape request, as its action says, and returns its length.
fn answer(request: &[u8], peers: usize, reply: &mut [u8; DATAGRAM]) -> Option<usize> {
    let (action, transaction) = (request.get(8..12)?, request.get(12..16)?);
    let length = match action {
        [0, 0, 0, 0] => 16,
        [0, 0, 0, 1] => 20 + 6 * peers,
        [0, 0, 0, 2] => 8 + 12 * ((request.len() - 16) / 20),
        _ => return None,
    };
    reply[..4].copy_from_slice(action);
    reply[4..8].copy_from_slice(transaction);
    // A tracker writes every byte of its replies too.
    reply[8..length].fill(0x5a);
    Some(length)
}

fn part(buffer: &mut [u8; DATAGRAM]) -> libc::iovec {
    libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: DATAGRAM }
}

fn header(name: &mut libc::sockaddr_in, part: &mut libc::iovec) -> libc::mmsghdr {
    // SAFETY: a message header is plain data for which zero means "none"; its padding is private on some libcs.
    let mut header: libc::mmsghdr = unsafe { std::mem::zeroed() };
    header.msg_hdr.msg_name = std::ptr::from_mut(name).cast();
    header.msg_hdr.msg_namelen = size_of::<libc::sockaddr_in>() as libc::socklen_t;
    header.msg_hdr.msg_iov = part;
    header.msg_hdr.msg_iovlen = 1;
    header
}

/// What a call returned, or 0 if it failed only because it would have had to wait.
fn count_or_none(count: libc::c_int) -> io::Result<usize> {
    if let Ok(count) = usize::try_from(count) {
        return Ok(count);
    }
    let error = io::Error::last_os_error();
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Ok(0),
        _ => Err(error),
    }
}

fn wait(fd: RawFd, events: libc::c_short) -> io::Result<()> {
    let mut poll = libc::pollfd { fd, events, revents: 0 };
    // SAFETY: one valid `pollfd`, as the count says. No timeout: the parent ends this process.
    count_or_none(unsafe { libc::poll(&mut poll, 1, -1) }).map(drop)
}
