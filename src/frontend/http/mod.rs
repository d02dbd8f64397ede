//! The HTTP frontend: BEP 3, 7, 21, 23, 24, 31 and 48 over HTTP/1.0, 1.1 and 2, plain and TLS.

mod body;
mod client_addr;
mod connection;
mod metrics;
mod request_line;
mod service;
mod tls;

use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use arc_swap::ArcSwap;
use hyper::header::{HeaderName, HeaderValue, InvalidHeaderName};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

pub use client_addr::{ProxyHeaderError, ProxyRules};
pub use metrics::{Action, HttpMetrics, Outcome};
pub use tls::{LoadedCertificate, Tls, TlsError};

use super::access_list::AccessList;
use super::external::External;
use crate::config::Settings;
use crate::partition::Answers;
use crate::router::{self, Router};
use crate::swarm::Family;
use crate::telemetry::trace::Traces;
use connection::Protocols;

/// How long open connections may take to finish their requests once the listener stops.
const DRAIN: Duration = Duration::from_secs(5);
/// How long to leave the listener alone when it cannot accept, most often for lack of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Starts a full scrape: every swarm of a family, in bounded batches and in the order of their info hashes.
pub type FullScrape = dyn Fn(Family) -> mpsc::Receiver<router::Batch> + Send + Sync;

/// The settings of the frontend.
#[derive(Clone, Debug)]
pub struct HttpOptions {
    /// Seconds until a client should announce again, before jitter.
    pub interval: u32,
    /// Seconds that a client has to leave between announces.
    pub min_interval: u32,
    /// The most peers in a reply.
    pub max_peers: u16,
    /// The peers in a reply to a client that asks for no number.
    pub default_peers: u16,
    /// The most info hashes in a scrape.
    pub scrape_hashes: usize,
    /// The most connections open at a time, over all listeners that share an [`HttpMetrics`].
    pub connections: usize,
    /// How long a connection may go without a complete request.
    pub idle: Duration,
    /// The largest head of a request, in bytes.
    pub request_bytes: usize,
    /// Which proxies may name the client.
    pub proxies: ProxyRules,
    /// Addresses for peers that announce from near this host.
    pub external: External,
    /// The node and its region, for clients that ask which one answers.
    pub answered_by: [HeaderValue; 2],
}

impl HttpOptions {
    /// The options of these settings.
    ///
    /// # Errors
    /// When `announce.proxy_header` cannot be the name of a header.
    pub fn new(settings: &Settings) -> Result<Self, InvalidHeaderName> {
        let Settings { announce, limits, node, .. } = settings;
        // Names are made of letters, digits and marks, all of which a header may hold.
        let name = |name: &str| HeaderValue::from_str(name).unwrap_or_else(|_| HeaderValue::from_static("-"));
        Ok(Self {
            interval: announce.interval,
            min_interval: announce.min_interval,
            max_peers: announce.max_peers,
            default_peers: announce.default_peers,
            scrape_hashes: limits.scrape_hashes,
            connections: limits.http_connections,
            idle: Duration::from_secs(limits.http_idle.into()),
            request_bytes: limits.http_request_bytes,
            proxies: ProxyRules {
                trusted: announce.trusted_proxies.clone(),
                header: HeaderName::from_bytes(announce.proxy_header.as_bytes())?,
            },
            external: External { ipv4: announce.external_ipv4, ipv6: announce.external_ipv6 },
            answered_by: [name(&node.id), name(&node.region)],
        })
    }
}

/// What all listeners of the frontend share.
pub struct HttpContext {
    /// Settings that hold until a restart.
    pub options: HttpOptions,
    /// Answers announces and scrapes.
    pub router: Router,
    /// Which info hashes are served; swapped on reload.
    pub access_list: Arc<ArcSwap<AccessList>>,
    /// With it, every listener takes TLS as well as plain connections.
    pub tls: Option<Arc<Tls>>,
    /// With it, a scrape without an info hash is answered with every swarm.
    pub full_scrape: Option<Box<FullScrape>>,
    /// The randomness for jitter: uniform over all of `u32`.
    pub random: fn() -> u32,
    /// Traces of announces.
    pub traces: Traces,
    /// Counts how announces are answered.
    pub answers: Arc<Answers>,
    /// Counts of what happened.
    pub metrics: Arc<HttpMetrics>,
}

/// Serves the connections of `listener` on the current runtime, until `shutdown` turns true (or its sender is gone); then
/// takes no more connections and lets those that are open finish their requests.
///
/// # Errors
/// When the listener cannot be polled.
pub async fn serve(
    listener: TcpListener,
    context: Arc<HttpContext>,
    mut shutdown: watch::Receiver<bool>,
) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let protocols = Arc::new(Protocols::new(context.clone()));
    let stop = shutdown.clone();
    let mut connections = JoinSet::new();
    loop {
        let (stream, peer) = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => continue,
                Err(_) => {
                    context.metrics.accept_errors.fetch_add(1, Relaxed);
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            },
            Some(ended) = connections.join_next() => {
                report_panic(&context.metrics, ended);
                continue;
            }
            () = stopped(&mut shutdown) => break,
        };
        let Some(slot) = Slot::take(&context) else {
            context.metrics.connections_refused.fetch_add(1, Relaxed);
            continue;
        };
        // Replies are small and sent whole: waiting for more to send would only delay them.
        let _ = stream.set_nodelay(true);
        let (protocols, stop) = (protocols.clone(), stop.clone());
        connections.spawn(async move {
            let _slot = slot;
            protocols.run(stream, peer.ip(), stop).await;
        });
    }
    drop(listener);
    let drained = async {
        while let Some(ended) = connections.join_next().await {
            report_panic(&context.metrics, ended);
        }
    };
    let _ = tokio::time::timeout(DRAIN, drained).await;
    Ok(())
}

async fn stopped(shutdown: &mut watch::Receiver<bool>) {
    // An error means that the sender is gone, which means to stop as well.
    let _ = shutdown.wait_for(|stop| *stop).await;
}

fn report_panic(metrics: &HttpMetrics, ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        metrics.connection_panics.fetch_add(1, Relaxed);
        tracing::error!("an HTTP connection ended with a panic, please report it: {error}");
    }
}

/// One of the connections that may be open.
struct Slot(Arc<HttpMetrics>);

impl Slot {
    fn take(context: &HttpContext) -> Option<Self> {
        let metrics = &context.metrics;
        if metrics.connections_open.fetch_add(1, Relaxed) >= context.options.connections as u64 {
            metrics.connections_open.fetch_sub(1, Relaxed);
            return None;
        }
        metrics.connections_accepted.fetch_add(1, Relaxed);
        Some(Self(metrics.clone()))
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.connections_open.fetch_sub(1, Relaxed);
    }
}
