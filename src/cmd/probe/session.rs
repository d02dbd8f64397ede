//! Requests to one target, each with its deadline, and answers in one form for both transports.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::time::timeout;

use super::args::{Limits, Spec};
use super::identity::Trace;
use super::reason::Reason;
use crate::client::{
    AnnounceParams, HttpClient, HttpReply, Resend, Scheme, Tls, TrackerUrl, UdpClient, announce_target, read_announce,
    read_scrape, scrape_target, url_data,
};
use crate::clock::Clock;
use crate::swarm::{Counts, Event, Family, InfoHash, PeerAddr};
use crate::wire::answered_by::{AnsweredBy, NODE_HEADER, PROBE_HEADER, REGION_HEADER, WHICH_NODE};
use crate::wire::udp::{self, ConnectionId, Options, Response, TransactionId};

/// BEP 15 lets a client use a connection id for a minute; this one renews it a little earlier.
const CONNECTION_LIFETIME: Duration = Duration::from_secs(50);

/// The answer to an announce.
#[derive(Clone, Debug)]
pub struct Reply {
    /// Seconds until the next announce.
    pub interval: u32,
    /// The shortest time until then, in seconds, if given.
    pub min_interval: Option<u32>,
    pub seeders: Option<u32>,
    pub leechers: Option<u32>,
    /// Peers of both families.
    pub peers: Vec<PeerAddr>,
    pub warning: Option<String>,
    /// Whether the tracker marks it as possibly out of date.
    pub stale: bool,
}

/// A target with a resolved address.
pub struct Session<'a> {
    clock: &'a dyn Clock,
    limits: Limits,
    url: &'a TrackerUrl,
    transport: Transport,
    pub family: Family,
    /// The nodes that have answered, as far as they identified themselves.
    pub nodes: Vec<AnsweredBy>,
    /// Peers that may have been announced and not stopped since.
    live: Vec<AnnounceParams>,
}

enum Transport {
    Udp {
        client: UdpClient,
        /// The path of the URL and the trace, in the form of BEP 41.
        options: Vec<u8>,
        /// The connection id, and the uptime when it came.
        connection: Option<(ConnectionId, Duration)>,
    },
    Http(HttpClient),
}

impl<'a> Session<'a> {
    /// A session with the target at `addr`. Nothing is sent yet.
    ///
    /// # Errors
    /// When the system has no socket for it, or its host can be in no certificate.
    pub async fn new(
        spec: &Spec,
        clock: &'a dyn Clock,
        url: &'a TrackerUrl,
        addr: SocketAddr,
        trace: Option<&Trace>,
        first: TransactionId,
    ) -> Result<Self, Reason> {
        let limits = spec.limits;
        let transport = if url.scheme == Scheme::Udp {
            let client = UdpClient::new(addr, first, Resend { after: limits.slow / 2, times: 1 }).await?;
            Transport::Udp { client, options: udp_options(url, trace), connection: None }
        } else {
            let tls = match &spec.tls {
                Some(config) if url.scheme == Scheme::Https => {
                    let name =
                        ServerName::try_from(url.host.clone()).map_err(|error| Reason::Tls(error.to_string()))?;
                    Some(Tls { config: config.clone(), name })
                }
                _ => None,
            };
            let mut client = HttpClient::new(addr, &url.authority(), tls);
            client.add_header(PROBE_HEADER, "1");
            if let Some(trace) = trace {
                client.add_header("traceparent", &trace.parent);
            }
            Transport::Http(client)
        };
        let family = if addr.ip().to_canonical().is_ipv4() { Family::V4 } else { Family::V6 };
        Ok(Self { clock, limits, url, transport, family, nodes: Vec::new(), live: Vec::new() })
    }

    /// From now on a late answer is not waited for.
    pub fn lose_patience(&mut self) {
        self.limits.timeout = self.limits.slow;
    }

    /// The local address.
    pub fn local_ip(&self) -> IpAddr {
        let known = match &self.transport {
            Transport::Udp { client, .. } => client.local_ip().ok(),
            Transport::Http(client) => client.local_ip(),
        };
        known.map_or(Ipv4Addr::UNSPECIFIED.into(), |ip| ip.to_canonical())
    }

