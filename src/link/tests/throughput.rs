//! What a request costs. `cargo test --release --lib link::tests::throughput -- --nocapture` prints it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use tokio::time::Instant;

use super::*;

/// In a run for figures, the time that is measured.
const TIME: Duration = if cfg!(debug_assertions) { Duration::from_millis(300) } else { Duration::from_secs(3) };
/// Announces of a request.
const BATCH: usize = 15;

/// Answers each announce with a list of 50 peers.
struct Lists;

impl Service for Lists {
    fn handle(&self, _: &NodeId, _: Request, reply: ReplyTo) {
        reply.send(&Reply::Announces(ByteBuf::from(vec![1; BATCH * 330])), true);
    }
}

/// Sends again what is answered.
struct Again {
    link: Arc<Link>,
    request: Arc<Request>,
    count: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
}

impl Again {
    fn send(self) {
        let (link, request) = (self.link.clone(), self.request.clone());
        link.send(Class::Request, &request, 5 * SECOND, Box::new(self));
    }
}

impl Completion for Again {
    fn reply(&mut self, _: Reply, _: bool) {
        self.count.fetch_add(1, Relaxed);
        if !self.stop.load(Relaxed) {
            let Self { link, request, count, stop } = self;
            Self { link: link.clone(), request: request.clone(), count: count.clone(), stop: stop.clone() }.send();
        }
    }

    fn failed(self: Box<Self>, error: LinkError) {
        self.stop.store(true, Relaxed);
        panic!("{error}");
    }
}

/// Time of the processor that this process has used.
fn cpu() -> Duration {
    let stat = procfs::process::Process::myself().unwrap().stat().unwrap();
    Duration::from_millis((stat.utime + stat.stime) * 1000 / procfs::ticks_per_second())
}

async fn measure(what: &str, [a, b]: [LinkConfig; 2], in_flight: usize) {
    let a = Node::start(a).await;
    let clock = Arc::new(SystemClock::start());
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let b = Links::start(any, b, Arc::new(SystemNet), clock, Arc::new(Lists)).await.unwrap();
    let link = up(&a.links, target("b", b.local_addr())).await;
    let (count, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let request = Arc::new(announces(&[2; BATCH * 60]));
    let (start, before) = (Instant::now(), cpu());
    for _ in 0..in_flight {
        let (link, request, count, stop) = (link.clone(), request.clone(), count.clone(), stop.clone());
        Again { link, request, count, stop }.send();
    }
    tokio::time::sleep(TIME).await;
    let (took, used, done) = (start.elapsed(), cpu() - before, count.load(Relaxed));
    stop.store(true, Relaxed);
    until("all are answered", || a.links.status()[0].request.in_flight == 0).await;
    let rate = done as f64 / took.as_secs_f64();
    let micros = used.as_secs_f64() * 1e6 / done.max(1) as f64;
    let each = micros / BATCH as f64;
    println!(
        "{what}, {in_flight} in flight: {rate:.0} requests/s, {micros:.2} µs of CPU each on both nodes together, \
         {each:.2} µs an announce"
    );
    assert!(rate > 500.0);
    a.links.stop().await;
    b.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_are_cheap() {
    for in_flight in [1, 16, 256] {
        measure("plain", [config("a"), config("b")], in_flight).await;
        measure("TLS", tls::pair(), in_flight).await;
    }
}
