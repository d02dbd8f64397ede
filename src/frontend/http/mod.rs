//! The HTTP frontend: BEP 3, 7, 21, 23, 24, 31 and 48 over HTTP/1.0, 1.1 and 2, plain and TLS.

mod activity;
mod body;
mod client_addr;
mod connection;
mod context;
mod metrics;
mod request_line;
mod service;
mod tls;

use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;

pub use client_addr::{ProxyHeaderError, ProxyRules};
pub use context::{FullScrape, HttpContext, HttpOptions};
pub use metrics::{Action, HttpMetrics, Outcome};
pub use tls::{LoadedCertificate, Tls, TlsError};

use connection::Protocols;

/// How long open connections may take to finish their requests once the listener stops.
const DRAIN: Duration = Duration::from_secs(5);
/// How long to leave the listener alone when it cannot accept, most often for lack of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

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