    /// UDP: fetches a connection id. HTTP: opens the connection and does the TLS handshake.
    ///
    /// # Errors
    /// See [`Reason`].
    pub async fn connect(&mut self) -> Result<(), Reason> {
        let (clock, limits) = (self.clock, self.limits);
        in_time(clock, limits, async {
            match &mut self.transport {
                Transport::Udp { client, connection, .. } => {
                    *connection = Some((connect(client).await?, clock.now().uptime));
                    Ok(())
                }
                Transport::Http(client) => Ok(client.connect().await?),
            }
        })
        .await
    }

    /// Announces, and remembers the peer for [`Session::stop_all`].
    ///
    /// # Errors
    /// See [`Reason`].
    pub async fn announce(&mut self, params: &AnnounceParams) -> Result<Reply, Reason> {
        let is_it = |other: &AnnounceParams| (other.info_hash, other.port) == (params.info_hash, params.port);
        if params.event != Event::Stopped && !self.live.iter().any(is_it) {
            self.live.push(*params);
        }
        let (clock, limits, family) = (self.clock, self.limits, self.family);
        let (url, nodes) = (self.url, &mut self.nodes);
        in_time(clock, limits, async {
            match &mut self.transport {
                Transport::Udp { client, options, connection } => {
                    let id = connection_id(client, connection, clock).await?;
                    let encode = |out: &mut Vec<u8>, transaction_id| {
                        params.encode_udp(out, id, transaction_id, Options::new(options));
                    };
                    read_udp_announce(client.exchange(encode).await?)
                }
                Transport::Http(client) => {
                    let mut target = Vec::new();
                    announce_target(&mut target, &url.path, params);
                    let reply = client.get(&target).await?;
                    note_node(nodes, &reply);
                    read_http_announce(&reply, family)
                }
            }
        })
        .await
    }

    /// Scrapes one swarm.
    ///
    /// # Errors
    /// See [`Reason`].
    pub async fn scrape(&mut self, info_hash: InfoHash) -> Result<Counts, Reason> {
        let (clock, limits) = (self.clock, self.limits);
        let (url, nodes) = (self.url, &mut self.nodes);
        in_time(clock, limits, async {
            match &mut self.transport {
                Transport::Udp { client, connection, .. } => {
                    let id = connection_id(client, connection, clock).await?;
                    let encode = |out: &mut Vec<u8>, transaction_id| {
                        udp::encode_scrape(out, id, transaction_id, &[info_hash.0]);
                    };
                    match client.exchange(encode).await? {
                        Response::Scrape { entries, .. } if entries.len() == 1 => {
                            entries.iter().next().ok_or(Reason::Kind("a scrape"))
                        }
                        Response::Scrape { entries, .. } => {
                            Err(Reason::Malformed(format!("a scrape of one swarm is answered with {}", entries.len())))
                        }
                        Response::Error { message, .. } => Err(refused(message)),
                        _ => Err(Reason::Kind("a scrape")),
                    }
                }
                Transport::Http(client) => {
                    let mut target = Vec::new();
                    scrape_target(&mut target, &url.path, [info_hash]);
                    let reply = client.get(&target).await?;
                    note_node(nodes, &reply);
                    match read_scrape(reply.body())?[..] {
                        [(hash, counts)] if hash == info_hash.0 => Ok(counts),
                        [] => Err(Reason::Counts("the scrape does not know the swarm".into())),
                        _ => Err(Reason::Malformed("the scrape returned other swarms than requested".into())),
                    }
                }
            }
        })
        .await
    }

    /// Finds out which node answers. Over UDP this takes a separate request, which other trackers answer differently.
    pub async fn identify_node(&mut self) {
        let (clock, slow) = (self.clock, self.limits.slow);
        let Transport::Udp { client, connection, .. } = &mut self.transport else { return };
        let request = async {
            let id = connection_id(client, connection, clock).await?;
            let encode =
                |out: &mut Vec<u8>, transaction_id| udp::encode_scrape(out, id, transaction_id, &[WHICH_NODE.0]);
            match client.exchange(encode).await? {
                Response::Error { message, .. } => Ok(AnsweredBy::parse(message)),
                _ => Ok::<_, Reason>(None),
            }
        };
        if let Ok(Ok(Some(node))) = timeout(slow, request).await {
            self.nodes.push(node);
        }
    }

    /// Whether any peer is left to be stopped.
    pub fn is_live(&self) -> bool {
        !self.live.is_empty()
    }

