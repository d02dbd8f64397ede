//! An HTTP frontend behind a real socket, and a client that sees every byte.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tidings::clock::SystemClock;
use tidings::config::Settings;
use tidings::frontend::access_list::AccessList;
use tidings::frontend::http::{HttpContext, HttpOptions, serve};
use tidings::net::{bind, outbox::Outbox};
use tidings::node::{Core, frontends::http_context};
use tidings::partition::OwnerThread;
use tidings::router::Router;
use tidings::telemetry::trace::Traces;
use tokio::sync::watch;

/// A percent-encoded info hash.
pub const HASH: &str = "%124Vx%9A%BC%DE%F1%23Eg%89%AB%CD%EF%124Vx%9A";

/// The default options, with few connections and a long idle time.
pub fn options() -> HttpOptions {
    let options = HttpOptions::new(&Settings::default()).unwrap();
    HttpOptions { connections: 64, idle: Duration::from_secs(120), ..options }
}

fn core() -> Core {
    Core::new(&Settings::default(), &[7; 16], None, Arc::new(SystemClock::start()), Traces::off())
}

/// A context whose router has no owners yet.
pub fn context(options: HttpOptions) -> HttpContext {
    let access_list = Arc::new(ArcSwap::from_pointee(AccessList::Off));
    // The middle: no jitter.
    HttpContext { random: || 1 << 31, ..http_context(options, &core(), access_list, None, false) }
}

/// Gives the router an owner that lives on the current runtime.
async fn start_owner(router: Router) {
    let core = Core { router, ..core() };
    let thread =
        OwnerThread { runtime: tokio::runtime::Handle::current(), outbox: Arc::new(Outbox::new(Arc::new([]))) };
    core.start_owners(vec![thread], 7, Arc::new(|_| {})).await.unwrap();
}

/// A running frontend on a thread of its own, which stops with the value.
pub struct Tracker {
    pub addr: SocketAddr,
    pub context: Arc<HttpContext>,
    shutdown: watch::Sender<bool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Tracker {
    pub fn new() -> Self {
        Self::with(context(options()))
    }

    pub fn with(context: HttpContext) -> Self {
        Self::at("127.0.0.1:0", context)
    }

    pub fn at(addr: &str, context: HttpContext) -> Self {
        Self::start(addr, context, true)
    }

    /// A frontend without owners.
    pub fn without_owners() -> Self {
        Self::start("127.0.0.1:0", context(options()), false)
    }

    fn start(addr: &str, context: HttpContext, with_owner: bool) -> Self {
        let listener = bind::tcp(addr.parse().unwrap(), true).unwrap();
        let addr = listener.local_addr().unwrap();
        let context = Arc::new(context);
        let (shutdown, is_shutdown) = watch::channel(false);
        let shared = context.clone();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                if with_owner {
                    start_owner(shared.router.clone()).await;
                }
                serve(listener, shared, is_shutdown).await.unwrap();
            });
        });
        Self { addr, context, shutdown, thread: Some(thread) }
    }

    pub fn connect(&self) -> Client {
        Client::new(self.addr)
    }

    /// The reply to a single GET.
    pub fn get(&self, target: &str) -> Reply {
        self.connect().get(target)
    }

    pub fn stop(&mut self) {
        let _ = self.shutdown.send(true);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

impl Drop for Tracker {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.stop();
        }
    }
}

pub struct Client {
    pub stream: TcpStream,
    unread: Vec<u8>,
}

pub struct Reply {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Client {
    pub fn new(addr: SocketAddr) -> Self {
        let stream = TcpStream::connect(addr).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        Self { stream, unread: Vec::new() }
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).unwrap();
    }

    pub fn get(&mut self, target: &str) -> Reply {
        self.send(format!("GET {target} HTTP/1.1\r\nhost: tracker\r\n\r\n"));
        self.reply()
    }

    /// Reads one reply, and leaves what follows it for the next.
    pub fn reply(&mut self) -> Reply {
        let end = self.read_until(|unread| unread.windows(4).position(|bytes| bytes == b"\r\n\r\n"));
        let head = String::from_utf8(self.unread.drain(..end + 4).collect()).unwrap().to_lowercase();
        let length = header(&head, "content-length").map_or(0, |value| value.parse().unwrap());
        self.read_until(|unread| (unread.len() >= length).then_some(0));
        let body = self.unread.drain(..length).collect();
        Reply { status: head.split(' ').nth(1).unwrap().parse().unwrap(), head, body }
    }

    /// Everything up to the end of the connection.
    pub fn rest(&mut self) -> Vec<u8> {
        let mut rest = std::mem::take(&mut self.unread);
        self.stream.read_to_end(&mut rest).unwrap();
        rest
    }

    fn read_until(&mut self, done: impl Fn(&[u8]) -> Option<usize>) -> usize {
        loop {
            if let Some(at) = done(&self.unread) {
                return at;
            }
            let mut chunk = [0; 4096];
            let length = self.stream.read(&mut chunk).unwrap();
            assert_ne!(length, 0, "the connection ended after {:?}", self.unread.escape_ascii().to_string());
            self.unread.extend_from_slice(&chunk[..length]);
        }
    }
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}

impl Reply {
    pub fn header(&self, name: &str) -> Option<&str> {
        header(&self.head, name)
    }

    pub fn int(&self, key: &str) -> i64 {
        tidings::wire::bencode::parse(&self.body).unwrap().get(key).unwrap().as_int().unwrap()
    }

    pub fn bytes(&self, key: &str) -> Vec<u8> {
        tidings::wire::bencode::parse(&self.body).unwrap().get(key).unwrap().as_bytes().unwrap().to_vec()
    }

    /// The failure reason of a reply, which has to have status 200 and plain text.
    pub fn failure(&self) -> String {
        assert_eq!((self.status, self.header("content-type")), (200, Some("text/plain")));
        String::from_utf8(self.bytes("failure reason")).unwrap()
    }
}
