//! The binary under an operator's hands.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::client::{ANNOUNCE, Client, HASH, be32, leecher};

/// The running binary, which ends with its value.
struct Binary {
    child: Child,
    udp: SocketAddr,
    http: SocketAddr,
}

fn command(flags: &[String]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidings"));
    command.env_clear().env("TIDINGS_OPS__LISTEN", "off").stdin(Stdio::null());
    flags.iter().for_each(|flag| _ = command.args(["--set", flag]));
    command
}

impl Binary {
    fn start(flags: &[String]) -> Self {
        let free = ["announce.udp=[\"127.0.0.1:0\"]".to_owned(), "announce.http=[\"127.0.0.1:0\"]".to_owned()];
        let mut child = command(&[&free, flags].concat()).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut told = |scheme: &str| {
            let line = lines
                .by_ref()
                .map(Result::unwrap)
                .find(|line| line.contains(scheme))
                .expect("it says where it listens");
            line.split(scheme).nth(1).unwrap().split('/').next().unwrap().parse().unwrap()
        };
        let (udp, http) = (told("udp://"), told("http://"));
        Self { child, udp, http }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for its end, not long.
    fn end(&mut self) -> (Option<i32>, Duration) {
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return (status.code(), began.elapsed());
            }
            assert!(began.elapsed() < Duration::from_secs(20), "it does not end");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// The body of a GET of an announce.
    fn get(&self) -> Vec<u8> {
        let hash: String = HASH.iter().map(|byte| format!("%{byte:02x}")).collect();
        let mut stream = TcpStream::connect(self.http).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        write!(stream, "GET /announce?info_hash={hash}&port=1&left=1 HTTP/1.0\r\n\r\n").unwrap();
        let mut reply = Vec::new();
        stream.read_to_end(&mut reply).unwrap();
        reply
    }
}

impl Drop for Binary {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn it_stops_in_good_order_on_sigint_and_sigterm() {
    for signal in [Signal::INT, Signal::TERM] {
        let mut binary = Binary::start(&[]);
        // With a client in the midst of things.
        let _idle = TcpStream::connect(binary.http).unwrap();
        Client::new(binary.udp).announce(&leecher(1));
        binary.signal(signal);
        let (code, took) = binary.end();
        assert_eq!(code, Some(0), "{signal:?}");
        assert!(took < Duration::from_secs(5), "{signal:?} took {took:?}");
    }
}

#[test]
fn a_port_in_use_is_exit_code_2_and_one_sentence() {
    let first = Binary::start(&[]);
    let taken = first.udp;
    let flags = [format!("announce.udp=[\"{taken}\"]"), "announce.http=[]".into()];
    let output = command(&flags).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(
        String::from_utf8(output.stderr).unwrap(),
        format!(
            "error: cannot listen on UDP {taken}: the port is in use; stop the other program or choose another port in announce.udp\n"
        )
    );
}

fn deny(path: &Path, hashes: &[[u8; 20]]) {
    let lines: String = hashes.iter().map(|hash| hash.map(|byte| format!("{byte:02x}")).concat() + "\n").collect();
    std::fs::write(path, lines).unwrap();
}

#[test]
fn the_access_list_is_reloaded_on_sighup_without_dropping_a_request() {
    let directory = TempDir::new().unwrap();
    let list = directory.path().join("deny");
    deny(&list, &[]);
    let binary = Binary::start(&["access_list.mode=deny".into(), format!("access_list.path={}", list.display())]);
    let denied = leecher(1);
    let served = super::client::Announce { info_hash: [0xee; 20], ..denied };
    let client = Client::new(binary.udp);
    client.announce(&denied);

    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let good = scope.spawn(|| {
            let (client, mut answered) = (Client::new(binary.udp), 0);
            while !done.load(Relaxed) {
                // Once, not again as a patient client would.
                client.socket.send(&served.bytes(client.id, 1)).unwrap();
                let mut reply = [0; 2048];
                client.socket.recv(&mut reply).expect("no request is dropped");
                assert_eq!(be32(&reply), ANNOUNCE);
                answered += 1;
            }
            answered
        });
        for round in 0..10 {
            let refuse = round % 2 == 0;
            deny(&list, if refuse { &[HASH] } else { &[] });
            binary.signal(Signal::HUP);
            let deadline = Instant::now() + Duration::from_secs(5);
            while (be32(&client.ask(&denied.bytes(client.id, 1)).unwrap()) == ANNOUNCE) == refuse {
                assert!(Instant::now() < deadline, "the list is not reloaded");
                std::thread::sleep(Duration::from_millis(5));
            }
            assert_eq!(binary.get().windows(14).any(|window| window == b"failure reason"), refuse, "over HTTP");
        }
        // A list that cannot be read leaves the former one.
        std::fs::write(&list, "no info hash").unwrap();
        binary.signal(Signal::HUP);
        std::thread::sleep(Duration::from_millis(200));
        client.announce(&denied);
        done.store(true, Relaxed);
        assert!(good.join().unwrap() > 10);
    });
}
