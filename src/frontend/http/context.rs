//! What all listeners of the frontend share, and the settings among it.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use hyper::header::{HeaderName, HeaderValue, InvalidHeaderName};
use tokio::sync::mpsc;

use super::client_addr::ProxyRules;
use super::metrics::HttpMetrics;
use super::tls::Tls;
use crate::config::Settings;
use crate::frontend::access_list::AccessList;
use crate::frontend::external::External;
use crate::partition::Answers;
use crate::router::{self, Router};
use crate::swarm::Family;
use crate::telemetry::trace::Traces;

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
