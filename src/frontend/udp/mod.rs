//! The UDP frontend (BEP 15): drains a socket in batches, answers connects, and dispatches announces to their owners.

mod connection_id;
mod metrics;

use std::io;
use std::net::{IpAddr, UdpSocket};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::io::Interest;

pub use connection_id::ConnectionIds;
pub use metrics::{BatchCounts, Outcome, UdpMetrics};

use super::access_list::AccessList;
use super::external::External;
use crate::clock::{Clock, Now};
use crate::net::outbox::{Outbox, Writer};
use crate::net::{Endpoint, Receiver, yield_once};
use crate::partition::{AnnounceRequest, ReplyTo, UdpClient, summary};
use crate::router::{RoutedBatch, Router, RoutingSnapshot};
use crate::swarm::{Announce, Family, InfoHash, PeerAddr, Source};
use crate::telemetry::trace::{
    BatchTimes, Countdown, ErrorType, Parent, RequestTrace, Traces, Transport, Unsampled, names::span,
};
use crate::wire::answered_by::{AnsweredBy, WHICH_NODE};
use crate::wire::udp::{self, ParseError, Request, TransactionId};

/// Datagrams of one `recvmmsg`.
const DATAGRAMS: usize = 64;
/// Bytes of the longest request that is read: more than an Ethernet frame holds.
const MAX_REQUEST: usize = 2048;
/// Rounds without a pause after which a socket counts as busy.
const BUSY: u32 = 8;
/// The most scrapes of one socket that may wait for their owners.
const MAX_SCRAPES: usize = 1024;

/// What the UDP frontends of all threads share.
pub struct UdpContext {
    /// Where requests go.
    pub router: Router,
    /// Proof of address; swapped on reload.
    pub connection_ids: ArcSwap<ConnectionIds>,
    /// Which info hashes are served.
    pub access_list: Arc<ArcSwap<AccessList>>,
    /// Addresses for peers that announce from near this host.
    pub external: External,
    /// The peers given to a client that names no number.
    pub default_peers: u16,
    /// The most peers given.
    pub max_peers: u16,
    /// The largest reply, in bytes.
    pub reply_bytes: usize,
    /// This node, for clients that ask which one answers.
    pub answered_by: AnsweredBy,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Traces of announces.
    pub traces: Traces,
    /// Counts of IPv4 and of IPv6 datagrams.
    pub metrics: [UdpMetrics; 2],
}

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
    /// When the socket cannot tell its address.
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

    /// Serves for ever, on the current thread's runtime.
    ///
    /// # Errors
    /// When the socket cannot be polled.
    pub async fn run(mut self) -> io::Result<()> {
        let sockets = self.sockets.clone();
        let socket = &sockets[self.at];
        // While a socket is registered for polling, the kernel wakes its poller for each datagram sent through it, which
        // costs a busy tracker 4 % of its time. So the registration is dropped while there is always something to
        // receive, and made again once there is nothing.
        let mut registered: Option<tokio::net::UdpSocket> = None;
        let mut rounds = 0;
        loop {
            let received = match &registered {
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
                    rounds += 1;
                    if rounds == BUSY {
                        registered = None;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    rounds = 0;
                    let polled = match registered.take() {
                        Some(polled) => polled,
                        None => tokio::net::UdpSocket::from_std(socket.try_clone()?)?,
                    };
                    polled.readable().await?;
                    registered = Some(polled);
                }
                // An ICMP error that an earlier reply brought back, or a signal.
                Err(_) => yield_once().await,
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

impl UdpContext {
    /// The trace of an announce that is sampled, or that a probe has sent.
    #[cold]
    fn trace(&self, chosen: bool, request: &udp::Announce<'_>, client: IpAddr, now: Now) -> Option<Box<RequestTrace>> {
        let parent = self.traces.trusts(client).then(|| Parent::in_url(request.options.url_data())).flatten();
        self.traces.start_announce(chosen, parent, now.uptime, Transport::Udp, client)
    }

    /// The request for the owner of an announce's swarm.
    #[inline]
    fn request(
        &self,
        request: &udp::Announce<'_>,
        client: UdpClient,
        ip: IpAddr,
        mut trace: Option<Box<RequestTrace>>,
    ) -> AnnounceRequest {
        let announce = self.announce(request, PeerAddr::new(self.external.of(ip), request.port));
        let hash = self.router.owners().hash(&announce.info_hash);
        if let Some(trace) = &mut trace {
            trace.steps().step(span::ADMIT);
            trace.describe(&summary(&announce, self.router.owners().partition(hash)));
            trace.steps().step(span::ROUTE);
        }
        AnnounceRequest { announce, hash, source: Source::Owner, reply_to: ReplyTo::Udp(client), trace }
    }

    fn announce(&self, request: &udp::Announce<'_>, peer: PeerAddr) -> Announce {
        let fits = udp::max_peers(peer.family(), self.reply_bytes).min(usize::from(self.max_peers)) as u16;
        // -1 asks for the default, and so do the many clients that send 0.
        let num_want = match u16::try_from(request.num_want) {
            Ok(0) => self.default_peers,
            Ok(wanted) => wanted,
            Err(_) if request.num_want < 0 => self.default_peers,
            Err(_) => u16::MAX,
        };
        Announce {
            info_hash: request.info_hash,
            peer,
            event: request.event,
            seeder: request.is_seeder(),
            num_want: num_want.min(fits),
        }
    }
}
