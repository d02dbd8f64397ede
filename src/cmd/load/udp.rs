//! The UDP engine: one thread, one connected socket per source, one epoll.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use anyhow::Context;
use mio::net::UdpSocket;
use mio::{Events, Interest, Poll, Token};

use super::Pace;
use super::answer::Answer;
use super::args::Spec;
use super::flights::{Flight, Flights, MAX_FLIGHTS, Nanos};
use super::pacer::LATE;
use super::tally::{Kind, Tally};
use super::workload::{Job, Life, Population, Workload};
use crate::swarm::{Counts, Event, Family};
use crate::wire::udp::{
    Announce, ConnectionId, Options, Response, TransactionId, encode_announce, encode_connect, encode_scrape,
    parse_response,
};

const SECOND: Nanos = 1_000_000_000;
/// BEP 15: a client may use a connection id for a minute.
const ID_LIFETIME: Nanos = 60 * SECOND;
/// A new connection id is fetched from this age on, so that no announce has to wait for it.
const ID_REFRESH: Nanos = 50 * SECOND;
/// Sends of an open loop between two looks at the sockets.
const BURST: usize = 64;
/// Requests of an open loop that may wait for a connection id of their source.
const MAX_WAITING: usize = 4096;
/// A source that fails this often in a row gives up on a phase that has no end in time.
const MAX_FAILURES: u32 = 50;
/// The port that the observer of `--verify` announces, below those of all peers.
pub const OBSERVER_PORT: u16 = super::workload::FIRST_PORT - 1;
/// The observer wants all that fit.
pub const OBSERVER_WANTS: i32 = 10_000;

#[derive(Clone, Copy, Debug)]
enum Ask {
    /// For a connection id of the source.
    Connect,
    /// For a connection id that one job uses (`--connect-each`).
    ConnectFor(Job),
    Job(Job),
}

struct Source {
    index: u32,
    socket: UdpSocket,
    family: Family,
    connection: Option<(ConnectionId, Nanos)>,
    connecting: bool,
    in_flight: u32,
    failures: u32,
    waiting: VecDeque<(Job, Nanos)>,
}

/// One thread's share of the sources.
pub struct Worker<'a> {
    spec: &'a Spec,
    population: &'a Population,
    poll: Poll,
    sources: Vec<Source>,
    flights: Flights<Ask>,
    waiting: usize,
    ready: Vec<usize>,
    next_source: usize,
    next_refresh: Nanos,
    epoch: Instant,
    out: Vec<u8>,
    hashes: Vec<[u8; 20]>,
    counts: Vec<Counts>,
    tally: Tally,
}

impl<'a> Worker<'a> {
    /// Opens the sockets of the sources that are `worker` modulo the number of workers.
    ///
    /// # Errors
    /// A socket cannot be opened or bound.
    pub fn new(spec: &'a Spec, population: &'a Population, worker: u32) -> anyhow::Result<Self> {
        let poll = Poll::new().context("cannot open an epoll")?;
        let mut sources = Vec::new();
        for index in (worker..spec.sources).step_by(spec.workers as usize) {
            let target = spec.targets[index as usize % spec.targets.len()].addr;
            let mut socket = open_socket(spec, index, target)?;
            poll.registry()
                .register(&mut socket, Token(sources.len()), Interest::READABLE)
                .context("cannot watch a socket")?;
            sources.push(Source {
                index,
                socket,
                family: if target.ip().to_canonical().is_ipv4() { Family::V4 } else { Family::V6 },
                connection: None,
                connecting: false,
                in_flight: 0,
                failures: 0,
                waiting: VecDeque::new(),
            });
        }
        let deadline = spec.deadline.as_nanos() as Nanos;
        let flights = match spec.open {
            Some((rate, _)) => (f64::from(rate) / f64::from(spec.workers) * spec.deadline.as_secs_f64() * 1.5) as usize,
            None => 0,
        };
        let capacity = (flights + (spec.window as usize + 1) * sources.len()).clamp(4096, MAX_FLIGHTS);
        Ok(Self {
            spec,
            population,
            poll,
            sources,
            flights: Flights::new(capacity, deadline),
            waiting: 0,
            ready: Vec::new(),
            next_source: 0,
            next_refresh: 0,
            epoch: Instant::now(),
            out: Vec::with_capacity(2048),
            hashes: Vec::new(),
            counts: Vec::new(),
            tally: Tally::default(),
        })
    }

    fn now(&self) -> Nanos {
        self.epoch.elapsed().as_nanos() as Nanos
    }

