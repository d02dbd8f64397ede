//! The UDP engine: one thread, one connected socket per source, one epoll.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::Context;
use mio::event::Event;
use mio::net::UdpSocket;
use mio::{Events, Interest, Token};

use super::answer::Answer;
use super::args::Spec;
use super::engine::{Core, MAX_FAILURES, MAX_WAITING, SECOND, Sockets};
use super::flights::{Flight, Flights, MAX_FLIGHTS, Nanos};
use super::tally::Kind;
use super::workload::{Job, Population, Workload};
use crate::swarm::{Counts, Family};
use crate::wire::udp::{ConnectionId, Options, Response, TransactionId, encode_connect, encode_scrape, parse_response};

/// BEP 15: a client may use a connection id for a minute.
const ID_LIFETIME: Nanos = 60 * SECOND;
/// A new connection id is fetched from this age on, so that no announce has to wait for it.
const ID_REFRESH: Nanos = 50 * SECOND;

/// A request under way: what for, to which target, and how many targets were tried before.
#[derive(Clone, Copy, Debug)]
struct Sent {
    ask: Ask,
    target: usize,
    tries: usize,
}

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
    /// The position of the target that it talks to.
    target: usize,
    /// Jobs, when they were due, and how many targets were tried for them.
    waiting: VecDeque<(Job, Nanos, usize)>,
}

/// One thread's share of the sources.
pub struct Worker<'a> {
    core: Core<'a>,
    sources: Vec<Source>,
    flights: Flights<Sent>,
    next_refresh: Nanos,
    out: Vec<u8>,
    hashes: Vec<[u8; 20]>,
    counts: Vec<Counts>,
}

