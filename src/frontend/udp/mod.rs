//! The UDP frontend (BEP 15): drains a socket in batches, answers connects, and dispatches announces to their owners.

mod connection_id;
mod context;
mod metrics;
mod polled;

use std::io;
use std::net::UdpSocket;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use tokio::io::Interest;
use tokio::time::sleep;

pub use connection_id::ConnectionIds;
pub use context::UdpContext;
use polled::Polled;

pub use metrics::{BatchCounts, Outcome, UdpMetrics};

use crate::clock::Now;
use crate::net::outbox::{Outbox, Writer};
use crate::net::{Endpoint, Receiver, yield_once};
use crate::partition::UdpClient;
use crate::router::{RoutedBatch, RoutingSnapshot};
use crate::swarm::{Family, InfoHash};
use crate::telemetry::trace::{BatchTimes, Countdown, ErrorType, Transport, Unsampled};
use crate::wire::answered_by::WHICH_NODE;
use crate::wire::udp::{self, ParseError, Request, TransactionId};

/// Datagrams of one `recvmmsg`.
const DATAGRAMS: usize = 64;
/// Bytes of the longest request that is read: more than an Ethernet frame holds.
const MAX_REQUEST: usize = 2048;
/// Rounds without a pause after which a socket counts as busy.
const BUSY: u32 = 8;
/// How long a socket that cannot be polled, or that only returns errors, is left alone.
const POLL_PAUSE: Duration = Duration::from_millis(10);
/// The most scrapes of one socket that may wait for their owners.
const MAX_SCRAPES: usize = 1024;

/// What is the same for all datagrams of a round.
struct Round<'a> {
    connection_ids: &'a ConnectionIds,
    snapshot: &'a RoutingSnapshot<'a>,
    now: Now,
}

/// One socket's frontend on one thread.
pub struct UdpFrontend {
    context: Arc<UdpContext>,
    sockets: Arc<[UdpSocket]>,
    /// Its own among `sockets`.
    at: usize,
    family: Family,
    outbox: Arc<Outbox>,
    receiver: Receiver,
    polled: Polled,
    /// The announces of a round.
    announces: RoutedBatch,
    scrapes: Arc<AtomicUsize>,
    /// Chooses announces to be traced.
    countdown: Countdown,
    /// Whether some clients may choose as well.
    probes: bool,
}

impl UdpFrontend {
    /// A frontend for the socket at position `at`; replies go through `outbox`.
    ///
    /// # Errors
    /// When the address of the socket cannot be read, or its second descriptor cannot be opened.
    pub fn new(
        context: Arc<UdpContext>,
        sockets: Arc<[UdpSocket]>,
        at: usize,
        outbox: Arc<Outbox>,
    ) -> io::Result<Self> {
        let local = sockets[at].local_addr()?;
        let family = if local.is_ipv4() { Family::V4 } else { Family::V6 };
        let receiver = Receiver::new(DATAGRAMS, MAX_REQUEST, local.ip().is_unspecified());
        Ok(Self {
            polled: Polled::new(&sockets[at])?,
            countdown: context.traces.countdown(),
            probes: context.traces.has_probes(),
            context,
            sockets,
            at,
            family,
            outbox,
            receiver,
            announces: RoutedBatch::default(),
            scrapes: Arc::default(),
        })
    }