    /// Runs one phase to its end and until nothing is under way any more. `progress` counts answers.
    ///
    /// # Errors
    /// epoll fails.
    pub fn run(
        &mut self,
        workload: &mut dyn Workload,
        pace: Pace,
        worker: u32,
        progress: &AtomicU64,
    ) -> anyhow::Result<Tally> {
        self.connect_all()?;
        self.tally = Tally::default();
        let start = self.now();
        let until = pace.duration().map(|d| start + d.as_nanos() as Nanos);
        let mut pacer = pace.pacer(self.spec, worker, start);
        if pacer.is_none() {
            self.ready = (0..self.sources.len()).rev().collect();
        }
        let mut events = Events::with_capacity(1024);
        let mut seen = 0;
        let mut last_sent = start;
        loop {
            let now = self.now();
            self.give_up(workload, now);
            let sending = until.is_none_or(|until| now < until);
            let sent = self.tally.sent;
            if sending {
                self.refresh_connections(now);
            }
            if let Some(pacer) = &mut pacer {
                for _ in 0..BURST {
                    let Some(due) = pacer.due(now) else { break };
                    self.send_due(workload, due);
                }
            } else if sending {
                while let Some(source) = self.ready.pop() {
                    self.top_up(workload, source, until.is_none());
                }
            }
            if self.tally.sent > sent {
                last_sent = now;
            }
            let due = pacer.as_ref().and_then(|pacer| pacer.next());
            if due.is_none() && self.flights.len() == 0 {
                break;
            }
            self.poll(&mut events, due, until)?;
            for event in &events {
                self.receive(workload, event.token().0);
            }
            let answers = self.tally.all_answers();
            progress.fetch_add(answers - seen, Relaxed);
            seen = answers;
        }
        self.tally.elapsed = until.map_or(last_sent.max(start + 1) - start, |until| until - start);
        Ok(std::mem::take(&mut self.tally))
    }

    /// Fetches connection ids before a phase, so that its first requests need not wait for them. A tracker that does not
    /// answer is left to the phase itself.
    fn connect_all(&mut self) -> anyhow::Result<()> {
        struct Nothing;
        impl Workload for Nothing {
            fn next(&mut self, _source: u32) -> Option<Job> {
                None
            }
        }
        let now = self.now();
        for source in 0..self.sources.len() {
            self.sources[source].failures = 0;
            if self.valid_connection(source, now).is_none() {
                self.connect(source);
            }
        }
        let mut events = Events::with_capacity(1024);
        while self.flights.len() > 0 {
            let now = self.now();
            self.give_up(&mut Nothing, now);
            self.poll(&mut events, None, None)?;
            for event in &events {
                self.receive(&mut Nothing, event.token().0);
            }
        }
        Ok(())
    }

    /// Sleeps until something can be done. epoll counts in milliseconds, so the last one before a due send is spun.
    fn poll(&mut self, events: &mut Events, due: Option<Nanos>, until: Option<Nanos>) -> anyhow::Result<()> {
        let now = self.now();
        let next = [due, until.filter(|until| *until > now), self.flights.next_expiry()];
        let wait = next.into_iter().flatten().min().map_or(SECOND / 10, |at| at.saturating_sub(now).min(SECOND / 10));
        let timeout = match due {
            Some(_) => Duration::from_millis(wait / 1_000_000),
            None => Duration::from_nanos(wait),
        };
        match self.poll.poll(events, Some(timeout)) {
            Err(e) if e.kind() != ErrorKind::Interrupted => return Err(e).context("epoll failed"),
            _ => {}
        }
        if timeout.is_zero() && events.is_empty() {
            std::thread::yield_now();
        }
        Ok(())
    }

    fn valid_connection(&self, source: usize, now: Nanos) -> Option<ConnectionId> {
        self.sources[source].connection.filter(|(_, since)| now - since < ID_LIFETIME).map(|(id, _)| id)
    }

    /// Renews the connection ids that will soon be too old, not all at the same time.
    fn refresh_connections(&mut self, now: Nanos) {
        if now < self.next_refresh || self.spec.connect_each {
            return;
        }
        self.next_refresh = now + SECOND / 10;
        let budget = self.sources.len().div_ceil(50);
        let old = |s: &Source| !s.connecting && s.connection.is_some_and(|(_, since)| now - since >= ID_REFRESH);
        let due: Vec<usize> = (0..self.sources.len()).filter(|s| old(&self.sources[*s])).take(budget).collect();
        due.into_iter().for_each(|source| self.connect(source));
    }

