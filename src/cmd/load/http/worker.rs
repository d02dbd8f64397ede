//! One thread of load over HTTP.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;

use mio::event::Event;
use mio::{Interest, Token};

use super::connection::{Connection, connect};
use super::format;
use crate::client::{Head, parse_head};
use crate::cmd::load::flights::{Flight, Nanos};
use crate::cmd::load::job::Job;
use crate::cmd::load::population::Population;
use crate::cmd::load::sockets::{Core, MAX_FAILURES, MAX_WAITING, SECOND, Sockets};
use crate::cmd::load::spec::{Spec, Target};
use crate::cmd::load::workload::Workload;
use crate::swarm::Family;

/// A response larger than this is malformed.
const MAX_RESPONSE: usize = 1 << 20;
/// The time between two searches for late requests.
const SWEEP: Nanos = SECOND / 100;

struct Source {
    index: u32,
    /// The position of its target.
    target: usize,
    idle: Vec<usize>,
    waiting: VecDeque<(Job, Nanos)>,
    failures: u32,
}

/// One thread's share of the sources and their connections.
pub struct Worker<'a> {
    core: Core<'a>,
    sources: Vec<Source>,
    connections: Vec<Connection>,
    busy: usize,
    waiting: usize,
    next_sweep: Nanos,
}

impl<'a> Worker<'a> {
    /// Takes the sources that are `worker` modulo the number of workers. Connections are opened for their first request.
    ///
    /// # Errors
    /// epoll cannot be opened.
    pub fn new(spec: &'a Spec, population: &'a Population, worker: u32) -> anyhow::Result<Self> {
        let (mut sources, mut connections) = (Vec::new(), Vec::new());
        for index in (worker..spec.sources).step_by(spec.workers as usize) {
            let first = connections.len();
            let target = index as usize % spec.targets.len();
            connections.extend((0..spec.window).map(|_| Connection {
                source: sources.len(),
                target,
                ..Connection::default()
            }));
            let idle = (first..connections.len()).collect();
            sources.push(Source { index, target, idle, waiting: VecDeque::new(), failures: 0 });
        }
        let core = Core::new(spec, population)?;
        Ok(Self { core, sources, connections, busy: 0, waiting: 0, next_sweep: 0 })
    }

