//! What UDP frontends share, and how it makes requests of announces.

use std::net::IpAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;

use super::connection_id::ConnectionIds;
use super::metrics::UdpMetrics;
use crate::clock::{Clock, Now};
use crate::frontend::access_list::AccessList;
use crate::frontend::external::External;
use crate::partition::{AnnounceRequest, ReplyTo, UdpClient, summary};
use crate::router::Router;
use crate::swarm::{Announce, PeerAddr, Source};
use crate::telemetry::trace::{Parent, RequestTrace, Traces, Transport, names::span};
use crate::wire::answered_by::AnsweredBy;
use crate::wire::udp;

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

impl UdpContext {
    /// The trace of an announce that is sampled, or that a probe has sent.
    #[cold]
    pub(super) fn trace(
        &self,
        chosen: bool,
        request: &udp::Announce<'_>,
        client: IpAddr,
        now: Now,
    ) -> Option<Box<RequestTrace>> {
        let parent = self.traces.trusts(client).then(|| Parent::in_url(request.options.url_data())).flatten();
        self.traces.start_announce(chosen, parent, now.uptime, Transport::Udp, client)
    }

    /// The request for the owner of an announce's swarm.
    #[inline]
    pub(super) fn request(
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
