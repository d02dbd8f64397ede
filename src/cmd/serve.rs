//! `tidings serve`, and plain `tidings`.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use tokio::runtime::Builder;
use tokio::signal::{self, unix::SignalKind};

use super::{Failure, print};
use crate::clock::SystemClock;
use crate::config::{self, Settings};
use crate::node::{Addrs, Node};
use crate::telemetry::logs::Logs;
use crate::telemetry::trace::{TraceExport, TraceOptions};

/// Serve announces until Ctrl-C or SIGTERM.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Precedence: flag, environment (TIDINGS_SECTION__KEY), file, default.
`tidings config` lists every setting. Logs go to standard error, from the level in TIDINGS_LOG on (default info), as
plain text or, with TIDINGS_LOG_FORMAT=json, as JSON.

Examples:
  tidings serve --config /etc/tidings.toml
  tidings serve --set 'announce.udp=[\"0.0.0.0:7000\"]' --set limits.peers=1000000
  TIDINGS_NODE__DATA_DIR=/var/lib/tidings tidings serve")]
pub struct Args {
    /// The settings file (TOML); without one, every setting has its default
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Set one key, over file and environment; repeatable. The value is TOML, quotes around a word may be left out
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
        // Before anything that a signal should stop in good order.
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
        loop {
            let signal = tokio::select! {
                signal = signals.next() => signal,
                () = node.leave_requested() => Signal::Stop,
                () = node.failed() => {
                    return Err(Failure::Run(anyhow::anyhow!(
                        "the manager of partitions failed, which is a bug: please report it with the log, and start the node again"
                    )));
                }
                conflict = node.conflict() => return Err(Failure::Settings(anyhow::anyhow!("{conflict}"))),
            };
            match signal {
                Signal::Stop => break,
                Signal::Reload => match node.reload() {
                    Ok(installed) => tracing::info!("reloaded: {installed}"),
                    Err(error) => tracing::error!("reload failed, keeping the current configuration: {error}"),
                },
            }
        }
        // On the other thread, as the end of a node waits for its threads and may hold up this one.
        tokio::spawn(async move {
            signals.interrupted().await;
            // Nothing is left to do if even this cannot be written.
            let _ = writeln!(io::stderr(), "error: ended before the node had stopped in good order");
            std::process::exit(1);
        });
        node.stop().await;
        if let Some(traces) = traces {
            traces.stop();
        }
        Ok(())
    })
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

/// What a person wants to know who has just started a tracker.
fn greeting(addrs: &Addrs, tls: bool) -> String {
    let schemes = [("udp", &addrs.udp, true), ("https", &addrs.http, tls), ("http", &addrs.http, true)];
    let served = schemes.into_iter().filter(|(.., served)| *served);
    let mut urls: Vec<_> =
        served.flat_map(|(scheme, addrs, _)| addrs.iter().map(move |addr| url(scheme, addr))).collect();
    // Both families at one port have the same URL.
    urls.dedup();
    let mut text = format!("Tidings is up. To use it, put into a torrent:\n  {}\n", urls.join("\n  "));
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

/// The announce URL of an address. What clients can reach a wildcard address by, only its operator knows.
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
    fn the_greeting_tells_what_to_put_into_a_torrent() {
        let everywhere = vec!["0.0.0.0:6969".parse().unwrap(), "[::]:6969".parse().unwrap()];
        let addrs = Addrs { udp: everywhere.clone(), http: everywhere, ops: Some("127.0.0.1:7070".parse().unwrap()) };
        assert_eq!(
            greeting(&addrs, false),
            "Tidings is up. To use it, put into a torrent:\n  \
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
            "Tidings is up. To use it, put into a torrent:\n  \
             https://[2001:db8::1]:443/announce\n  \
             http://[2001:db8::1]:443/announce\n\
             Listening on TCP [2001:db8::1]:443\n\
             Ctrl-C stops it.\n"
        );
    }
}