impl<'a> Worker<'a> {
    /// Opens the sockets of the sources that are `worker` modulo the number of workers.
    ///
    /// # Errors
    /// A socket cannot be opened or bound.
    pub fn new(spec: &'a Spec, population: &'a Population, worker: u32) -> anyhow::Result<Self> {
        let core = Core::new(spec, population)?;
        let mut sources = Vec::new();
        for index in (worker..spec.sources).step_by(spec.workers as usize) {
            let position = index as usize % spec.targets.len();
            let target = spec.targets[position].addr;
            let mut socket = open_socket(spec, index, target)?;
            core.poll
                .registry()
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
                target: position,
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
            core,
            sources,
            flights: Flights::new(capacity, deadline),
            next_refresh: 0,
            out: Vec::with_capacity(2048),
            hashes: Vec::new(),
            counts: Vec::new(),
        })
    }

    fn valid_connection(&self, source: usize, now: Nanos) -> Option<ConnectionId> {
        self.sources[source].connection.filter(|(_, since)| now - since < ID_LIFETIME).map(|(id, _)| id)
    }

    /// Renews the connection ids that will soon be too old, not all at the same time.
    fn refresh_connections(&mut self, now: Nanos) {
        if now < self.next_refresh || self.core.spec.connect_each {
            return;
        }
        self.next_refresh = now + SECOND / 10;
        let budget = self.sources.len().div_ceil(50);
        let old = |s: &Source| !s.connecting && s.connection.is_some_and(|(_, since)| now - since >= ID_REFRESH);
        let due: Vec<usize> = (0..self.sources.len()).filter(|s| old(&self.sources[*s])).take(budget).collect();
        due.into_iter().for_each(|source| self.connect(source));
    }

    fn connect(&mut self, source: usize) {
        let now = self.core.now();
        if let Some(id) = self.begin(source, Ask::Connect, now, 0) {
            self.sources[source].connecting = true;
            self.out.clear();
            encode_connect(&mut self.out, id);
            self.send(source);
        }
    }

    fn launch(&mut self, workload: &mut dyn Workload, source: usize, ask: Ask, intended: Nanos, tries: usize) {
        let (job, connects) = match ask {
            Ask::Job(job) => (job, false),
            Ask::ConnectFor(job) => (job, true),
            Ask::Connect => return,
        };
        let Some(transaction_id) = self.begin(source, ask, intended, tries) else {
            self.core.tally.skip(intended);
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

    fn begin(&mut self, source: usize, ask: Ask, intended: Nanos, tries: usize) -> Option<TransactionId> {
        let sent = self.core.now();
        let job = Sent { ask, target: self.sources[source].target, tries };
        self.flights.begin(Flight { job, source: source as u32, intended, sent }).map(TransactionId)
    }

    fn encode(&mut self, source: usize, job: Job, transaction_id: TransactionId) {
        let population = self.core.population;
        let connection_id = self.sources[source].connection.map_or(ConnectionId(0), |(id, _)| id);
        if let Job::Scrape { first, count } = job {
            self.hashes.clear();
            self.hashes.extend((first..first + u32::from(count)).map(|swarm| population.info_hash(swarm).0));
            encode_scrape(&mut self.out, connection_id, transaction_id, &self.hashes);
        } else if let Some(words) = population.words(&job, self.core.spec.num_want) {
            words.encode_udp(&mut self.out, connection_id, transaction_id, Options::default());
        }
    }

    /// Sends what is in `out`. If that fails, the request will be lost at its deadline.
    fn send(&mut self, source: usize) {
        self.core.tally.sent += 1;
        let socket = &self.sources[source].socket;
        let sent = match socket.send(&self.out) {
            // This reports what became of an earlier datagram, and sends nothing.
            Err(e) if e.kind() == ErrorKind::ConnectionRefused => {
                self.core.tally.io.add(&e.to_string());
                socket.send(&self.out)
            }
            other => other,
        };
        if let Err(e) = sent {
            self.core.tally.io.add(&e.to_string());
        }
    }

    /// Reads a socket until it is empty, or until nothing more is expected: epoll reports the next datagram anyway.
    fn receive(&mut self, workload: &mut dyn Workload, source: usize) {
        let mut buffer = [0; 4096];
        loop {
            match self.sources[source].socket.recv(&mut buffer) {
                Ok(len) => self.datagram(workload, source, &buffer[..len]),
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                Err(e) => self.core.tally.io.add(&e.to_string()),
            }
            let s = &self.sources[source];
            if s.in_flight == 0 && !s.connecting {
                break;
            }
        }
        self.core.ready.push(source);
    }

    fn datagram(&mut self, workload: &mut dyn Workload, source: usize, datagram: &[u8]) {
        let response = match parse_response(datagram, self.sources[source].family) {
            Ok(response) => response,
            Err(e) => return self.core.tally.malformed.add(&e.to_string()),
        };
        let Some(flight) = self.flights.finish(response.transaction_id().0) else {
            self.core.tally.stray += 1;
            return;
        };
        if flight.source as usize != source {
            self.core.tally.malformed.add("the transaction id of another source's request");
            return self.fail(workload, &flight);
        }
        let now = self.core.now();
        let job = match (flight.job.ask, response) {
            (Ask::Job(job), _) => job,
            (ask, Response::Connect { connection_id, .. }) => {
                self.core.tally.good(Kind::Connect, now - flight.sent);
                self.sources[source].connection = Some((connection_id, now));
                return self.connected(workload, source, ask, flight.intended, flight.job.tries);
            }
            (_, Response::Error { message, .. }) => {
                self.core.tally.errors.add(&String::from_utf8_lossy(message));
                self.core.tally.fails(flight.intended);
                return self.fail(workload, &flight);
            }
            _ => {
                self.core.tally.malformed.add("a connect was answered as something else");
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
                self.core.tally.malformed.add("a request was answered as a connect");
                self.counts = counts;
                return self.fail(workload, &flight);
            }
        };
        if self.core.tally.judge(&job, self.core.spec.num_want, [flight.intended, now], &answer) {
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
    fn connected(&mut self, workload: &mut dyn Workload, source: usize, ask: Ask, intended: Nanos, tries: usize) {
        match ask {
            Ask::ConnectFor(job) => {
                self.sources[source].in_flight -= 1;
                self.launch(workload, source, Ask::Job(job), intended, tries);
            }
            _ => {
                self.sources[source].connecting = false;
                while let Some((job, intended, tries)) = self.sources[source].waiting.pop_front() {
                    self.launch(workload, source, Ask::Job(job), intended, tries);
                }
            }
        }
    }

    /// Gives up what has waited too long.
    fn give_up(&mut self, workload: &mut dyn Workload, now: Nanos) {
        while let Some(flight) = self.flights.expire(now) {
            if self.core.spec.failover {
                self.fail_over(workload, &flight);
            } else {
                self.lose(workload, &flight);
            }
            self.core.ready.push(flight.source as usize);
        }
    }

    fn lose(&mut self, workload: &mut dyn Workload, flight: &Flight<Sent>) {
        match flight.job.ask {
            Ask::Connect => self.core.tally.lost += 1,
            Ask::Job(_) | Ask::ConnectFor(_) => self.core.tally.lose(flight.intended),
        }
        self.fail(workload, flight);
    }

    /// A target has not answered in time: the source goes on to the next one, and its requests with it.
    fn fail_over(&mut self, workload: &mut dyn Workload, flight: &Flight<Sent>) {
        let (targets, at) = (&self.core.spec.targets, flight.source as usize);
        let source = &mut self.sources[at];
        // Others that were under way to the same target are late as well.
        if source.target == flight.job.target {
            source.target = (source.target + 1) % targets.len();
            source.connection = None;
            if let Err(e) = source.socket.connect(targets[source.target].addr) {
                self.core.tally.io.add(&e.to_string());
            }
        }
        let Sent { ask, tries, .. } = flight.job;
        match ask {
            Ask::Job(_) | Ask::ConnectFor(_) if tries + 1 >= targets.len() => self.lose(workload, flight),
            Ask::Job(job) | Ask::ConnectFor(job) => {
                source.in_flight -= 1;
                self.core.tally.failed_over += 1;
                self.request(workload, at, job, flight.intended, tries + 1);
            }
            Ask::Connect => {
                source.connecting = false;
                for (job, intended, tries) in std::mem::take(&mut source.waiting) {
                    if tries + 1 >= targets.len() {
                        self.core.tally.skip(intended);
                        workload.failed(self.sources[at].index, job);
                    } else {
                        self.request(workload, at, job, intended, tries + 1);
                    }
                }
            }
        }
    }

    /// Sends a request, or lets it wait for a connection id.
    fn request(&mut self, workload: &mut dyn Workload, source: usize, job: Job, intended: Nanos, tries: usize) {
        if self.core.spec.connect_each {
            self.launch(workload, source, Ask::ConnectFor(job), intended, tries);
        } else if self.valid_connection(source, self.core.now()).is_some() {
            self.launch(workload, source, Ask::Job(job), intended, tries);
        } else {
            if !self.sources[source].connecting {
                self.connect(source);
            }
            if self.sources[source].waiting.len() < MAX_WAITING {
                self.sources[source].waiting.push_back((job, intended, tries));
            } else {
                self.core.tally.skip(intended);
                workload.failed(self.sources[source].index, job);
            }
        }
    }

    /// A request has come to nothing, and with a connect all that waited for it.
    fn fail(&mut self, workload: &mut dyn Workload, flight: &Flight<Sent>) {
        let source = &mut self.sources[flight.source as usize];
        source.failures += 1;
        match flight.job.ask {
            Ask::Job(job) | Ask::ConnectFor(job) => {
                source.in_flight -= 1;
                workload.failed(source.index, job);
            }
            Ask::Connect => {
                source.connecting = false;
                for (job, intended, _) in std::mem::take(&mut source.waiting) {
                    self.core.tally.skip(intended);
                    workload.failed(source.index, job);
                }
            }
        }
    }
}

impl<'a> Sockets<'a> for Worker<'a> {
    fn core(&mut self) -> &mut Core<'a> {
        &mut self.core
    }

    fn source(&self, source: usize) -> Option<u32> {
        self.sources.get(source).map(|source| source.index)
    }

    /// Fetches connection ids before a phase, so that its first requests need not wait for them. A tracker that does not
    /// answer is left to the phase itself.
    fn prepare(&mut self) -> anyhow::Result<()> {
        struct Nothing;
        impl Workload for Nothing {
            fn next(&mut self, _source: u32) -> Option<Job> {
                None
            }
        }
        let now = self.core.now();
        for source in 0..self.sources.len() {
            self.sources[source].failures = 0;
            if self.valid_connection(source, now).is_none() {
                self.connect(source);
            }
        }
        let mut events = Events::with_capacity(1024);
        while self.flights.len() > 0 {
            let now = self.core.now();
            self.give_up(&mut Nothing, now);
            self.core.wait(&mut events, None, [self.flights.next_expiry(), None])?;
            for event in &events {
                self.receive(&mut Nothing, event.token().0);
            }
        }
        Ok(())
    }

    fn has_room(&mut self, source: usize, may_give_up: bool) -> bool {
        let s = &self.sources[source];
        if s.in_flight >= self.core.spec.window || may_give_up && s.failures >= MAX_FAILURES {
            return false;
        }
        let connected = self.core.spec.connect_each || self.valid_connection(source, self.core.now()).is_some();
        if !connected && !self.sources[source].connecting {
            self.connect(source);
        }
        connected
    }

    fn submit(&mut self, workload: &mut dyn Workload, source: usize, job: Job, intended: Nanos) {
        self.core.tally.sends(intended);
        self.request(workload, source, job, intended, 0);
    }

    fn maintain(&mut self, workload: &mut dyn Workload, now: Nanos, sending: bool) {
        self.give_up(workload, now);
        if sending {
            self.refresh_connections(now);
        }
    }

    fn handle(&mut self, workload: &mut dyn Workload, event: &Event) {
        self.receive(workload, event.token().0);
    }

    fn is_idle(&self) -> bool {
        // Whoever waits has a connect under way.
        self.flights.len() == 0
    }

    fn next_expiry(&self) -> Option<Nanos> {
        self.flights.next_expiry()
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
