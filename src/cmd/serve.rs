//! `tidings serve`, and plain `tidings`.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use tokio::runtime::Builder;
use tokio::signal::{self, unix::SignalKind};

use super::failure::Failure;
use super::output::print;
use crate::clock::SystemClock;
use crate::config::{self, Settings};
use crate::node::{Addrs, Node};
use crate::telemetry::logs::Logs;
use crate::telemetry::trace::{TraceExport, TraceOptions};

/// Serve announces until Ctrl-C or SIGTERM.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Precedence: flags, environment (TIDINGS_SECTION__KEY), file, defaults.
`tidings config` lists every setting. Logs go to standard error, at the level in TIDINGS_LOG (default info), as plain
text or, with TIDINGS_LOG_FORMAT=json, as JSON.

Examples:
  tidings serve --config /etc/tidings.toml
  tidings serve --set 'announce.udp=[\"0.0.0.0:7000\"]' --set limits.peers=1000000
  TIDINGS_NODE__DATA_DIR=/var/lib/tidings tidings serve")]
pub struct Args {
    /// The settings file (TOML)
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Set one key, overriding file and environment; repeatable. The value is TOML, but strings need no quotes
    #[arg(long, value_name = "SECTION.KEY=VALUE")]
    set: Vec<String>,
}

impl Args {
    /// Loads the settings and serves.
    ///
    /// # Errors
    /// See [`Failure`].
    pub fn run(self) -> Result<(), Failure> {
        let logs = Logs::from_env().map_err(|error| Failure::Settings(error.into()))?;
        let settings = config::load(self.config.as_deref(), std::env::vars_os(), &self.set)?;
        let variable = |name: &str| std::env::var_os(name).map(|value| value.to_string_lossy().into_owned());
        let options = TraceOptions::new(&settings, variable);
        let traces = options.and_then(|options| options.map(TraceExport::start).transpose());
        let traces = traces.map_err(|error| Failure::Settings(error.into()))?;
        logs.install(traces.as_ref());
        serve(settings, traces)
    }
}

fn serve(settings: Settings, traces: Option<TraceExport>) -> Result<(), Failure> {
    let control = Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("control")
        .enable_all()
        .build()
        .context("cannot start the control runtime")?;
    control.block_on(async {
        // Before anything that a signal should stop gracefully.
        let mut signals = Signals::new().context("cannot listen for signals")?;
        for advice in settings.advice().iter().chain(traces.iter().flat_map(TraceExport::advice)) {
            tracing::warn!("{advice}");
        }
        let clock = Arc::new(SystemClock::start());
        let node = Node::start(settings, clock, traces.as_ref()).await.map_err(|error| {
            let settings = error.is_settings();
            let error = anyhow::Error::new(error);
            if settings { Failure::Settings(error) } else { Failure::Run(error) }
        })?;
        print(&greeting(node.addrs(), node.context().http.tls.is_some()))?;
        tracing::debug!(event = "node_started", "node started");
        let reason = run_until_stopped(&node, &mut signals).await?;
        tracing::debug!(event = "shutdown_started", reason, "shutting down");
        // In a separate task, as stopping the node blocks this thread until the threads of the node have ended.
        tokio::spawn(async move {
            signals.interrupted().await;
            // If even this cannot be written, there is nothing left to do.
            let _ = writeln!(io::stderr(), "error: forced exit before graceful shutdown completed");
            std::process::exit(1);
        });
        node.stop().await;
        tracing::debug!(event = "node_stopped", "node stopped");
        if let Some(traces) = traces {
            traces.stop();
            tracing::debug!(event = "trace_export_stopped", "last spans exported");
        }
        Ok(())
    })
}

/// Reloads on SIGHUP. Returns why the node should stop.
async fn run_until_stopped(node: &Node, signals: &mut Signals) -> Result<&'static str, Failure> {
    loop {
        let signal = tokio::select! {
            signal = signals.next() => signal,
            () = node.leave_requested() => return Ok("leave"),
            () = node.failed() => {
                return Err(Failure::Run(anyhow::anyhow!(
                    "the partition manager crashed, which is a bug: please report it with the log, and restart the node"
                )));
            }
            conflict = node.conflict() => return Err(Failure::Settings(anyhow::anyhow!("{conflict}"))),
        };
        match signal {
            Signal::Stop => return Ok("signal"),
            Signal::Reload => reload(node),
        }
    }
}