    fn target(&self, source: usize) -> &'a Target {
        &self.core.spec.targets[self.sources[source].target]
    }

    fn start(&mut self, connection: usize, job: Job, intended: Nanos) {
        self.busy += 1;
        self.connections[connection].tries = 0;
        self.send(connection, job, intended);
    }

    /// Sends a request to the target of its source.
    fn send(&mut self, connection: usize, job: Job, intended: Nanos) {
        let source = self.connections[connection].source;
        let target = self.target(source);
        let sent = self.core.now();
        self.core.tally.sent += 1;
        let c = &mut self.connections[connection];
        if c.target != self.sources[source].target {
            c.target = self.sources[source].target;
            c.stream = None;
        }
        c.flight = Some(Flight { job, source: c.source as u32, intended, sent });
        c.out.clear();
        format::write_request(&mut c.out, target, self.core.population, &job, self.core.spec.num_want);
        c.written = 0;
        c.input.clear();
        if c.stream.is_none() {
            self.open(connection);
        } else {
            self.write(connection);
        }
    }

    /// Opens a connection. On failure the request is lost at its deadline, which limits the rate of connection attempts.
    fn open(&mut self, connection: usize) {
        let c = &mut self.connections[connection];
        c.proven = false;
        let index = self.sources[c.source].index;
        let addr = self.core.spec.targets[c.target].addr;
        let source = self.core.spec.many_addresses.then(|| SocketAddr::new(Population::address(index).into(), 0));
        let stream = connect(source, addr).and_then(|mut stream| {
            let interest = Interest::READABLE | Interest::WRITABLE;
            self.core.poll.registry().register(&mut stream, Token(connection), interest)?;
            Ok(stream)
        });
        match stream {
            Ok(stream) => c.stream = Some(stream),
            Err(e) => self.core.tally.io.add(&e.to_string()),
        }
    }

    fn write(&mut self, connection: usize) {
        let c = &mut self.connections[connection];
        while let Some(stream) = &mut c.stream
            && c.written < c.out.len()
        {
            match stream.write(&c.out[c.written..]) {
                Ok(len) => c.written += len,
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected) => return,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return self.broken(connection, &e.to_string()),
            }
        }
    }

    fn read(&mut self, workload: &mut dyn Workload, connection: usize) {
        let mut buffer = [0; 16384];
        loop {
            let c = &mut self.connections[connection];
            let Some(stream) = &mut c.stream else { return };
            match stream.read(&mut buffer) {
                Ok(0) => return self.end_of_stream(workload, connection),
                Ok(_) if c.flight.is_none() => {
                    self.core.tally.stray += 1;
                    c.stream = None;
                    return;
                }
                Ok(len) if c.input.len() + len > MAX_RESPONSE => {
                    self.core.tally.malformed.add("a response of more than 1 MiB");
                    return self.fail(workload, connection);
                }
                Ok(len) => {
                    c.input.extend_from_slice(&buffer[..len]);
                    self.parse(workload, connection, false);
                    if len < buffer.len() {
                        return;
                    }
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => return,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return self.broken(connection, &e.to_string()),
            }
        }
    }

    fn end_of_stream(&mut self, workload: &mut dyn Workload, connection: usize) {
        if self.connections[connection].input.is_empty() || self.connections[connection].flight.is_none() {
            return self.broken(connection, "the connection was closed without an answer");
        }
        self.parse(workload, connection, true);
        if self.connections[connection].flight.is_some() {
            self.core.tally.malformed.add("the connection was closed within a response");
            self.fail(workload, connection);
        }
    }

    /// The connection is closed. If it has carried an answer before, its request is sent again, as HTTP clients do.
    fn broken(&mut self, connection: usize, text: &str) {
        let c = &mut self.connections[connection];
        c.stream = None;
        if c.flight.is_none() {
            return;
        }
        if c.proven {
            c.written = 0;
            c.input.clear();
            self.open(connection);
        } else {
            self.core.tally.io.add(text);
        }
    }

    fn parse(&mut self, workload: &mut dyn Workload, connection: usize, ended: bool) {
        let now = self.core.now();
        let c = &mut self.connections[connection];
        let Some(flight) = c.flight else { return };
        let Head { keep_alive, body, total } = match parse_head(&c.input) {
            Ok(Some(head)) => head,
            Ok(None) => return,
            Err(error) => {
                self.core.tally.malformed.add(&error.to_string());
                return self.fail(workload, connection);
            }
        };
        let end = match total {
            Some(total) if c.input.len() > total => {
                self.core.tally.malformed.add("bytes after the response");
                return self.fail(workload, connection);
            }
            Some(total) if c.input.len() == total => total,
            None if ended => c.input.len(),
            _ => return,
        };
        // Taken out so that the answer may borrow it while the tally is written.
        let input = std::mem::take(&mut c.input);
        let source = c.source;
        let family = if self.target(source).addr.ip().to_canonical().is_ipv4() { Family::V4 } else { Family::V6 };
        let good = match format::parse_body(&input[body..end], &flight.job, self.core.population, family) {
            Ok(answer) => {
                let times = [flight.intended, now];
                let good = self.core.tally.judge(&flight.job, self.core.spec.num_want, times, &answer);
                if good {
                    workload.answered(self.sources[source].index, flight.job, &answer);
                }
                good
            }
            Err(text) => {
                self.core.tally.malformed.add(&text);
                self.core.tally.fails(flight.intended);
                false
            }
        };
        let c = &mut self.connections[connection];
        c.input = input;
        c.proven = true;
        if !keep_alive || total.is_none() {
            c.stream = None;
        }
        if good {
            self.sources[source].failures = 0;
        } else {
            self.sources[source].failures += 1;
            workload.failed(self.sources[source].index, flight.job);
        }
        self.finish(connection);
    }

    /// A request is late: it is lost, or sent to the next target, which the source then stays with.
    fn late(&mut self, workload: &mut dyn Workload, connection: usize, flight: &Flight<Job>) {
        let targets = self.core.spec.targets.len();
        let c = &mut self.connections[connection];
        if !self.core.spec.failover || c.tries + 1 >= targets {
            self.core.tally.lose(flight.intended);
            return self.fail(workload, connection);
        }
        c.tries += 1;
        let source = &mut self.sources[c.source];
        if source.target == c.target {
            source.target = (source.target + 1) % targets;
        }
        c.stream = None;
        self.core.tally.failed_over += 1;
        self.send(connection, flight.job, flight.intended);
    }

    /// The request has failed, and its connection is closed.
    fn fail(&mut self, workload: &mut dyn Workload, connection: usize) {
        let c = &mut self.connections[connection];
        c.stream = None;
        let source = &mut self.sources[c.source];
        source.failures += 1;
        if let Some(flight) = c.flight {
            workload.failed(source.index, flight.job);
        }
        self.finish(connection);
    }

    /// The connection is free for the next request.
    fn finish(&mut self, connection: usize) {
        let c = &mut self.connections[connection];
        if c.flight.take().is_none() {
            return;
        }
        self.busy -= 1;
        let source = c.source;
        if let Some((job, intended)) = self.sources[source].waiting.pop_front() {
            self.waiting -= 1;
            self.start(connection, job, intended);
        } else {
            self.sources[source].idle.push(connection);
            self.core.ready.push(source);
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

    fn prepare(&mut self) -> anyhow::Result<()> {
        self.sources.iter_mut().for_each(|source| source.failures = 0);
        Ok(())
    }

    fn has_room(&mut self, source: usize, may_give_up: bool) -> bool {
        let source = &self.sources[source];
        !source.idle.is_empty() && (!may_give_up || source.failures < MAX_FAILURES)
    }

    fn submit(&mut self, workload: &mut dyn Workload, source: usize, job: Job, intended: Nanos) {
        self.core.tally.sends(intended);
        let s = &mut self.sources[source];
        if let Some(connection) = s.idle.pop() {
            self.start(connection, job, intended);
        } else if s.waiting.len() < MAX_WAITING {
            s.waiting.push_back((job, intended));
            self.waiting += 1;
        } else {
            self.core.tally.skip(intended);
            workload.failed(s.index, job);
        }
    }

    fn maintain(&mut self, workload: &mut dyn Workload, now: Nanos, _sending: bool) {
        if now < self.next_sweep {
            return;
        }
        self.next_sweep = now + SWEEP;
        let deadline = self.core.spec.deadline.as_nanos() as Nanos;
        for connection in 0..self.connections.len() {
            let flight = self.connections[connection].flight;
            if let Some(flight) = flight.filter(|flight| now >= flight.sent + deadline) {
                self.late(workload, connection, &flight);
            }
        }
    }

    fn handle(&mut self, workload: &mut dyn Workload, event: &Event) {
        let connection = event.token().0;
        if event.is_writable() {
            self.write(connection);
        }
        if event.is_readable() || event.is_error() {
            self.read(workload, connection);
        }
    }

    fn is_idle(&self) -> bool {
        self.busy == 0 && self.waiting == 0
    }

    fn next_expiry(&self) -> Option<Nanos> {
        (self.busy > 0).then_some(self.next_sweep)
    }
}
