//! The part of a node that clients talk to: what its UDP and HTTP frontends share.

use std::sync::Arc;

use arc_swap::ArcSwap;
use hyper::header::InvalidHeaderName;

use super::core::Core;
use super::secret::Secret;
use crate::config::Settings;
use crate::frontend::access_list::AccessList;
use crate::frontend::external::External;
use crate::frontend::http::{FullScrape, HttpContext, HttpMetrics, HttpOptions, Tls};
use crate::frontend::udp::{ConnectionIds, UdpContext};
use crate::wire::answered_by::AnsweredBy;

pub struct Frontends {
    pub udp: Arc<UdpContext>,
    pub http: Arc<HttpContext>,
}

impl Frontends {
    /// # Errors
    /// When `announce.proxy_header` is not the name of a header.
    pub fn new(
        settings: &Settings,
        core: &Core,
        secret: &Secret,
        access_list: AccessList,
        tls: Option<Arc<Tls>>,
    ) -> Result<Self, InvalidHeaderName> {
        let options = HttpOptions::new(settings)?;
        let access_list = Arc::new(ArcSwap::from_pointee(access_list));
        let udp = udp_context(settings, core, secret, access_list.clone());
        let http = http_context(options, core, access_list, tls, settings.announce.full_scrape);
        Ok(Self { udp: Arc::new(udp), http: Arc::new(http) })
    }
}

fn udp_context(settings: &Settings, core: &Core, secret: &Secret, access_list: Arc<ArcSwap<AccessList>>) -> UdpContext {
    let announce = &settings.announce;
    UdpContext {
        router: core.router.clone(),
        connection_ids: ArcSwap::from_pointee(ConnectionIds::new(&secret.connection_ids)),
        access_list,
        external: External { ipv4: announce.external_ipv4, ipv6: announce.external_ipv6 },
        default_peers: announce.default_peers,
        max_peers: announce.max_peers,
        reply_bytes: settings.limits.udp_reply_bytes,
        answered_by: AnsweredBy { node: settings.node.id.clone(), region: settings.node.region.clone() },
        clock: core.common.clock.clone(),
        traces: core.common.traces.clone(),
        metrics: Default::default(),
    }
}

/// With `full_scrape`, a scrape without an info hash lists every swarm.
pub fn http_context(
    options: HttpOptions,
    core: &Core,
    access_list: Arc<ArcSwap<AccessList>>,
    tls: Option<Arc<Tls>>,
    full_scrape: bool,
) -> HttpContext {
    let router = core.router.clone();
    let scrape_all = move || Box::new(move |family| router.scrape_all(family)) as Box<FullScrape>;
    HttpContext {
        options,
        router: core.router.clone(),
        access_list,
        tls,
        full_scrape: full_scrape.then(scrape_all),
        random: rand::random,
        traces: core.common.traces.clone(),
        answers: core.common.answers.clone(),
        metrics: Arc::new(HttpMetrics::default()),
    }
}
