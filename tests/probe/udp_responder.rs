//! A handwritten UDP tracker (BEP 15), whose answers a fault may change, delay or drop.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;

use super::swarms::{Received, Swarms, compact};

/// A running responder, which ends with the value.
pub struct UdpResponder {
    pub addr: SocketAddr,
    pub swarms: Swarms,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl UdpResponder {
    /// One without a fault.
    pub fn correct() -> Self {
        Self::start(|_, answer| Some(answer))
    }

    /// One whose correct answers go through `fault`.
    pub fn start(fault: impl FnMut(&Received, Vec<u8>) -> Option<Vec<u8>> + Send + 'static) -> Self {
        Self::start_with(Swarms::default(), fault)
    }

    /// [`Self::start`] with swarms that may be shared.
    pub fn start_with(
        swarms: Swarms,
        mut fault: impl FnMut(&Received, Vec<u8>) -> Option<Vec<u8>> + Send + 'static,
    ) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let (addr, stop) = (socket.local_addr().unwrap(), Arc::new(AtomicBool::new(false)));
        let (stopped, shared) = (stop.clone(), swarms.clone());
        let thread = std::thread::spawn(move || {
            let mut buffer = [0; 2048];
            while !stopped.load(Relaxed) {
                let Ok((len, from)) = socket.recv_from(&mut buffer) else { continue };
                let (request, answer) = answer(&shared, &buffer[..len], from);
                if let Some(answer) = fault(&request, answer) {
                    // The probe may have ended.
                    let _ = socket.send_to(&answer, from);
                }
            }
        });
        Self { addr, swarms, stop, thread: Some(thread) }
    }

    pub fn url(&self) -> String {
        format!("udp://{}", self.addr)
    }
}

impl Drop for UdpResponder {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The correct answer.
fn answer(swarms: &Swarms, request: &[u8], from: SocketAddr) -> (Received, Vec<u8>) {
    let int = |at: usize| u32::from_be_bytes(request[at..at + 4].try_into().unwrap());
    let hash = || request[16..36].try_into().unwrap();
    let mut out = request[8..16].to_vec();
    let received = |phase, me, rest: &[u8]| Received { phase, me, rest: rest.to_vec() };
    match int(8) {
        0 => {
            assert_eq!((request.len(), &request[..8]), (16, &0x0417_2710_1980_u64.to_be_bytes()[..]));
            out.extend(77u64.to_be_bytes());
            (received("connect", Vec::new(), &[]), out)
        }
        1 => {
            assert_eq!(request[..8], 77u64.to_be_bytes());
            let me = compact(from.ip(), u16::from_be_bytes([request[96], request[97]]));
            let left = u64::from_be_bytes(request[64..72].try_into().unwrap());
            let (phase, reply) = swarms.announce(hash(), &me, left == 0, int(80) == 3);
            for number in [1800, reply.leechers, reply.seeders] {
                out.extend(number.to_be_bytes());
            }
            out.extend(reply.peers);
            (received(phase, me, &request[98..]), out)
        }
        2 => {
            assert_eq!((request.len(), &request[..8]), (36, &77u64.to_be_bytes()[..]));
            let (seeders, leechers) = swarms.counts(&hash());
            for number in [seeders, 0, leechers] {
                out.extend(number.to_be_bytes());
            }
            let phase = if &request[16..36] == b"tidings which node 1" { "node" } else { "scrape" };
            (received(phase, Vec::new(), &[]), out)
        }
        action => panic!("action {action}"),
    }
}
