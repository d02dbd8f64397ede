//! The binary as an operator runs it.

use std::net::TcpStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use rustix::process::Signal;
use tempfile::TempDir;
use tidings::testkit::binary::command;
use tidings::testkit::http;
use tidings::testkit::tracker::TrackerProcess;
use tidings::testkit::udp_client::{ANNOUNCE, Announce, Client, HASH, be32, leecher};
use tidings::testkit::wait::wait_until;

#[test]
fn it_stops_gracefully_on_sigint_and_sigterm() {
    for signal in [Signal::INT, Signal::TERM] {
        let mut tracker = TrackerProcess::start(&[]);
        // With an idle connection, and a peer.
        let _idle = TcpStream::connect(tracker.http[0]).unwrap();
        Client::new(tracker.udp[0]).announce(&leecher(1));
        tracker.signal(signal);
        assert_eq!(tracker.wait().code(), Some(0), "{signal:?}");
    }
}

#[test]
fn a_port_in_use_is_exit_code_2_and_one_sentence() {
    let first = TrackerProcess::start(&[]);
    let taken = first.udp[0];
    let mut second = command(None);
    second.args(["serve", "--set", &format!("announce.udp=[\"{taken}\"]"), "--set", "announce.http=[]"]);
    let output = second.args(["--set", "ops.listen=off"]).output().unwrap();
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
    let settings = ["access_list.mode=deny".into(), format!("access_list.path={}", list.display())];
    let tracker = TrackerProcess::start(&settings);
    let denied = leecher(1);
    let served = Announce { info_hash: [0xee; 20], ..denied };
    let client = Client::new(tracker.udp[0]);
    client.announce(&denied);

    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let good = scope.spawn(|| {
            let (client, mut answered) = (Client::new(tracker.udp[0]), 0);
            while !done.load(Relaxed) {
                // Sent once only.
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
            tracker.signal(Signal::HUP);
            wait_until("the list is reloaded", || {
                let served = be32(&client.request(&denied.bytes(client.id, 1)).unwrap()) == ANNOUNCE;
                served != refuse
            });
            let reply = http::announce(tracker.http[0], &HASH, 1, "");
            assert_eq!(reply.contains(b"failure reason"), refuse, "over HTTP");
        }
        // If the list cannot be parsed, the old one stays.
        std::fs::write(&list, "no info hash").unwrap();
        tracker.signal(Signal::HUP);
        wait_until("the failure is logged", || tracker.log().contains("WARN") || tracker.log().contains("ERROR"));
        client.announce(&denied);
        done.store(true, Relaxed);
        assert!(good.join().unwrap() > 0);
    });
}