    /// Closed loop: fills the window of a source.
    fn top_up(&mut self, workload: &mut dyn Workload, source: usize, may_give_up: bool) {
        while self.sources[source].in_flight < self.spec.window {
            let s = &self.sources[source];
            if may_give_up && s.failures >= MAX_FAILURES {
                return;
            }
            let now = self.now();
            if !self.spec.connect_each && self.valid_connection(source, now).is_none() {
                if !self.sources[source].connecting {
                    self.connect(source);
                }
                return;
            }
            let Some(job) = workload.next(s.index) else { return };
            self.submit(workload, source, job, now);
        }
    }

    /// Open loop: sends what is due, from one source after the other.
    fn send_due(&mut self, workload: &mut dyn Workload, due: Nanos) {
        let source = self.next_source;
        self.next_source = (source + 1) % self.sources.len();
        let Some(job) = workload.next(self.sources[source].index) else { return };
        if self.now() > due + LATE {
            self.tally.late += 1;
        }
        self.submit(workload, source, job, due);
    }

    fn submit(&mut self, workload: &mut dyn Workload, source: usize, job: Job, intended: Nanos) {
        if self.spec.connect_each {
            self.launch(workload, source, Ask::ConnectFor(job), intended);
        } else if self.valid_connection(source, self.now()).is_some() {
            self.launch(workload, source, Ask::Job(job), intended);
        } else {
            if !self.sources[source].connecting {
                self.connect(source);
            }
            if self.sources[source].waiting.len() < MAX_WAITING {
                self.sources[source].waiting.push_back((job, intended));
                self.waiting += 1;
            } else {
                self.tally.unsent += 1;
                workload.failed(self.sources[source].index, job);
            }
        }
    }

    fn connect(&mut self, source: usize) {
        let now = self.now();
        if let Some(id) = self.begin(source, Ask::Connect, now) {
            self.sources[source].connecting = true;
            self.out.clear();
            encode_connect(&mut self.out, id);
            self.send(source);
        }
    }

    fn launch(&mut self, workload: &mut dyn Workload, source: usize, ask: Ask, intended: Nanos) {
        let (job, connects) = match ask {
            Ask::Job(job) => (job, false),
            Ask::ConnectFor(job) => (job, true),
            Ask::Connect => return,
        };
        let Some(transaction_id) = self.begin(source, ask, intended) else {
            self.tally.unsent += 1;
            workload.failed(self.sources[source].index, job);
            return;
        };
        self.sources[source].in_flight += 1;
        self.out.clear();
        if connects {
            encode_connect(&mut self.out, transaction_id);
        } else {
            self.encode(source, job, transaction_id);
        }
        self.send(source);
    }

    fn begin(&mut self, source: usize, ask: Ask, intended: Nanos) -> Option<TransactionId> {
        let sent = self.now();
        self.flights.begin(Flight { job: ask, source: source as u32, intended, sent }).map(TransactionId)
    }

    fn encode(&mut self, source: usize, job: Job, transaction_id: TransactionId) {
        let population = self.population;
        let connection_id = self.sources[source].connection.map_or(ConnectionId(0), |(id, _)| id);
        let (who, info_hash, event, left, num_want, port) = match job {
            Job::Scrape { first, count } => {
                self.hashes.clear();
                self.hashes.extend((first..first + u32::from(count)).map(|swarm| population.info_hash(swarm).0));
                encode_scrape(&mut self.out, connection_id, transaction_id, &self.hashes);
                return;
            }
            Job::Announce { peer, event, next } => {
                let left = if next == Life::Seeder { 0 } else { 700_000_000 };
                let hash = population.info_hash(population.swarm_of(peer));
                (peer, hash, event, left, self.spec.num_want, population.port_of(peer))
            }
            Job::Observe { swarm, leave } => {
                let event = if leave { Event::Stopped } else { Event::Started };
                (u32::MAX, population.info_hash(swarm), event, 700_000_000, OBSERVER_WANTS, OBSERVER_PORT)
            }
        };
        let announce = Announce {
            connection_id,
            transaction_id,
            info_hash,
            event,
            left,
            key: who,
            num_want,
            port,
            options: Options::default(),
        };
        encode_announce(&mut self.out, &announce, &population.peer_id(who));
    }

    /// Sends what is in `out`. If that fails, the request will be lost at its deadline.
    fn send(&mut self, source: usize) {
        self.tally.sent += 1;
        let socket = &self.sources[source].socket;
        let sent = match socket.send(&self.out) {
            // This reports what became of an earlier datagram, and sends nothing.
            Err(e) if e.kind() == ErrorKind::ConnectionRefused => {
                self.tally.io.add(&e.to_string());
                socket.send(&self.out)
            }
            other => other,
        };
        if let Err(e) = sent {
            self.tally.io.add(&e.to_string());
        }
    }

