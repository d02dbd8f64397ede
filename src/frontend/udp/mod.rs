//! The UDP frontend (BEP 15): drains a socket in batches, answers connects, hands announces to their owners.

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
use crate::partition::{Routes, UdpAnnounce, traced};
use crate::router::Router;
use crate::swarm::{Announce, Family, InfoHash, PeerAddr};
use crate::telemetry::trace::{Countdown, FlightRecord, OpenTrace, Parent, Traces, Transport, Why, names::span};
use crate::wire::answered_by::{AnsweredBy, WHICH_NODE};
use crate::wire::udp::{self, ParseError, Request, TransactionId};

/// Datagrams of one `recvmmsg`.
const DATAGRAMS: usize = 64;
/// Bytes of the longest request that is read: more than an Ethernet frame holds.
const MAX_REQUEST: usize = 2048;
/// Rounds without a pause after which a socket counts as busy.
const BUSY: u32 = 8;
/// Scrapes of one socket that wait for their owners, at the most.
const MAX_SCRAPES: usize = 1024;

/// What the UDP frontends of all threads have in common.
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
    /// This node, for those who ask which one answers.
    pub answered_by: AnsweredBy,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Traces of announces.
    pub traces: Traces,
    /// Counts of IPv4 and of IPv6 datagrams.
    pub metrics: [UdpMetrics; 2],
}

/// What is the same for all datagrams of a round.
struct Batch<'a> {
    connection_ids: &'a ConnectionIds,
    /// Owners of this node.
    owners: usize,
    routes: Option<&'a Routes>,
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
    /// Announces of a round by who answers them, see [`Router::list_of`].
    announces: Vec<Vec<UdpAnnounce>>,
    scrapes: Arc<AtomicUsize>,
    /// Chooses announces to be traced.
    countdown: Countdown,
    /// Whether there are clients that may choose as well.
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
        let (announces, scrapes) = Default::default();
        let (countdown, probes) = (context.traces.countdown(), context.traces.has_probes());
        Ok(Self { context, sockets, at, family, outbox, receiver, announces, scrapes, countdown, probes })
    }

    /// Serves for ever, on the current thread's runtime.
    ///
    /// # Errors
    /// When the socket cannot be polled.
    pub async fn run(mut self) -> io::Result<()> {
        let sockets = self.sockets.clone();
        let socket = &sockets[self.at];
        // While a socket is registered for polling, the kernel wakes its poller for each datagram sent through it, which
        // costs a busy tracker 4 % of its time. So a registration is given up when there is always something to receive,
        // and made anew when there is nothing.
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

    /// Answers what it can of the datagrams just received and hands the rest to the owners.
    fn take(&mut self, count: usize) {
        let now = self.context.clock.now();
        let mut counts = BatchCounts::default();
        let context = self.context.clone();
        let (owners, routes) = (context.router.owners().load(), context.router.routes());
        let connection_ids = context.connection_ids.load();
        let batch = Batch {
            connection_ids: &connection_ids,
            owners: owners.len(),
            routes: routes.as_deref().map(|routes| &**routes),
            now,
        };
        self.announces.resize_with(context.router.lists(batch.owners, batch.routes), Vec::new);
        let outbox = self.outbox.clone();
        let mut writer = outbox.writer();
        for at in 0..count {
            let outcome = self.datagram(at, &batch, &mut writer);
            counts.count(outcome, 1);
        }
        writer.promise_flush();
        drop(writer);
        let record = FlightRecord { received: now.uptime, handed: context.traces.now(), began: Duration::ZERO };
        let shed = context.router.hand_over(&mut self.announces, &owners, batch.routes, &outbox, record);
        counts.shed(shed);
        if shed > 0 && context.traces.may_tell(record.handed) {
            context.traces.afterwards(record, Why::Failed(SHED), Transport::Udp, None, None, None);
        }
        drop((owners, routes));
        self.context.metrics[self.family as usize].add(&counts);
    }

    /// Answers one datagram or puts it with its owner's announces.
    fn datagram(&mut self, at: usize, batch: &Batch<'_>, writer: &mut Writer<'_>) -> Outcome {
        let now = batch.now;
        let Self { context, receiver, announces, countdown, probes, .. } = self;
        let Some((data, from)) = receiver.datagram(at) else { return Outcome::Unanswerable };
        let Some(remote) = from.remote().filter(|remote| remote.port() != 0) else { return Outcome::Unanswerable };
        let (ip, socket) = (remote.ip(), self.at as u8);
        let mut refuse = |transaction_id: TransactionId, message: &str| {
            writer.reply(socket, &from, |out| udp::write_error(out, transaction_id, message, data.len()));
        };
        let proven = |id| batch.connection_ids.check(id, ip, now.wall_seconds());
        match udp::parse_request(data) {
            Ok(Request::Connect { transaction_id }) => {
                let id = batch.connection_ids.make(ip, now.wall_seconds());
                writer.reply(socket, &from, |out| udp::write_connect(out, transaction_id, id));
                Outcome::Connect
            }
            Ok(Request::Announce(request)) => {
                let transaction_id = request.transaction_id;
                if !proven(request.connection_id) {
                    refuse(transaction_id, BAD_CONNECTION_ID);
                    return Outcome::BadConnectionId;
                }
                let chosen = countdown.hit();
                let mut trace = None;
                if chosen || (*probes && !request.options.as_bytes().is_empty()) {
                    trace = context.trace(chosen, &request, ip, now);
                }
                if !context.access_list.load().permits(&request.info_hash) {
                    trace.iter_mut().for_each(|trace| trace.fail("forbidden"));
                    refuse(transaction_id, FORBIDDEN);
                    return Outcome::Forbidden;
                }
                let announce = context.announce(&request, PeerAddr::new(context.external.of(ip), request.port));
                if let Some(trace) = &mut trace {
                    trace.steps().step(span::ADMIT);
                }
                let hash = context.router.owners().hash(&announce.info_hash);
                let (list, source) = context.router.list_of(hash, batch.owners, batch.routes);
                let Some(list) = announces.get_mut(list) else { return Outcome::Shed };
                if let Some(trace) = &mut trace {
                    trace.says(&traced::said(&announce, context.router.owners().partition(hash)));
                    trace.steps().step(span::ROUTE);
                }
                let answered = false;
                list.push(UdpAnnounce { hash, announce, transaction_id, socket, to: from, answered, source, trace });
                Outcome::Announce
            }
            Ok(Request::Scrape { connection_id, transaction_id, info_hashes }) => {
                if !proven(connection_id) {
                    refuse(transaction_id, BAD_CONNECTION_ID);
                    return Outcome::BadConnectionId;
                }
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

    /// Answers a scrape, which may concern several owners, when all have told their counts.
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

/// Why an announce has failed whose owner is at its limit.
const SHED: &str = "overloaded";

impl UdpContext {
    /// The trace of an announce that was chosen, or that a probe has sent.
    #[cold]
    fn trace(&self, chosen: bool, request: &udp::Announce<'_>, client: IpAddr, now: Now) -> Option<Box<OpenTrace>> {
        let parent = self.traces.trusts(client).then(|| Parent::in_url(request.options.url_data())).flatten();
        self.traces.announce(chosen, parent, now.uptime, Transport::Udp, client)
    }

    fn announce(&self, request: &udp::Announce<'_>, peer: PeerAddr) -> Announce {
        let fits = udp::max_peers(peer.family(), self.reply_bytes).min(usize::from(self.max_peers)) as u16;
        // -1 asks for the default, and 0 is what many clients send that have no wish.
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
