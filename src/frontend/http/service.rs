//! Answers HTTP requests: announces, scrapes, and everything else.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::task::{Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Incoming};
use hyper::header::{ALLOW, CONNECTION, CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::{Method, Request, Response, StatusCode, Version};

use super::activity::Activity;
use super::body::ReplyBody;
use super::client_addr::ProxyHeaderError;
use super::context::HttpContext;
use super::metrics::{Action, Outcome};
use crate::partition::{jittered, summary};
use crate::router::{self, STALE_INTERVALS};
use crate::swarm::{Announce, Event, Family, Partition, PeerAddr};
use crate::telemetry::trace::{
    BatchTimes, ErrorType, Parent, RequestTrace, TRACEPARENT, Transport, Unsampled, names::span,
};
use crate::wire::answered_by::{NODE_HEADER, PROBE_HEADER, REGION_HEADER};
use crate::wire::bencode::{self, RetryIn};
use crate::wire::query::{AnnounceQuery, QueryError, ScrapeQuery};

/// What `/` says to a person who looks.
const WELCOME: &str = "This is a BitTorrent tracker. Put the URL of its /announce into a torrent.\n";
/// When a client may ask again if no owner could answer (BEP 31).
const RETRY_IN: RetryIn = RetryIn::Minutes(5);

/// What all requests of a connection share.
pub(super) struct Session {
    context: Arc<HttpContext>,
    peer: IpAddr,
    behind_proxy: bool,
    pub(super) activity: Arc<Activity>,
}

/// Why a request has no better answer than a failure.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Query(#[from] QueryError),
    #[error(transparent)]
    Proxy(#[from] ProxyHeaderError),
    #[error(transparent)]
    Unavailable(#[from] router::Unavailable),
    #[error("this tracker does not serve this torrent")]
    Denied,
    #[error("this tracker does not list all of its torrents: scrape single ones")]
    NoFullScrape,
    #[error("this is not the tracker's announce URL: its path is /announce")]
    WrongPath,
}

impl Failure {
    fn outcome(&self) -> Outcome {
        match self {
            Self::Query(_) | Self::WrongPath => Outcome::Invalid,
            Self::Proxy(_) => Outcome::BadProxy,
            Self::Unavailable(_) => Outcome::Unavailable,
            Self::Denied | Self::NoFullScrape => Outcome::Denied,
        }
    }
}

impl Session {
    pub(super) fn new(context: Arc<HttpContext>, peer: IpAddr, activity: Arc<Activity>) -> Self {
        let peer = peer.to_canonical();
        let behind_proxy = context.options.proxies.is_proxy(peer);
        Self { context, peer, behind_proxy, activity }
    }

    fn count(&self, action: Action, outcome: Outcome) {
        let family = if self.peer.is_ipv4() { Family::V4 } else { Family::V6 };
        self.context.metrics.count(family, action, outcome);
    }

    /// Answers one request.
    pub(super) async fn handle(self: Arc<Self>, request: Request<Incoming>) -> Result<Response<ReplyBody>, Infallible> {
        self.activity.touch();
        let uri = request.uri();
        let (path, query) = (uri.path(), uri.query().unwrap_or_default());
        let action = match path.strip_suffix('/').unwrap_or(path) {
            "/announce" => Action::Announce,
            "/scrape" => Action::Scrape,
            _ => Action::Other,
        };
        let mut response = match (request.method(), action) {
            // A HEAD changes nothing, so there is no announce to apply.
            (&Method::HEAD, Action::Announce | Action::Scrape) => {
                self.count(Action::Other, Outcome::Ok);
                text(Bytes::new())
            }
            (&Method::GET, Action::Announce) => {
                let announced = self.announce(query, request.headers()).await;
                let stale = matches!(announced, Ok((_, true)));
                let mut response = self.reply(action, announced.map(|(body, _)| ReplyBody::Whole(body)));
                if stale {
                    response.headers_mut().insert("x-tracker-stale", HeaderValue::from_static("true"));
                }
                response
            }
            (&Method::GET, Action::Scrape) => self.reply(action, self.scrape(query, request.headers()).await),
            (&Method::GET | &Method::HEAD, Action::Other) => self.other(path, query),
            _ => {
                self.count(action, Outcome::Invalid);
                let mut response = status(StatusCode::METHOD_NOT_ALLOWED, "use GET\n");
                response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
                response
            }
        };
        if request.headers().get(PROBE_HEADER).is_some_and(|asked| asked == "1") {
            let [node, region] = self.context.options.answered_by.clone();
            response.headers_mut().insert(NODE_HEADER, node);
            response.headers_mut().insert(REGION_HEADER, region);
        }
        // See `request_line`: what follows a body cannot be trusted to be a request.
        if !request.body().is_end_stream() && request.version() < Version::HTTP_2 {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        Ok(response)
    }

    /// A good reply as it is; a failure as a bencoded reason with status 200, because many clients show their user
    /// nothing but "tracker error" for any other status (trap 28).
    fn reply(&self, action: Action, result: Result<ReplyBody, Failure>) -> Response<ReplyBody> {
        let failure = match result {
            Ok(body) => {
                self.count(action, Outcome::Ok);
                return with_type(Response::new(body));
            }
            Err(failure) => failure,
        };
        self.count(action, failure.outcome());
        let retry = matches!(failure, Failure::Unavailable(_)).then_some(RETRY_IN);
        let mut out = Vec::with_capacity(128);
        bencode::write_failure(&mut out, &failure.to_string(), retry);
        text(out.into())
    }

    fn other(&self, path: &str, query: &str) -> Response<ReplyBody> {
        let last = path.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
        // People announce to the page that they found the tracker on (trap 32), or to a path of another tracker.
        if matches!(last, "announce" | "announce.php" | "scrape" | "scrape.php") || query.contains("info_hash=") {
            return self.reply(Action::Other, Err(Failure::WrongPath));
        }
        if path == "/" {
            self.count(Action::Other, Outcome::Ok);
            return text(Bytes::from_static(WELCOME.as_bytes()));
        }
        self.count(Action::Other, Outcome::Invalid);
        status(StatusCode::NOT_FOUND, "nothing is here; the tracker is at /announce\n")
    }

    /// The body of the reply, and whether it may be out of date.
    async fn announce(&self, query: &str, headers: &HeaderMap) -> Result<(Bytes, bool), Failure> {
        let (options, traces) = (&self.context.options, &self.context.traces);
        let received = self.context.answers.now();
        let query = AnnounceQuery::parse(query.as_bytes())?;
        let seen = self.client(headers)?;
        let mut trace = self.trace(headers, seen, received);
        let client = options.external.of(seen);
        if !self.context.access_list.load().permits(&query.info_hash) {
            if let Some(trace) = &mut trace {
                trace.fail(ErrorType::Forbidden);
            }
            return Err(Failure::Denied);
        }
        let announce = Announce {
            info_hash: query.info_hash,
            peer: PeerAddr::new(client, query.port),
            event: query.event,
            seeder: query.seeder,
            num_want: match query.event {
                Event::Stopped => 0,
                _ => match query.num_want {
                    Some(number) => number.try_into().unwrap_or(u16::MAX).min(options.max_peers),
                    None => options.default_peers,
                },
            },
        };
        let owners = self.context.router.owners();
        let partition = owners.partition(owners.hash(&announce.info_hash));
        let sampled = trace.is_some();
        if let Some(trace) = &mut trace {
            trace.steps().step(span::ADMIT);
            trace.describe(&summary(&announce, partition));
        }

        let times = BatchTimes { received, handed: traces.now(), began: Duration::ZERO };
        let answer = self.context.router.announce_by_http(announce, trace, times).await;
        if !sampled && traces.is_on() {
            self.trace_unsampled(times, &announce, partition, seen, answer.is_err());
        }
        let (reply, trace) = answer?;

        let mut out = Vec::new();
        let (source, stale) = (reply.source, reply.stale);
        let interval = if stale { options.interval.saturating_mul(STALE_INTERVALS) } else { options.interval };
        let reply = bencode::AnnounceReply {
            counts: reply.counts,
            interval: jittered(interval, (self.context.random)()),
            min_interval: options.min_interval,
            external_ip: Some(client),
            peers: &reply.peers,
            compact: query.compact,
            warning: None,
            stale,
        };
        bencode::write_announce(&mut out, &reply);
        self.context.answers.http(announce.peer.family(), source, received);
        if let Some(trace) = trace {
            trace.finish_with(span::REPLY);
        }
        Ok((out.into(), stale))
    }

    /// The trace of an announce that is chosen, or that a probe has sent.
    fn trace(&self, headers: &HeaderMap, client: IpAddr, received: Duration) -> Option<Box<RequestTrace>> {
        let traces = &self.context.traces;
        let parent =
            traces.trusts(client).then(|| headers.get(TRACEPARENT)?.to_str().ok().and_then(Parent::parse)).flatten();
        traces.start_announce(traces.sample(), parent, received, Transport::Http, client)
    }

    /// Traces an announce that was not sampled if it was slow or has failed, as far as the rate limit allows.
    fn trace_unsampled(
        &self,
        times: BatchTimes,
        announce: &Announce,
        partition: Partition,
        client: IpAddr,
        failed: bool,
    ) {
        let traces = &self.context.traces;
        let now = traces.now();
        let why = if failed { Unsampled::Failed(ErrorType::Unavailable) } else { Unsampled::Slow };
        if (failed || traces.is_slow(times.received, now)) && traces.allows_unsampled(now) {
            let summary = summary(announce, partition);
            traces.record_unsampled(times, why, Transport::Http, Some(client), Some(&summary), None);
        }
    }

    async fn scrape(&self, query: &str, headers: &HeaderMap) -> Result<ReplyBody, Failure> {
        let mut hashes = ScrapeQuery::parse(query.as_bytes(), self.context.options.scrape_hashes)?.info_hashes;
        let client = self.client(headers)?;
        let family = if client.is_ipv4() { Family::V4 } else { Family::V6 };
        if hashes.is_empty() {
            return self.full_scrape(family);
        }
        let access_list = self.context.access_list.load_full();
        hashes.retain(|hash| access_list.permits(hash));
        let counts = self.context.router.scrape(family, &hashes).await?;
        let mut swarms = hashes.into_iter().zip(counts).collect();
        let mut out = Vec::new();
        bencode::write_scrape(&mut out, &mut swarms);
        Ok(ReplyBody::Whole(out.into()))
    }

    fn full_scrape(&self, family: Family) -> Result<ReplyBody, Failure> {
        let start = self.context.full_scrape.as_ref().ok_or(Failure::NoFullScrape)?;
        let mut batches = start(family);
        let (activity, access_list) = (self.activity.clone(), self.context.access_list.load_full());
        let mut head = Vec::new();
        bencode::write_scrape_begin(&mut head);
        let mut state = Some(head);
        Ok(ReplyBody::Streamed(Box::new(move |cx| {
            // A client that still takes what it asked for is not idle.
            activity.touch();
            let Some(buffer) = &mut state else { return Poll::Ready(None) };
            let batch = ready!(batches.poll_recv(cx));
            let mut out = std::mem::take(buffer);
            match batch {
                Some(Ok(batch)) => {
                    let shown = batch.iter().filter(|(hash, _)| access_list.permits(hash));
                    shown.for_each(|(hash, counts)| bencode::write_scrape_entry(&mut out, hash, counts));
                }
                Some(Err(unavailable)) => {
                    state = None;
                    return Poll::Ready(Some(Err(unavailable)));
                }
                None => {
                    bencode::write_scrape_end(&mut out);
                    state = None;
                }
            }
            Poll::Ready(Some(Ok(out.into())))
        })))
    }

    /// The canonical address of the client.
    fn client(&self, headers: &HeaderMap) -> Result<IpAddr, ProxyHeaderError> {
        if self.behind_proxy { self.context.options.proxies.proxied(headers) } else { Ok(self.peer) }
    }
}

fn text(body: Bytes) -> Response<ReplyBody> {
    with_type(Response::new(ReplyBody::Whole(body)))
}

fn status(code: StatusCode, body: &'static str) -> Response<ReplyBody> {
    let mut response = text(Bytes::from_static(body.as_bytes()));
    *response.status_mut() = code;
    response
}

fn with_type(mut response: Response<ReplyBody>) -> Response<ReplyBody> {
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    response
}
