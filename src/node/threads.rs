//! Thread per core: each runs a current-thread runtime with its own sockets, frontends and owners.

use std::io;
use std::net::{TcpListener, UdpSocket};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use socket2::SockRef;
use tokio::runtime::{Builder, Handle};
use tokio::sync::watch;

use super::frontends::Frontends;
use super::sockets::Sockets;
use crate::frontend::http;
use crate::frontend::udp::UdpFrontend;
use crate::net::outbox::Outbox;
use crate::partition::{Message, OwnerThread};
use crate::telemetry::event_loop::EventLoop;

/// The serving threads of a node.
pub struct Threads {
    threads: Vec<Thread>,
    /// Makes the frontends accept nothing more and finish what they have.
    stop: watch::Sender<bool>,
    /// Ends the threads.
    end: watch::Sender<bool>,
}

struct Thread {
    handle: JoinHandle<()>,
    runtime: Handle,
    event_loop: Arc<EventLoop>,
    outbox: Arc<Outbox>,
    udp: Arc<[UdpSocket]>,
    http: Vec<TcpListener>,
    /// HTTP frontends, which have to finish before the thread ends.
    frontends: Vec<tokio::task::JoinHandle<()>>,
    udp_frontends: Vec<tokio::task::JoinHandle<()>>,
}

impl Threads {
    /// Starts one thread for each set of sockets. They serve nothing yet.
    ///
    /// # Errors
    /// When the system refuses a thread or what its runtime needs.
    pub fn start(sockets: Sockets) -> io::Result<Self> {
        let (end, ended) = watch::channel(false);
        let mut threads = Vec::new();
        for (number, sockets) in sockets.of_threads.into_iter().enumerate() {
            let runtime = Builder::new_current_thread().enable_all().build()?;
            let handle = runtime.handle().clone();
            let mut ended = ended.clone();
            let name = format!("serve-{number}");
            let event_loop = Arc::new(EventLoop::new(name.clone()));
            let thread = std::thread::Builder::new().name(name).spawn(move || {
                // Returns on the signal to end, or when the node is dropped.
                let _ = runtime.block_on(ended.wait_for(|end| *end));
            })?;
            let udp: Arc<[UdpSocket]> = sockets.udp.into();
            let outbox = Arc::new(Outbox::new(udp.clone()));
            threads.push(Thread {
                handle: thread,
                runtime: handle,
                event_loop,
                outbox,
                udp,
                http: sockets.http,
                frontends: Vec::new(),
                udp_frontends: Vec::new(),
            });
        }
        Ok(Self { threads, stop: watch::Sender::new(false), end })
    }

    pub fn len(&self) -> usize {
        self.threads.len()
    }

    /// The threads, as owners live on them.
    pub fn owner_threads(&self) -> impl Iterator<Item = OwnerThread> {
        self.threads.iter().map(|thread| OwnerThread { runtime: thread.runtime.clone(), outbox: thread.outbox.clone() })
    }

    /// The outboxes of all threads.
    pub fn outboxes(&self) -> impl Iterator<Item = &Arc<Outbox>> {
        self.threads.iter().map(|thread| &thread.outbox)
    }

    /// The event loops of all threads.
    pub fn event_loops(&self) -> impl Iterator<Item = &Arc<EventLoop>> {
        self.threads.iter().map(|thread| &thread.event_loop)
    }

    /// The capacity of the receive queues of all UDP sockets, in bytes of memory.
    pub fn udp_receive_bytes(&self) -> usize {
        let sockets = self.threads.iter().flat_map(|thread| thread.udp.iter());
        sockets.map(|socket| SockRef::from(socket).recv_buffer_size().unwrap_or_default()).sum()
    }

    /// Starts the frontends, and the ticks of the owners, which have to be there.
    ///
    /// # Errors
    /// When the address of a socket cannot be read.
    pub fn serve(&mut self, frontends: &Frontends, tick: Duration) -> io::Result<()> {
        let Frontends { udp, http } = frontends;
        let count = self.threads.len();
        for (number, thread) in self.threads.iter_mut().enumerate() {
            for listener in thread.http.drain(..) {
                let (context, stopped) = (http.clone(), self.stop.subscribe());
                thread.frontends.push(thread.runtime.spawn(async move {
                    if let Err(error) = http::serve(listener, context, stopped).await {
                        tracing::error!(%error, "an HTTP listener can no longer be polled");
                    }
                }));
            }
            for at in 0..thread.udp.len() {
                let frontend = UdpFrontend::new(udp.clone(), thread.udp.clone(), at, thread.outbox.clone())?;
                thread.udp_frontends.push(thread.runtime.spawn(frontend.run()));
            }
            let outbox = thread.outbox.clone();
            thread.runtime.spawn(async move {
                loop {
                    outbox.written().await;
                    outbox.flush();
                }
            });
            let (owners, event_loop) = (udp.router.owners().clone(), thread.event_loop.clone());
            thread.runtime.spawn(async move {
                let mut ticks = EventLoop::ticks(tick);
                loop {
                    event_loop.tick(&mut ticks).await;
                    for owner in owners.load().iter().skip(number).step_by(count) {
                        // An owner that is at its limit has no time to sweep.
                        let _ = owner.send(Message::Tick);
                    }
                }
            });
        }
        Ok(())
    }

    /// Accepts no more datagrams and connections, and lets open connections finish.
    pub async fn stop_frontends(&mut self) {
        self.stop.send_replace(true);
        // What was received has been sent to the owners, whose replies do not need the frontend.
        for thread in &mut self.threads {
            for frontend in thread.udp_frontends.drain(..) {
                frontend.abort();
                let _ = frontend.await;
            }
            // The replies that the frontend would have sent after its last round.
            thread.outbox.flush();
        }
        for thread in &mut self.threads {
            for frontend in thread.frontends.drain(..) {
                // One that panicked has been reported by the panic hook.
                let _ = frontend.await;
            }
        }
    }

    /// Ends the threads, and all that runs on them.
    pub fn end(self) {
        self.end.send_replace(true);
        for thread in self.threads {
            let _ = thread.handle.join();
        }
    }
}
