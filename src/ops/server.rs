//! The HTTP server of the operations endpoints: accepts connections and dispatches each request by its path.

use std::convert::Infallible;
use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Serialize;
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{sleep, timeout};

use super::api::{ClusterStatus, NodeReport, SwarmReport};
use super::context::Context;
use super::metrics;
use super::ready::Readiness;
use crate::telemetry::exposition::Exposition;

/// Open connections at a time; further ones wait to be accepted.
const CONNECTIONS: usize = 64;
/// The time a client has to send the head of its request.
const HEAD: Duration = Duration::from_secs(5);
/// The time from the accept to the end of the reply.
const CONNECTION: Duration = Duration::from_secs(10);
/// The largest head of a request, in bytes.
const HEAD_BYTES: usize = 16 << 10;
/// How long to leave the listener alone when it cannot accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How long open connections may take to finish when the node has stopped.
const DRAIN: Duration = Duration::from_secs(1);

const LEAVE: &str = "/api/v1/leave";
const SWARMS: &str = "/api/v1/swarms/";
const KNOWN_PATHS: &str = "\
nothing is here; there are
  /healthz               200 while the process serves
  /readyz                200 when the node answers announces
  /metrics               Prometheus metrics
  /api/v1/node           this node
  /api/v1/cluster        the cluster as this node sees it
  /api/v1/leave          POST: hand all partitions to other nodes and stop
  /api/v1/swarms/{hex}   the swarm with this info hash of 40 hexadecimal digits
";

/// The running endpoints.
pub struct Server {
    phase: watch::Sender<Phase>,
    task: JoinHandle<()>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The node is up.
    Serving,
    /// The node is stopping, and the endpoints report it.
    Stopping,
    /// The endpoints stop as well.
    Ended,
}

struct Endpoints {
    context: Arc<Context>,
    readiness: Readiness,
    phase: watch::Receiver<Phase>,
}

impl Server {
    /// Serves on the current runtime.
    ///
    /// # Errors
    /// When the runtime cannot take the listener.
    pub fn start(listener: TcpListener, context: Arc<Context>) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let phase = watch::Sender::new(Phase::Serving);
        let endpoints = Endpoints { readiness: Readiness::new(&context), context, phase: phase.subscribe() };
        let task = tokio::spawn(accept(listener, Arc::new(endpoints), phase.subscribe()));
        Ok(Self { phase, task })
    }

    /// Reports from now on that the node is stopping, so that load balancers send clients elsewhere.
    pub fn stopping(&self) {
        self.phase.send_replace(Phase::Stopping);
    }

    /// Closes the listener, and returns once open requests are answered or after a second.
    pub async fn stop(self) {
        self.phase.send_replace(Phase::Ended);
        // A panic has been reported by the panic hook.
        let _ = self.task.await;
    }
}

async fn accept(listener: tokio::net::TcpListener, endpoints: Arc<Endpoints>, mut phase: watch::Receiver<Phase>) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        let next = async {
            let slot = slots.clone().acquire_owned().await;
            match listener.accept().await {
                Ok((stream, _)) => Some((stream, slot)),
                Err(_) => {
                    sleep(ACCEPT_PAUSE).await;
                    None
                }
            }
        };
        tokio::select! {
            accepted = next => if let Some((stream, slot)) = accepted {
                let endpoints = endpoints.clone();
                connections.spawn(async move {
                    let _slot = slot;
                    serve(stream, endpoints).await;
                });
            },
            Some(_) = connections.join_next() => {}
            _ = phase.wait_for(|phase| *phase == Phase::Ended) => break,
        }
    }
    drop(listener);
    let _ = timeout(DRAIN, async { while connections.join_next().await.is_some() {} }).await;
}

/// Serves one request per connection: clients poll too rarely for keep-alive to pay off, and idle connections would use up
/// [`CONNECTIONS`].
async fn serve(stream: TcpStream, endpoints: Arc<Endpoints>) {
    let service = service_fn(move |request: Request<_>| {
        let endpoints = endpoints.clone();
        async move { Ok::<_, Infallible>(endpoints.answer(request.method(), request.uri().path()).await) }
    });
    let connection = http1::Builder::new()
        .keep_alive(false)
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    // A broken connection concerns its client alone.
    let _ = timeout(CONNECTION, connection).await;
}

type Reply = Response<Full<Bytes>>;

impl Endpoints {
    async fn answer(&self, method: &Method, path: &str) -> Reply {
        if path == LEAVE && *method == Method::POST {
            self.context.leave.notify_one();
            return text(StatusCode::OK, "leaving\n");
        }
        if path == LEAVE {
            let mut reply = text(StatusCode::METHOD_NOT_ALLOWED, "use POST\n");
            reply.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
            return reply;
        }
        if !matches!(*method, Method::GET | Method::HEAD) {
            let mut reply = text(StatusCode::METHOD_NOT_ALLOWED, "use GET or HEAD\n");
            reply.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return reply;
        }
        match path {
            "/healthz" if self.is_stopping() => text(StatusCode::SERVICE_UNAVAILABLE, "stopping\n"),
            "/healthz" => text(StatusCode::OK, "ok\n"),
            "/readyz" => {
                let report = self.readiness.report(self.is_stopping()).await;
                json(if report.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, &*report)
            }
            "/metrics" => match metrics::gather(&self.context).text() {
                Ok(text) => reply(StatusCode::OK, Exposition::CONTENT_TYPE, text),
                Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, &format!("{error}\n")),
            },
            "/api/v1/cluster" => json(StatusCode::OK, &ClusterStatus::new(&self.context)),
            "/api/v1/node" => json(StatusCode::OK, &NodeReport::new(&self.context)),
            _ => match path.strip_prefix(SWARMS) {
                Some(hex) => match SwarmReport::find(&self.context, hex).await {
                    Ok(swarm) => json(StatusCode::OK, &swarm),
                    Err(error) => json(error.status(), &serde_json::json!({ "error": error.to_string() })),
                },
                None => text(StatusCode::NOT_FOUND, KNOWN_PATHS),
            },
        }
    }

    fn is_stopping(&self) -> bool {
        *self.phase.borrow() != Phase::Serving
    }
}

fn text(status: StatusCode, body: &str) -> Reply {
    reply(status, "text/plain; charset=utf-8", body.to_owned().into_bytes())
}

fn json(status: StatusCode, value: &impl Serialize) -> Reply {
    match serde_json::to_vec_pretty(value) {
        Ok(mut body) => {
            body.push(b'\n');
            reply(status, "application/json", body)
        }
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, &format!("{error}\n")),
    }
}

fn reply(status: StatusCode, content_type: &'static str, body: Vec<u8>) -> Reply {
    let mut reply = Response::new(Full::from(body));
    *reply.status_mut() = status;
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    reply.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    reply
}
