//! A tracker that has no file descriptor left.

use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use rustix::process::Signal;
use tidings::testkit::tracker::TrackerProcess;
use tidings::testkit::udp_client::{Client, leecher};

/// Datagrams of a burst: enough to keep a socket busy for many rounds without a pause.
const BURST: usize = 20_000;
/// Longer than listeners pause after they could not accept, so that they try again during the burst.
const PAUSE: Duration = Duration::from_millis(100);

/// Connect requests whose replies are not read.
fn burst(tracker: SocketAddr) {
    let socket = UdpSocket::bind((tracker.ip(), 0)).unwrap();
    let connect = [&0x417_2710_1980u64.to_be_bytes()[..], &[0; 8]].concat();
    for _ in 0..BURST {
        // What does not fit into the receive buffer is dropped.
        let _ = socket.send_to(&connect, tracker);
    }
}

#[test]
fn udp_clients_are_answered_when_no_descriptor_is_left() {
    let tracker = TrackerProcess::start(&["announce.threads=1".into()]);
    tracker.exhaust_descriptors();
    // These wait to be accepted, and take every descriptor that becomes free.
    let _idle: Vec<TcpStream> = (0..8).map(|_| TcpStream::connect(tracker.http[0]).unwrap()).collect();

    for port in 1..=5 {
        tracker.signal(Signal::STOP);
        tracker.udp.iter().for_each(|addr| burst(*addr));
        std::thread::sleep(PAUSE);
        tracker.signal(Signal::CONT);
        for addr in &tracker.udp {
            let reply = Client::new(*addr).announce(&leecher(port));
            assert_eq!(reply.leechers, u32::from(port), "{addr}");
        }
    }
}