    /// Serves until it is aborted, on the current thread's runtime. No error ends it: sockets do not break for good, and
    /// descriptors, memory and routes come back.
    pub async fn run(mut self) {
        let sockets = self.sockets.clone();
        let socket = &sockets[self.at];
        // While a socket is registered for polling, the kernel wakes its poller for each datagram sent through it, which
        // costs a busy tracker 4 % of its time. So the registration is dropped while there is always something to
        // receive, and made again once there is nothing.
        let (mut rounds, mut failures) = (0, 0);
        loop {
            let received = match self.polled.get() {
                Some(polled) => polled.try_io(Interest::READABLE, || self.receiver.receive(socket.as_fd())),
                None => self.receiver.receive(socket.as_fd()),
            };
            match received {
                // A round: drain, let the owners answer, send. Asking again after it costs less than waiting for
                // readiness, which under load is there already.
                Ok(count) => {
                    self.take(count);
                    yield_once().await;
                    self.outbox.flush();
                    (rounds, failures) = (rounds + 1, 0);
                    if rounds == BUSY {
                        self.polled.unregister();
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    (rounds, failures) = (0, 0);
                    let ready = match self.polled.register(socket) {
                        Some(polled) => polled.readable().await.is_ok(),
                        None => false,
                    };
                    if !ready {
                        sleep(POLL_PAUSE).await;
                    }
                }
                // An ICMP error that an earlier reply brought back, a signal, or a lack of memory.
                Err(_) if failures < BUSY => {
                    failures += 1;
                    yield_once().await;
                }
                Err(_) => sleep(POLL_PAUSE).await,
            }
        }
    }

    /// Answers what it can of the datagrams just received, and dispatches the announces.
    fn take(&mut self, count: usize) {
        let now = self.context.clock.now();
        let mut counts = BatchCounts::default();
        let context = self.context.clone();
        let snapshot = context.router.snapshot();
        let connection_ids = context.connection_ids.load();
        let round = Round { connection_ids: &connection_ids, snapshot: &snapshot, now };
        let outbox = self.outbox.clone();
        let mut writer = outbox.writer();
        for at in 0..count {
            let outcome = self.datagram(at, &round, &mut writer);
            counts.count(outcome, 1);
        }
        writer.promise_flush();
        drop(writer);

        let times = BatchTimes { received: now.uptime, handed: context.traces.now(), began: Duration::ZERO };
        let shed = self.announces.dispatch(&snapshot, &outbox, times);
        counts.shed(shed);
        if shed > 0 && context.traces.allows_unsampled(times.handed) {
            let why = Unsampled::Failed(ErrorType::Overloaded);
            context.traces.record_unsampled(times, why, Transport::Udp, None, None, None);
        }
        context.metrics[self.family as usize].add(&counts);
    }

    /// Answers one datagram, or adds it to the announces to be dispatched.
    fn datagram(&mut self, at: usize, round: &Round<'_>, writer: &mut Writer<'_>) -> Outcome {
        let Some((data, from)) = self.receiver.datagram(at) else { return Outcome::Unanswerable };
        let Some(remote) = from.remote().filter(|remote| remote.port() != 0) else { return Outcome::Unanswerable };
        let (ip, socket, now) = (remote.ip(), self.at as u8, round.now);
        let mut refuse = |transaction_id: TransactionId, message: &str| {
            writer.reply(socket, &from, |out| udp::write_error(out, transaction_id, message, data.len()));
        };
        let proven = |id| round.connection_ids.check(id, ip, now.wall_seconds());
        match udp::parse_request(data) {
            Ok(Request::Connect { transaction_id }) => {
                let id = round.connection_ids.make(ip, now.wall_seconds());
                writer.reply(socket, &from, |out| udp::write_connect(out, transaction_id, id));
                Outcome::Connect
            }
            Ok(Request::Announce(announce)) if !proven(announce.connection_id) => {
                refuse(announce.transaction_id, BAD_CONNECTION_ID);
                Outcome::BadConnectionId
            }
            Ok(Request::Announce(announce)) => {
                let chosen = self.countdown.hit();
                let mut trace = None;
                if chosen || (self.probes && !announce.options.as_bytes().is_empty()) {
                    trace = self.context.trace(chosen, &announce, ip, now);
                }
                if !self.context.access_list.load().permits(&announce.info_hash) {
                    if let Some(trace) = &mut trace {
                        trace.fail(ErrorType::Forbidden);
                    }
                    refuse(announce.transaction_id, FORBIDDEN);
                    return Outcome::Forbidden;
                }
                let client = UdpClient { transaction_id: announce.transaction_id, socket, endpoint: from };
                let request = self.context.request(&announce, client, ip, trace);
                self.announces.push(request, round.snapshot);
                Outcome::Announce
            }
            Ok(Request::Scrape { connection_id, transaction_id, .. }) if !proven(connection_id) => {
                refuse(transaction_id, BAD_CONNECTION_ID);
                Outcome::BadConnectionId
            }
            Ok(Request::Scrape { transaction_id, info_hashes, .. }) => {
                let context = &self.context;
                if *info_hashes == [WHICH_NODE.0] {
                    let (node, limit) = (context.answered_by.to_string(), context.reply_bytes);
                    writer.reply(socket, &from, |out| udp::write_error(out, transaction_id, &node, limit));
                    return Outcome::Scrape;
                }
                let fits = udp::max_scrape(context.reply_bytes).min(info_hashes.len());
                let info_hashes = info_hashes[..fits].iter().copied().map(InfoHash).collect();
                self.scrape(transaction_id, info_hashes, from)
            }
            Err(ParseError::Sendable { connection_id, transaction_id, reason }) => {
                if proven(connection_id) {
                    refuse(transaction_id, reason.message());
                }
                Outcome::Malformed
            }
            Err(ParseError::Unsendable(_)) => Outcome::Malformed,
        }
    }

    /// Answers a scrape, which may concern several owners, once all have returned their counts.
    fn scrape(&self, transaction_id: TransactionId, info_hashes: Vec<InfoHash>, to: Endpoint) -> Outcome {
        if self.scrapes.fetch_add(1, Relaxed) >= MAX_SCRAPES {
            self.scrapes.fetch_sub(1, Relaxed);
            return Outcome::Shed;
        }
        let (context, outbox, scrapes) = (self.context.clone(), self.outbox.clone(), self.scrapes.clone());
        let (family, socket) = (self.family, self.at as u8);
        tokio::spawn(async move {
            // Without an answer in time the client asks again, as it does when a packet is lost.
            if let Ok(counts) = context.router.scrape(family, &info_hashes).await {
                let mut writer = outbox.writer();
                writer.reply(socket, &to, |out| {
                    udp::write_scrape(out, transaction_id);
                    let permits = context.access_list.load();
                    for (info_hash, counts) in info_hashes.iter().zip(counts) {
                        let shown = if permits.permits(info_hash) { counts } else { Default::default() };
                        udp::write_scrape_entry(out, &shown);
                    }
                });
                writer.finish();
            }
            scrapes.fetch_sub(1, Relaxed);
        });
        Outcome::Scrape
    }
}

const BAD_CONNECTION_ID: &str = "connection id expired, connect again";
const FORBIDDEN: &str = "this torrent is not served here";