    /// Reads a socket until it is empty, or until nothing more is expected: epoll reports the next datagram anyway.
    fn receive(&mut self, workload: &mut dyn Workload, source: usize) {
        let mut buffer = [0; 4096];
        loop {
            match self.sources[source].socket.recv(&mut buffer) {
                Ok(len) => self.datagram(workload, source, &buffer[..len]),
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                Err(e) => self.tally.io.add(&e.to_string()),
            }
            let s = &self.sources[source];
            if s.in_flight == 0 && !s.connecting {
                break;
            }
        }
        self.ready.push(source);
    }

    fn datagram(&mut self, workload: &mut dyn Workload, source: usize, datagram: &[u8]) {
        let response = match parse_response(datagram, self.sources[source].family) {
            Ok(response) => response,
            Err(e) => return self.tally.malformed.add(&e.to_string()),
        };
        let Some(flight) = self.flights.finish(response.transaction_id().0) else {
            self.tally.stray += 1;
            return;
        };
        if flight.source as usize != source {
            self.tally.malformed.add("the transaction id of another source's request");
            return self.fail(workload, &flight);
        }
        let now = self.now();
        let job = match (flight.job, response) {
            (Ask::Job(job), _) => job,
            (ask, Response::Connect { connection_id, .. }) => {
                self.tally.good(Kind::Connect, now - flight.sent);
                self.sources[source].connection = Some((connection_id, now));
                return self.connected(workload, source, ask, flight.intended);
            }
            (_, Response::Error { message, .. }) => {
                self.tally.errors.add(&String::from_utf8_lossy(message));
                return self.fail(workload, &flight);
            }
            _ => {
                self.tally.malformed.add("a connect was answered as something else");
                return self.fail(workload, &flight);
            }
        };
        let mut counts = std::mem::take(&mut self.counts);
        let answer = match response {
            Response::Announce { peers, .. } => Answer::Announce(peers),
            Response::Scrape { entries, .. } => {
                counts.clear();
                counts.extend(entries.iter());
                Answer::Scrape(Cow::Borrowed(&counts))
            }
            Response::Error { message, .. } => Answer::Error(String::from_utf8_lossy(message)),
            Response::Connect { .. } => {
                self.tally.malformed.add("a request was answered as a connect");
                self.counts = counts;
                return self.fail(workload, &flight);
            }
        };
        if self.tally.judge(&job, self.spec.num_want, now.saturating_sub(flight.intended), &answer) {
            self.sources[source].in_flight -= 1;
            self.sources[source].failures = 0;
            workload.answered(self.sources[source].index, job, &answer);
        } else {
            self.fail(workload, &flight);
        }
        drop(answer);
        self.counts = counts;
    }

    /// A connection id has come: sends what waited for it.
    fn connected(&mut self, workload: &mut dyn Workload, source: usize, ask: Ask, intended: Nanos) {
        match ask {
            Ask::ConnectFor(job) => {
                self.sources[source].in_flight -= 1;
                self.launch(workload, source, Ask::Job(job), intended);
            }
            _ => {
                self.sources[source].connecting = false;
                while let Some((job, intended)) = self.sources[source].waiting.pop_front() {
                    self.waiting -= 1;
                    self.launch(workload, source, Ask::Job(job), intended);
                }
            }
        }
    }

    /// Gives up what has waited too long.
    fn give_up(&mut self, workload: &mut dyn Workload, now: Nanos) {
        while let Some(flight) = self.flights.expire(now) {
            self.tally.lost += 1;
            self.fail(workload, &flight);
            self.ready.push(flight.source as usize);
        }
    }

    /// A request has come to nothing, and with a connect all that waited for it.
    fn fail(&mut self, workload: &mut dyn Workload, flight: &Flight<Ask>) {
        let source = &mut self.sources[flight.source as usize];
        source.failures += 1;
        match flight.job {
            Ask::Job(job) | Ask::ConnectFor(job) => {
                source.in_flight -= 1;
                workload.failed(source.index, job);
            }
            Ask::Connect => {
                source.connecting = false;
                for (job, _) in std::mem::take(&mut source.waiting) {
                    self.waiting -= 1;
                    self.tally.unsent += 1;
                    workload.failed(source.index, job);
                }
            }
        }
    }
}

fn open_socket(spec: &Spec, source: u32, target: SocketAddr) -> anyhow::Result<UdpSocket> {
    let local: IpAddr = match target.ip() {
        IpAddr::V4(_) if spec.many_addresses => Population::address(source).into(),
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind(SocketAddr::new(local, 0))
        .with_context(|| format!("cannot open a UDP socket on {local}: fewer --sources may help"))?;
    socket.connect(target).with_context(|| format!("{target} cannot be reached"))?;
    Ok(socket)
}
