//! One thread of load over UDP: one connected socket per source, one epoll.

use std::io::ErrorKind;

use anyhow::Context;
use mio::event::Event;
use mio::{Events, Interest, Token};

use super::format::{encode_request, read_answer};
use super::request::{Purpose, Sent, Task};
use super::source::Source;
use crate::cmd::load::flights::{Flight, Flights, MAX_FLIGHTS, Nanos};
use crate::cmd::load::job::Job;
use crate::cmd::load::population::Population;
use crate::cmd::load::sockets::{Core, MAX_FAILURES, MAX_WAITING, SECOND, Sockets};
use crate::cmd::load::spec::Spec;
use crate::cmd::load::tally::Kind;
use crate::cmd::load::workload::Workload;
use crate::swarm::Counts;
use crate::wire::udp::{Response, TransactionId, encode_connect, parse_response};

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
            let mut source = Source::new(spec, index)?;
            let (registry, token) = (core.poll.registry(), Token(sources.len()));
            registry.register(&mut source.socket, token, Interest::READABLE).context("cannot watch a socket")?;
            sources.push(source);
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

    /// Renews the connection ids that will soon be too old, a few at a time.
    fn refresh_connections(&mut self, now: Nanos) {
        if now < self.next_refresh || self.core.spec.connect_each {
            return;
        }
        self.next_refresh = now + SECOND / 10;
        let budget = self.sources.len().div_ceil(50);
        let due = (0..self.sources.len()).filter(|source| self.sources[*source].needs_refresh(now)).take(budget);
        for source in due.collect::<Vec<_>>() {
            self.connect(source);
        }
    }

    fn connect(&mut self, source: usize) {
        let now = self.core.now();
        if let Some(id) = self.begin(source, Purpose::Connect, now, 0) {
            self.sources[source].connecting = true;
            self.out.clear();
            encode_connect(&mut self.out, id);
            self.send(source);
        }
    }

    fn launch(&mut self, workload: &mut dyn Workload, source: usize, purpose: Purpose, intended: Nanos, tries: usize) {
        let (job, connects) = match purpose {
            Purpose::Job(job) => (job, false),
            Purpose::ConnectFor(job) => (job, true),
            Purpose::Connect => return,
        };
        let Some(transaction_id) = self.begin(source, purpose, intended, tries) else {
            return self.skip(workload, source, job, intended);
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

    fn begin(&mut self, source: usize, purpose: Purpose, intended: Nanos, tries: usize) -> Option<TransactionId> {
        let sent = self.core.now();
        let job = Sent { purpose, target: self.sources[source].target, tries };
        self.flights.begin(Flight { job, source: source as u32, intended, sent }).map(TransactionId)
    }

    fn encode(&mut self, source: usize, job: Job, transaction_id: TransactionId) {
        let ids = (self.sources[source].last_connection_id(), transaction_id);
        let job = (&job, self.core.spec.num_want);
        encode_request(&mut self.out, &mut self.hashes, self.core.population, job, ids);
    }

    /// Sends what is in `out`.
    fn send(&mut self, source: usize) {
        self.core.tally.sent += 1;
        self.sources[source].send(&self.out, &mut self.core.tally.io);
    }

    /// Reads a socket until it is empty or no answer is expected: epoll reports the next datagram anyway.
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
        let job = match (flight.job.purpose, response) {
            (Purpose::Job(job), _) => job,
            (purpose, Response::Connect { connection_id, .. }) => {
                self.core.tally.good(Kind::Connect, now - flight.sent);
                self.sources[source].set_connection_id(connection_id, now);
                return self.connected(workload, source, purpose, flight.intended, flight.job.tries);
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
        // Taken out so that the answer may borrow it while the tally is written.
        let mut counts = std::mem::take(&mut self.counts);
        self.judge(workload, source, &flight, job, response, &mut counts);
        self.counts = counts;
    }

    /// Judges the response to a job.
    fn judge(
        &mut self,
        workload: &mut dyn Workload,
        source: usize,
        flight: &Flight<Sent>,
        job: Job,
        response: Response<'_>,
        counts: &mut Vec<Counts>,
    ) {
        let now = self.core.now();
        let Some(answer) = read_answer(response, counts) else {
            self.core.tally.malformed.add("a request was answered as a connect");
            return self.fail(workload, flight);
        };
        if !self.core.tally.judge(&job, self.core.spec.num_want, [flight.intended, now], &answer) {
            return self.fail(workload, flight);
        }
        let source = &mut self.sources[source];
        source.in_flight -= 1;
        source.failures = 0;
        workload.answered(source.index, job, &answer);
    }

    /// A connection id has arrived: sends the requests that waited for it.
    fn connected(
        &mut self,
        workload: &mut dyn Workload,
        source: usize,
        purpose: Purpose,
        intended: Nanos,
        tries: usize,
    ) {
        match purpose {
            Purpose::ConnectFor(job) => {
                self.sources[source].in_flight -= 1;
                self.launch(workload, source, Purpose::Job(job), intended, tries);
            }
            _ => {
                self.sources[source].connecting = false;
                while let Some(Task { job, intended, tries }) = self.sources[source].waiting.pop_front() {
                    self.launch(workload, source, Purpose::Job(job), intended, tries);
                }
            }
        }
    }

    /// Expires late requests.
    fn expire(&mut self, workload: &mut dyn Workload, now: Nanos) {
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
        match flight.job.purpose {
            Purpose::Connect => self.core.tally.lost += 1,
            Purpose::Job(_) | Purpose::ConnectFor(_) => self.core.tally.lose(flight.intended),
        }
        self.fail(workload, flight);
    }

    /// A target has not answered in time: the source switches to the next one and resends its requests.
    fn fail_over(&mut self, workload: &mut dyn Workload, flight: &Flight<Sent>) {
        let (targets, at) = (&self.core.spec.targets, flight.source as usize);
        let source = &mut self.sources[at];
        if let Err(e) = source.leave_target(flight.job.target, targets) {
            self.core.tally.io.add(&e.to_string());
        }
        let Sent { purpose, tries, .. } = flight.job;
        match purpose {
            Purpose::Job(_) | Purpose::ConnectFor(_) if tries + 1 >= targets.len() => self.lose(workload, flight),
            Purpose::Job(job) | Purpose::ConnectFor(job) => {
                source.in_flight -= 1;
                self.core.tally.failed_over += 1;
                self.request(workload, at, job, flight.intended, tries + 1);
            }
            Purpose::Connect => {
                source.connecting = false;
                for Task { job, intended, tries } in std::mem::take(&mut source.waiting) {
                    if tries + 1 >= targets.len() {
                        self.skip(workload, at, job, intended);
                    } else {
                        self.request(workload, at, job, intended, tries + 1);
                    }
                }
            }
        }
    }

    /// Sends a request, or queues it until there is a connection id.
    fn request(&mut self, workload: &mut dyn Workload, source: usize, job: Job, intended: Nanos, tries: usize) {
        if self.core.spec.connect_each {
            self.launch(workload, source, Purpose::ConnectFor(job), intended, tries);
        } else if self.sources[source].connection_id(self.core.now()).is_some() {
            self.launch(workload, source, Purpose::Job(job), intended, tries);
        } else {
            if !self.sources[source].connecting {
                self.connect(source);
            }
            if self.sources[source].waiting.len() < MAX_WAITING {
                self.sources[source].waiting.push_back(Task { job, intended, tries });
            } else {
                self.skip(workload, source, job, intended);
            }
        }
    }

    /// A request has failed, and with a connect everything that waited for it.
    fn fail(&mut self, workload: &mut dyn Workload, flight: &Flight<Sent>) {
        let at = flight.source as usize;
        let source = &mut self.sources[at];
        source.failures += 1;
        match flight.job.purpose {
            Purpose::Job(job) | Purpose::ConnectFor(job) => {
                source.in_flight -= 1;
                workload.failed(source.index, job);
            }
            Purpose::Connect => {
                source.connecting = false;
                for Task { job, intended, .. } in std::mem::take(&mut source.waiting) {
                    self.skip(workload, at, job, intended);
                }
            }
        }
    }

    /// Counts a request that cannot be sent.
    fn skip(&mut self, workload: &mut dyn Workload, source: usize, job: Job, intended: Nanos) {
        self.core.tally.skip(intended);
        workload.failed(self.sources[source].index, job);
    }
}

impl<'a> Sockets<'a> for Worker<'a> {
    fn core(&mut self) -> &mut Core<'a> {
        &mut self.core
    }

    fn source(&self, source: usize) -> Option<u32> {
        self.sources.get(source).map(|source| source.index)
    }

    /// Fetches connection ids before a phase, so that its first requests need not wait for them. If the tracker does not
    /// answer, the phase tries again.
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
            if self.sources[source].connection_id(now).is_none() {
                self.connect(source);
            }
        }
        let mut events = Events::with_capacity(1024);
        while self.flights.len() > 0 {
            let now = self.core.now();
            self.expire(&mut Nothing, now);
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
        let connected = self.core.spec.connect_each || self.sources[source].connection_id(self.core.now()).is_some();
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
        self.expire(workload, now);
        if sending {
            self.refresh_connections(now);
        }
    }

    fn handle(&mut self, workload: &mut dyn Workload, event: &Event) {
        self.receive(workload, event.token().0);
    }

    fn is_idle(&self) -> bool {
        // Waiting requests have a connect under way.
        self.flights.len() == 0
    }

    fn next_expiry(&self) -> Option<Nanos> {
        self.flights.next_expiry()
    }
}
