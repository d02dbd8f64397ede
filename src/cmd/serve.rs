//! `tidings serve`, and plain `tidings`.

use std::io;
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
        Logs::from_env().map_err(|error| Failure::Settings(error.into()))?.install();
        let settings = config::load(self.config.as_deref(), std::env::vars_os(), &self.set)?;
        serve(settings)
    }
}

fn serve(settings: Settings) -> Result<(), Failure> {
    let control = Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("control")
        .enable_all()
        .build()
        .context("cannot start the control runtime")?;
    control.block_on(async {
        // Before anything that a signal should stop in good order.
        let mut signals = Signals::new().context("cannot listen for signals")?;
        let node = Node::start(settings, Arc::new(SystemClock::start())).await.map_err(|error| {
            let settings = error.is_settings();
            let error = anyhow::Error::new(error);
            if settings { Failure::Settings(error) } else { Failure::Run(error) }
        })?;
        print(&greeting(node.addrs()))?;
        while let Signal::Reload = signals.next().await {
            match node.reload() {
                Ok(()) => tracing::info!("reloaded"),
                Err(error) => tracing::error!(%error, "not reloaded, the former state stays"),
            }
        }
        node.stop().await;
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

    async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.hangup.recv() => Signal::Reload,
            _ = self.interrupt.recv() => Signal::Stop,
            _ = self.terminate.recv() => Signal::Stop,
        }
    }
}

/// What a person wants to know who has just started a tracker.
fn greeting(addrs: &Addrs) -> String {
    let mut text = String::from("Tidings is up.\n");
    let lines = addrs.udp.iter().map(|addr| ("udp", addr)).chain(addrs.http.iter().map(|addr| ("http", addr)));
    for (scheme, addr) in lines {
        text += &format!("  announce  {scheme}://{addr}/announce\n");
    }
    if let Some(addr) = addrs.ops {
        text += &format!("  operate   http://{addr}/healthz, /readyz, /metrics, /api/v1/node\n");
    }
    text
}
