//! HTTP as clients and proxies use it.

use std::net::Shutdown;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};

use tidings::testkit::wait::wait_until;

use super::harness::{Client, HASH, Tracker, context, options};

fn target(port: u16) -> String {
    format!("/announce?info_hash={HASH}&port={port}&left=1")
}

fn request(port: u16) -> String {
    format!("GET {} HTTP/1.1\r\nHost: tracker\r\n\r\n", target(port))
}

#[test]
fn trap_32_a_stray_space_before_the_query() {
    let tracker = Tracker::new();
    let mut client = tracker.connect();
    for path in ["announce", "scrape"] {
        client.send(request(1).replace("announce?", &format!("{path} ?")));
        let reply = client.reply();
        assert!(!reply.body.starts_with(b"d14:failure"), "{}", reply.body.escape_ascii());
    }
}

#[test]
fn trap_33_split_request() {
    let tracker = Tracker::new();
    let mut client = tracker.connect();
    let request = request(6881);
    for chunk in request.as_bytes().chunks(7) {
        client.send(chunk);
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(client.reply().int("incomplete"), 1);
}

#[test]
fn trap_33_pipelined() {
    let tracker = Tracker::new();
    let mut client = tracker.connect();
    let requests: String = (1..=50).map(request).collect();
    client.send(requests);
    for peers in 1..=50 {
        assert_eq!(client.reply().int("incomplete"), peers);
    }
}

#[test]
fn trap_33_keep_alive_only_if_asked() {
    let tracker = Tracker::new();
    let closes = |head: &str| {
        let mut client = tracker.connect();
        client.send(format!("GET {} HTTP/{head}\r\n\r\n", target(1)));
        assert_eq!(client.reply().status, 200);
        std::io::Read::read(&mut client.stream, &mut [0]).is_ok_and(|length| length == 0)
    };
    let stays = |head: &str| {
        let mut client = tracker.connect();
        client.send(format!("GET {} HTTP/{head}\r\n\r\n", target(1)));
        assert_eq!(client.reply().status, 200);
        client.get(&target(1)).status == 200
    };
    assert!(closes("1.0"));
    assert!(stays("1.0\r\nConnection: keep-alive"));
    assert!(closes("1.1\r\nHost: a\r\nConnection: close"));
    assert!(stays("1.1\r\nHost: a"));
}

#[test]
fn trap_33_a_malformed_request_is_refused_at_once() {
    let tracker = Tracker::new();
    for garbage in ["\0\0\0\0", "GET\r\n\r\n", "GET /announce HTTP/3.0\r\n\r\n", "GET / HTTP/1.1\r\n: x\r\n\r\n"] {
        let mut client = tracker.connect();
        // The connection may be idle for two minutes, so that this answer does not come from a timeout.
        client.send(garbage);
        let reply = client.reply();
        assert_eq!((reply.status, client.rest()), (400, Vec::new()), "{garbage:?}");
    }
}

#[test]
fn trap_33_a_hundred_headers_are_fine_and_a_huge_head_is_not() {
    let tracker = Tracker::new();
    let mut client = tracker.connect();
    let headers: String = (0..99).map(|n| format!("X-Cdn-{n}: {n}\r\n")).collect();
    client.send(format!("GET {} HTTP/1.1\r\n{headers}\r\n", target(1)));
    assert_eq!(client.reply().status, 200);
    client.send(format!("GET /announce?{} HTTP/1.1\r\n\r\n", "x".repeat(17_000)));
    assert_eq!(client.reply().status, 431);
}

#[test]
fn trap_33_a_scrape_of_74_hashes_fits() {
    let tracker = Tracker::new();
    let hashes: String = (0..74).map(|n| format!("info_hash={}%{n:02X}&", "%FF".repeat(19))).collect();
    let reply = tracker.get(&format!("/scrape?{hashes}"));
    let parsed = tidings::wire::bencode::parse(&reply.body).unwrap();
    let tidings::wire::bencode::Value::Dict(files) = parsed.get("files").unwrap() else { panic!() };
    assert_eq!(files.len(), 74);
}

#[test]
fn trap_34_header_names_in_any_case() {
    let mut options = options();
    options.proxies.trusted = vec!["127.0.0.1/32".parse().unwrap()];
    let tracker = Tracker::with(context(options));
    for name in ["X-FORWARDED-FOR", "x-forwarded-for", "X-fOrWaRdEd-FoR"] {
        let mut client = tracker.connect();
        client.send(format!(
            "GET {} HTTP/1.1\r\nhOST: a\r\n{name}: 198.51.100.1\r\ncOnNeCtIoN: CLOSE\r\n\r\n",
            target(1)
        ));
        assert_eq!(client.reply().bytes("external ip"), [198, 51, 100, 1]);
        assert_eq!(client.rest(), b"");
    }
}

#[test]
fn a_client_that_has_closed_its_side_still_gets_its_answer() {
    let tracker = Tracker::new();
    let mut client = tracker.connect();
    client.send(request(1));
    client.stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(client.reply().status, 200);
    assert_eq!(client.rest(), b"");
}

#[test]
fn head_has_no_body_and_changes_nothing() {
    let tracker = Tracker::new();
    let mut client = tracker.connect();
    for target in [target(1).as_str(), "/", "/nothing"] {
        client.send(format!("HEAD {target} HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"));
        assert!(client.stream.peek(&mut [0]).is_ok());
        let mut buffer = [0; 4096];
        let length = std::io::Read::read(&mut client.stream, &mut buffer).unwrap();
        assert!(buffer[..length].ends_with(b"\r\n\r\n"), "{}", buffer[..length].escape_ascii());
    }
    assert_eq!(client.get(&target(2)).int("incomplete"), 1);
}

#[test]
fn other_paths_and_methods() {
    let tracker = Tracker::new();
    let mut client = tracker.connect();
    let welcome = client.get("/");
    assert_eq!(welcome.status, 200);
    assert!(String::from_utf8(welcome.body).unwrap().contains("BitTorrent tracker"));
    assert_eq!(client.get("/favicon.ico").status, 404);
    assert_eq!(client.get(&target(1).replace("announce?", "announce/?")).int("incomplete"), 1);
    assert_eq!(client.get(&format!("http://tracker:6969{}", target(1))).int("incomplete"), 1);
    client.send("POST /announce HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.reply().status, 405);
}

#[test]
fn nothing_is_read_after_a_body() {
    // A body is not a request, not even if it looks like one with a stray space.
    let tracker = Tracker::new();
    let mut client = tracker.connect();
    let body = format!("GET /announce ?info_hash={HASH}&port=2 HTTP/1.1\r\n\r\n");
    client.send(format!("GET {} HTTP/1.1\r\ncontent-length: {}\r\n\r\n{body}{}", target(1), body.len(), request(3)));
    let reply = client.reply();
    assert_eq!((reply.int("incomplete"), reply.header("connection")), (1, Some("close")));
    let mut rest = Vec::new();
    let _ = std::io::Read::read_to_end(&mut client.stream, &mut rest);
    assert_eq!(rest, b"");
    assert_eq!(tracker.get(&target(1)).int("incomplete"), 1);
}

#[test]
fn http_2_with_prior_knowledge_and_many_streams() {
    let tracker = Tracker::new();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let addr = tracker.addr;
    runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(addr).await.unwrap();
        let (sender, connection) =
            http2::handshake::<_, _, String>(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let mut replies = tokio::task::JoinSet::new();
        for port in 1..=200 {
            let mut sender = sender.clone();
            replies.spawn(async move {
                let request = hyper::Request::get(format!("http://tracker{}", target(port))).body(String::new());
                sender.send_request(request.unwrap()).await.unwrap()
            });
        }
        while let Some(reply) = replies.join_next().await {
            let reply = reply.unwrap();
            assert_eq!((reply.status().as_u16(), reply.version()), (200, hyper::Version::HTTP_2));
        }
    });
    assert_eq!(tracker.get(&target(1)).int("incomplete"), 200);
}

#[test]
fn an_idle_connection_is_closed_and_a_busy_one_is_not() {
    let mut options = options();
    options.idle = Duration::from_secs(2);
    let tracker = Tracker::with(context(options));
    let mut busy = tracker.connect();
    busy.get(&target(1));
    // One sends nothing, one never ends its request, one has been answered once.
    let mut idle: Vec<Client> = (0..3).map(|_| tracker.connect()).collect();
    idle[1].send("GET /announce");
    idle[2].get(&target(2));
    let metrics = &tracker.context.metrics;
    wait_until("the idle connections are closed", || {
        busy.get(&target(1));
        metrics.connections_timed_out.load(Relaxed) == 3
    });
    for client in &mut idle {
        assert_eq!(client.rest(), b"");
    }
    busy.get(&target(1));
    wait_until("only the busy one is open", || metrics.connections_open.load(Relaxed) == 1);
}

#[test]
fn connections_above_the_limit_are_closed() {
    let mut options = options();
    options.connections = 2;
    let tracker = Tracker::with(context(options));
    let mut kept = [tracker.connect(), tracker.connect()];
    kept.iter_mut().for_each(|client| assert_eq!(client.get(&target(1)).status, 200));
    let mut extra = tracker.connect();
    assert_eq!(extra.rest(), b"");
    drop(kept);
    // There is room again, once the tracker has noticed.
    let metrics = &tracker.context.metrics;
    wait_until("both connections are closed", || metrics.connections_open.load(Relaxed) == 0);
    assert_eq!(tracker.get(&target(1)).status, 200);
    assert_eq!(metrics.connections_refused.load(Relaxed), 1);
}

#[test]
fn shutdown_ends_idle_connections() {
    let mut tracker = Tracker::new();
    let mut client = tracker.connect();
    client.get(&target(1));
    let mut silent = tracker.connect();
    // The kernel resets what is connected but not yet accepted.
    wait_until("both are accepted", || tracker.context.metrics.connections_open.load(Relaxed) == 2);
    // They may be idle for far longer than a read may take here.
    tracker.stop();
    assert_eq!((client.rest(), silent.rest()), (Vec::new(), Vec::new()));
}
