//! One connection, from its first byte to its end.

use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulConnection;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_rustls::TlsAcceptor;

use super::activity::Activity;
use super::context::HttpContext;
use super::request_line::RepairedStream;
use super::service::Session;

/// The first byte of every TLS connection: a record that holds a handshake (RFC 8446 §5.1).
const TLS_HANDSHAKE: u8 = 0x16;
/// The first byte of an HTTP/2 connection, which begins with `PRI * HTTP/2.0` (RFC 9113 §3.4).
const HTTP_2_PREFACE: u8 = b'P';
/// How long a TLS handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// HTTP/2 streams that one client may have open: as many as clients assume before they receive our settings (RFC 9113 §6.5.2).
const STREAMS: u32 = 100;

/// The protocols, configured once for each listener.
pub(super) struct Protocols {
    context: Arc<HttpContext>,
    http1: http1::Builder,
    /// Finds out the version by itself; for the few connections that may be HTTP/2.
    either: auto::Builder<TokioExecutor>,
    tls: Option<TlsAcceptor>,
}

impl Protocols {
    pub(super) fn new(context: Arc<HttpContext>) -> Self {
        let head = context.options.request_bytes;
        // hyper accepts no smaller buffer than 8 KiB; the bound on the head holds all the same.
        let buffer = head.max(8192);
        let mut http1 = http1::Builder::new();
        // The deadline of `drive` takes the place of hyper's timer, which would be set again for each request.
        http1.header_read_timeout(None).max_header_size(head).max_buf_size(buffer).half_close(true);
        // Head and body are a few hundred bytes: to copy them together costs less than to send them by `writev`.
        http1.writev(false);
        let mut either = auto::Builder::new(TokioExecutor::new());
        either.http1().header_read_timeout(None).max_buf_size(buffer).half_close(true);
        either
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS)
            .max_header_list_size(head.try_into().unwrap_or(u32::MAX))
            .max_send_buf_size(64 * 1024)
            .initial_stream_window_size(16 * 1024)
            .initial_connection_window_size(64 * 1024)
            .keep_alive_interval(None);
        let tls = context.tls.as_ref().map(|tls| TlsAcceptor::from(tls.config()));
        Self { context, http1, either, tls }
    }

    /// Serves `stream` until it ends, times out or the node stops.
    pub(super) async fn run(&self, stream: TcpStream, peer: IpAddr, mut shutdown: watch::Receiver<bool>) {
        let mut first = [0];
        let idle = self.context.options.idle;
        let peeked = tokio::select! {
            peeked = timeout(idle, stream.peek(&mut first)) => peeked,
            _ = shutdown.wait_for(|stop| *stop) => return,
        };
        match peeked {
            Ok(Ok(1)) => {}
            Ok(_) => return,
            Err(_) => {
                self.context.metrics.connections_timed_out.fetch_add(1, Relaxed);
                return;
            }
        }
        match (first[0], &self.tls) {
            (TLS_HANDSHAKE, Some(tls)) => match timeout(HANDSHAKE.min(idle), tls.accept(stream)).await {
                Ok(Ok(stream)) if stream.get_ref().1.alpn_protocol() == Some(b"h2") => {
                    self.either(stream, peer, shutdown).await;
                }
                Ok(Ok(stream)) => self.http1(stream, peer, shutdown).await,
                Ok(Err(_)) | Err(_) => {
                    self.context.metrics.tls_handshake_failures.fetch_add(1, Relaxed);
                }
            },
            (HTTP_2_PREFACE, _) => self.either(stream, peer, shutdown).await,
            _ => self.http1(stream, peer, shutdown).await,
        }
    }

    async fn http1<S>(&self, stream: S, peer: IpAddr, shutdown: watch::Receiver<bool>)
    where
        S: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let session = self.session(peer);
        let handler = session.clone();
        let service = service_fn(move |request| handler.clone().handle(request));
        let connection = self.http1.serve_connection(TokioIo::new(RepairedStream::new(stream)), service);
        let error = self.drive(connection, &session.activity, shutdown).await;
        if error.is_some_and(|error| error.is_parse()) {
            self.context.metrics.connections_malformed.fetch_add(1, Relaxed);
        }
    }

    async fn either<S>(&self, stream: S, peer: IpAddr, shutdown: watch::Receiver<bool>)
    where
        S: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let session = self.session(peer);
        let handler = session.clone();
        let service = service_fn(move |request| handler.clone().handle(request));
        let connection = self.either.serve_connection(TokioIo::new(stream), service);
        if self.drive(connection, &session.activity, shutdown).await.is_some() {
            self.context.metrics.connections_malformed.fetch_add(1, Relaxed);
        }
    }

    fn session(&self, peer: IpAddr) -> Arc<Session> {
        Arc::new(Session::new(self.context.clone(), peer, Arc::new(Activity::new())))
    }

    /// Drives `connection` to its end; returns the error that ended it, if any.
    async fn drive<C: GracefulConnection>(
        &self,
        connection: C,
        activity: &Activity,
        mut shutdown: watch::Receiver<bool>,
    ) -> Option<C::Error> {
        let idle = self.context.options.idle;
        let mut connection = pin!(connection);
        let mut deadline = pin!(sleep_until(activity.last() + idle));
        let mut stop = pin!(shutdown.wait_for(|stop| *stop));
        let mut stopping = false;
        loop {
            tokio::select! {
                biased;
                result = connection.as_mut() => return result.err(),
                _ = stop.as_mut(), if !stopping => {
                    stopping = true;
                    connection.as_mut().graceful_shutdown();
                }
                () = deadline.as_mut() => {
                    // Set once per idle time, not once per request: most often the connection was in use since.
                    let next = activity.last() + idle;
                    if next <= Instant::now() {
                        self.context.metrics.connections_timed_out.fetch_add(1, Relaxed);
                        return None;
                    }
                    deadline.as_mut().reset(next);
                }
            }
        }
    }
}
