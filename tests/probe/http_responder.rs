//! A handwritten HTTP tracker (BEP 3, 23, 48), whose answers a fault may change, delay or drop.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::swarms::{Received, Swarms, compact};

type Fault = dyn FnMut(&Received, Vec<u8>) -> Option<Vec<u8>> + Send;

/// It listens until this process ends.
pub struct HttpResponder {
    pub addr: SocketAddr,
    pub swarms: Swarms,
}

impl HttpResponder {
    /// One without a fault.
    pub fn correct() -> Self {
        Self::start(|_, body| Some(response(&body)))
    }

    /// One whose correct bodies go through `fault`, which makes the whole response.
    pub fn start(fault: impl FnMut(&Received, Vec<u8>) -> Option<Vec<u8>> + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (addr, swarms) = (listener.local_addr().unwrap(), Swarms::default());
        let (shared, fault): (_, Arc<Mutex<Box<Fault>>>) = (swarms.clone(), Arc::new(Mutex::new(Box::new(fault))));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (swarms, fault) = (shared.clone(), fault.clone());
                std::thread::spawn(move || serve(stream, &swarms, &fault));
            }
        });
        Self { addr, swarms }
    }

    pub fn url(&self) -> String {
        format!("http://{}/announce", self.addr)
    }
}

pub fn response(body: &[u8]) -> Vec<u8> {
    response_with("", body)
}

/// A response with more header lines.
pub fn response_with(lines: &str, body: &[u8]) -> Vec<u8> {
    let mut out = format!("HTTP/1.1 200 OK\r\n{lines}Content-Length: {}\r\n\r\n", body.len()).into_bytes();
    out.extend(body);
    out
}

fn serve(stream: TcpStream, swarms: &Swarms, fault: &Mutex<Box<Fault>>) {
    stream.set_read_timeout(Some(Duration::from_secs(120))).unwrap();
    let (ip, mut writer) = (stream.peer_addr().unwrap().ip(), stream.try_clone().unwrap());
    let mut reader = BufReader::new(stream);
    loop {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            match reader.by_ref().take(8192).read_until(b'\n', &mut head) {
                Ok(1..) => {}
                _ => return,
            }
        }
        let target = String::from_utf8_lossy(&head).split(' ').nth(1).unwrap().to_owned();
        let (path, query) = target.split_once('?').unwrap();
        let value = |key: &str| {
            let pair = query.split('&').filter_map(|pair| pair.split_once('=')).find(|(name, _)| *name == key);
            pair.map(|(_, value)| decoded(value))
        };
        let number = |key: &str| String::from_utf8(value(key).unwrap()).unwrap().parse::<u64>().unwrap();
        let hash: [u8; 20] = value("info_hash").unwrap().try_into().unwrap();
        let (request, body) = if path == "/scrape" {
            let (seeders, leechers) = swarms.counts(&hash);
            let mut body = b"d5:filesd20:".to_vec();
            body.extend(hash);
            body.extend(format!("d8:completei{seeders}e10:downloadedi0e10:incompletei{leechers}eeee").into_bytes());
            (Received { phase: "scrape", me: Vec::new(), rest: head }, body)
        } else {
            assert_eq!((path, value("compact").as_deref()), ("/announce", Some(&b"1"[..])));
            let me = compact(ip, number("port") as u16);
            let stopped = value("event").as_deref() == Some(b"stopped");
            let (phase, reply) = swarms.announce(hash, &me, number("left") == 0, stopped);
            let mut body = format!(
                "d8:completei{}e10:incompletei{}e8:intervali1800e5:peers{}:",
                reply.seeders,
                reply.leechers,
                reply.peers.len()
            )
            .into_bytes();
            body.extend(reply.peers);
            body.push(b'e');
            (Received { phase, me, rest: head }, body)
        };
        let answer = (fault.lock().unwrap())(&request, body);
        match answer {
            Some(answer) if writer.write_all(&answer).is_ok() => {}
            // Silent, with the connection open.
            None => std::thread::sleep(Duration::from_secs(60)),
            Some(_) => return,
        }
    }
}

fn decoded(value: &str) -> Vec<u8> {
    let (mut out, mut bytes) = (Vec::new(), value.bytes());
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let digits = [bytes.next().unwrap(), bytes.next().unwrap()];
            out.push(u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap());
        } else {
            out.push(byte);
        }
    }
    out
}
