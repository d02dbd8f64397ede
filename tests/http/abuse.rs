//! Broken requests, beside a well-behaved client.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};

use super::harness::{HASH, Tracker, context, options};

/// Random bytes, or a valid request that is damaged, truncated, or followed by garbage.
fn broken(rng: &mut StdRng) -> Vec<u8> {
    let mut bytes = format!("GET /announce?info_hash={HASH}&port=1&left=1 HTTP/1.1\r\nHost: a\r\n\r\n").into_bytes();
    match rng.random_range(0..4) {
        0 => {
            bytes = vec![0; rng.random_range(1..200)];
            rng.fill_bytes(&mut bytes);
        }
        1 => {
            for _ in 0..rng.random_range(1..8) {
                let at = rng.random_range(0..bytes.len());
                bytes[at] = rng.random();
            }
        }
        2 => bytes.truncate(rng.random_range(1..bytes.len())),
        _ => {
            let mut garbage = vec![0; rng.random_range(1..100)];
            rng.fill_bytes(&mut garbage);
            bytes.extend_from_slice(&garbage);
        }
    }
    bytes
}

#[test]
fn broken_requests_do_not_affect_others() {
    const BROKEN: u64 = 100_000;
    const ATTACKERS: u64 = 4;
    let mut options = options();
    options.connections = 256;
    let tracker = Tracker::with(context(options));
    let attack = |seed| {
        let mut rng = StdRng::seed_from_u64(seed);
        for _ in 0..BROKEN / ATTACKERS {
            let mut stream = TcpStream::connect(tracker.addr).unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
            let _ = stream.write_all(&broken(&mut rng));
            let _ = stream.shutdown(Shutdown::Write);
            // The tracker has to answer or to close the connection.
            if let Err(error) = stream.read_to_end(&mut Vec::new()) {
                assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
            }
        }
    };
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let good = scope.spawn(|| {
            let mut client = tracker.connect();
            let mut answers = 0_u32;
            while !done.load(Relaxed) {
                let reply = client.get(&format!("/announce?info_hash={HASH}&port=6881&left=0"));
                assert!(reply.int("complete") >= 1);
                answers += 1;
            }
            answers
        });
        let attack = &attack;
        let attackers: Vec<_> = (0..ATTACKERS).map(|seed| scope.spawn(move || attack(seed))).collect();
        attackers.into_iter().for_each(|attacker| attacker.join().unwrap());
        done.store(true, Relaxed);
        assert!(good.join().unwrap() > 0);
    });
    assert_eq!(tracker.get("/").status, 200);
    assert_eq!(tracker.context.metrics.connection_panics.load(Relaxed), 0);
}
