//! A tracker that has no file descriptor left.

use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use tidings::testkit::tracker::TrackerProcess;
use tidings::testkit::udp_client::{Client, leecher};

/// Datagrams of a burst: enough to keep a socket busy for many rounds without a pause.
const BURST: usize = 40_000;

/// Connect requests as fast as possible, whose replies are not read.
fn burst(tracker: SocketAddr) {
    let socket = UdpSocket::bind((tracker.ip(), 0)).unwrap_or_else(|error| panic!("no socket: {error}"));
    let connect = [&0x417_2710_1980u64.to_be_bytes()[..], &[0; 8]].concat();
    for _ in 0..BURST {
        // A full send buffer is as good as a full receive buffer.
        let _ = socket.send_to(&connect, tracker);
    }
}

#[test]
fn udp_clients_are_answered_when_no_descriptor_is_left() {
    let tracker = TrackerProcess::start(&["announce.threads=1".into()]);
    tracker.exhaust_descriptors();
    // More connections than descriptors: the kernel takes them, and the tracker cannot.
    let idle: Vec<TcpStream> = (0..8).map(|_| TcpStream::connect(tracker.http[0]).unwrap()).collect();

    for port in 1..=5 {
        tracker.udp.iter().for_each(|addr| burst(*addr));
        // Idle again, which is when the socket is registered for polling once more.
        std::thread::sleep(Duration::from_millis(50));
        for addr in &tracker.udp {
            let reply = Client::new(*addr).announce(&leecher(port));
            assert_eq!(reply.leechers, u32::from(port), "{addr}");
        }
    }
    drop(idle);
}