    /// Stops all announced peers. Every one is tried, and the first failure is returned.
    ///
    /// # Errors
    /// See [`Reason`].
    pub async fn stop_all(
        &mut self,
        mut judge: impl FnMut(&AnnounceParams, &Reply) -> Result<(), Reason>,
    ) -> Result<(), Reason> {
        let mut all = Ok(());
        for params in std::mem::take(&mut self.live) {
            let stopped = AnnounceParams { event: Event::Stopped, num_want: 0, ..params };
            let done = self.announce(&stopped).await.and_then(|reply| judge(&stopped, &reply));
            if matches!(done, Err(Reason::NoAnswer(_))) {
                self.lose_patience();
            }
            all = all.and(done);
        }
        all
    }
}

/// Applies the limits to a request.
async fn in_time<T>(
    clock: &dyn Clock,
    limits: Limits,
    work: impl Future<Output = Result<T, Reason>>,
) -> Result<T, Reason> {
    let began = clock.now().uptime;
    let answer = timeout(limits.timeout, work).await.map_err(|_| Reason::NoAnswer(limits.timeout))??;
    let took = clock.now().uptime.saturating_sub(began);
    if took > limits.slow { Err(Reason::Late { took, slow: limits.slow }) } else { Ok(answer) }
}

async fn connect(client: &mut UdpClient) -> Result<ConnectionId, Reason> {
    match client.exchange(udp::encode_connect).await? {
        Response::Connect { connection_id, .. } => Ok(connection_id),
        Response::Error { message, .. } => Err(refused(message)),
        _ => Err(Reason::Kind("a connect")),
    }
}

/// The connection id, renewed when it is too old.
async fn connection_id(
    client: &mut UdpClient,
    connection: &mut Option<(ConnectionId, Duration)>,
    clock: &dyn Clock,
) -> Result<ConnectionId, Reason> {
    let now = clock.now().uptime;
    if let Some((id, since)) = connection
        && now.saturating_sub(*since) < CONNECTION_LIFETIME
    {
        return Ok(*id);
    }
    let id = connect(client).await?;
    *connection = Some((id, now));
    Ok(id)
}

fn refused(message: &[u8]) -> Reason {
    Reason::Refused(String::from_utf8_lossy(message).into_owned())
}

fn read_udp_announce(response: Response<'_>) -> Result<Reply, Reason> {
    match response {
        Response::Announce { interval, leechers, seeders, peers, .. } => Ok(Reply {
            interval,
            min_interval: None,
            seeders: Some(seeders),
            leechers: Some(leechers),
            peers: peers.iter().collect(),
            warning: None,
            stale: false,
        }),
        Response::Error { message, .. } => Err(refused(message)),
        _ => Err(Reason::Kind("an announce")),
    }
}

fn read_http_announce(reply: &HttpReply, family: Family) -> Result<Reply, Reason> {
    let announced = read_announce(reply.body())?;
    // Over IPv6 it is enough to return IPv6 peers (BEP 7).
    if announced.peers.is_none() && (family == Family::V4 || announced.peers6.is_none()) {
        return Err(Reason::Malformed("peers is missing".into()));
    }
    Ok(Reply {
        interval: announced.interval,
        min_interval: announced.min_interval,
        seeders: announced.seeders,
        leechers: announced.leechers,
        peers: [announced.peers, announced.peers6].iter().flatten().flat_map(udp::Peers::iter).collect(),
        warning: announced.warning.map(|text| text.into_owned()),
        stale: announced.stale || reply.header("x-tracker-stale") == Some("true"),
    })
}

fn note_node(nodes: &mut Vec<AnsweredBy>, reply: &HttpReply) {
    if let (Some(node), Some(region)) = (reply.header(NODE_HEADER), reply.header(REGION_HEADER))
        && let Some(node) = AnsweredBy::new(node, region)
        && !nodes.contains(&node)
    {
        nodes.push(node);
    }
}

/// Most clients send no path over UDP, so it is sent only if the URL has an unusual one, or for a trace.
fn udp_options(url: &TrackerUrl, trace: Option<&Trace>) -> Vec<u8> {
    match trace {
        None if url.path == "/announce" => Vec::new(),
        None => url_data(&url.path),
        Some(trace) => {
            let separator = if url.path.contains('?') { '&' } else { '?' };
            url_data(&format!("{}{separator}traceparent={}", url.path, trace.parent))
        }
    }
}
