//! Statistics of the kernel's UDP receive queues: datagrams waiting to be read, and datagrams dropped because a queue was
//! full.

use std::io;
use std::net::SocketAddr;

/// Totals over the receive queues of several sockets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KernelQueues {
    /// Memory used by waiting datagrams, in bytes.
    pub bytes: u64,
    /// Datagrams dropped because a queue was full, since the sockets were created.
    pub dropped: u64,
}

/// Sums over all sockets of this network namespace bound to one of these addresses.
///
/// # Errors
/// When `/proc` is not available.
pub fn read(addrs: &[SocketAddr]) -> io::Result<KernelQueues> {
    let mut sum = KernelQueues::default();
    for (path, v6) in [("/proc/self/net/udp", false), ("/proc/self/net/udp6", true)] {
        let wanted: Vec<_> = addrs.iter().filter(|addr| addr.is_ipv6() == v6).map(|addr| as_in_proc(*addr)).collect();
        if wanted.is_empty() {
            continue;
        }
        for line in std::fs::read_to_string(path)?.lines().skip(1) {
            let fields: Vec<_> = line.split_ascii_whitespace().collect();
            let [_, local, _, _, queues, .., dropped] = fields[..] else { continue };
            if wanted.iter().any(|addr| addr.eq_ignore_ascii_case(local)) {
                let received = queues.split_once(':').and_then(|(_, queue)| u64::from_str_radix(queue, 16).ok());
                sum.bytes += received.unwrap_or_default();
                sum.dropped += dropped.parse::<u64>().unwrap_or_default();
            }
        }
    }
    Ok(sum)
}

/// AnnounceParams of 32 bits as this machine holds them, then the port.
fn as_in_proc(addr: SocketAddr) -> String {
    let word = |bytes: &[u8; 4]| format!("{:08X}", u32::from_ne_bytes(*bytes));
    let ip = match addr {
        SocketAddr::V4(addr) => word(&addr.ip().octets()),
        SocketAddr::V6(addr) => addr.ip().octets().as_chunks::<4>().0.iter().map(word).collect(),
    };
    format!("{ip}:{:04X}", addr.port())
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    #[test]
    fn what_waits_and_what_is_dropped_is_told() {
        for addr in ["127.0.0.1:0", "[::1]:0"] {
            let (full, sender) = (UdpSocket::bind(addr).unwrap(), UdpSocket::bind(addr).unwrap());
            let to = full.local_addr().unwrap();
            assert_eq!(read(&[to]).unwrap(), KernelQueues::default());
            sender.send_to(&[0; 1000], to).unwrap();
            let one = read(&[to]).unwrap();
            assert!(one.bytes >= 1000 && one.dropped == 0, "{one:?}");
            for _ in 0..10_000 {
                sender.send_to(&[0; 1000], to).unwrap();
            }
            let many = read(&[to]).unwrap();
            assert!(many.bytes > one.bytes && many.dropped > 0, "{many:?}");
            assert_eq!(read(&[sender.local_addr().unwrap()]).unwrap(), KernelQueues::default());
        }
    }
}