fn reload(node: &Node) {
    tracing::debug!(event = "reload_started", "reloading");
    match node.reload() {
        Ok(installed) => tracing::info!(event = "reload_completed", "reloaded: {installed}"),
        Err(error) => {
            tracing::error!(event = "reload_failed", "reload failed, keeping the current configuration: {error}");
        }
    }
}

enum Signal {
    Reload,
    Stop,
}

struct Signals {
    hangup: signal::unix::Signal,
    interrupt: signal::unix::Signal,
    terminate: signal::unix::Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        let [hangup, interrupt, terminate] =
            [SignalKind::hangup(), SignalKind::interrupt(), SignalKind::terminate()].map(signal::unix::signal);
        Ok(Self { hangup: hangup?, interrupt: interrupt?, terminate: terminate? })
    }

    async fn interrupted(&mut self) {
        self.interrupt.recv().await;
    }

    async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.hangup.recv() => Signal::Reload,
            _ = self.interrupt.recv() => Signal::Stop,
            _ = self.terminate.recv() => Signal::Stop,
        }
    }
}

/// What an operator who has just started a tracker wants to know.
fn greeting(addrs: &Addrs, tls: bool) -> String {
    let schemes = [("udp", &addrs.udp, true), ("https", &addrs.http, tls), ("http", &addrs.http, true)];
    let served = schemes.into_iter().filter(|(.., served)| *served);
    let mut urls: Vec<_> =
        served.flat_map(|(scheme, addrs, _)| addrs.iter().map(move |addr| url(scheme, addr))).collect();
    // Both families at one port have the same URL.
    urls.dedup();
    let mut text = format!("Tidings is running. Announce URLs:\n  {}\n", urls.join("\n  "));
    for (transport, addrs) in [("UDP", &addrs.udp), ("TCP", &addrs.http)] {
        if !addrs.is_empty() {
            let addrs: Vec<_> = addrs.iter().map(SocketAddr::to_string).collect();
            text += &format!("Listening on {transport} {}\n", addrs.join(", "));
        }
    }
    if let Some(addr) = addrs.ops {
        text += &format!("Operations at http://{addr}/healthz, /readyz, /metrics, /api/v1/node\n");
    }
    text + "Ctrl-C stops it.\n"
}

/// The announce URL of an address. Only the operator knows where clients reach a wildcard address.
fn url(scheme: &str, addr: &SocketAddr) -> String {
    if addr.ip().is_unspecified() {
        format!("{scheme}://<this host's name or address>:{}/announce", addr.port())
    } else {
        format!("{scheme}://{addr}/announce")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_greeting_shows_the_announce_urls() {
        let everywhere = vec!["0.0.0.0:6969".parse().unwrap(), "[::]:6969".parse().unwrap()];
        let addrs = Addrs { udp: everywhere.clone(), http: everywhere, ops: Some("127.0.0.1:7070".parse().unwrap()) };
        assert_eq!(
            greeting(&addrs, false),
            "Tidings is running. Announce URLs:\n  \
             udp://<this host's name or address>:6969/announce\n  \
             http://<this host's name or address>:6969/announce\n\
             Listening on UDP 0.0.0.0:6969, [::]:6969\n\
             Listening on TCP 0.0.0.0:6969, [::]:6969\n\
             Operations at http://127.0.0.1:7070/healthz, /readyz, /metrics, /api/v1/node\n\
             Ctrl-C stops it.\n"
        );
        let addrs = Addrs { http: vec!["[2001:db8::1]:443".parse().unwrap()], ..Addrs::default() };
        assert_eq!(
            greeting(&addrs, true),
            "Tidings is running. Announce URLs:\n  \
             https://[2001:db8::1]:443/announce\n  \
             http://[2001:db8::1]:443/announce\n\
             Listening on TCP [2001:db8::1]:443\n\
             Ctrl-C stops it.\n"
        );
    }
}
