//! The workers of a node that serve no requests: huge pages, the lag of the control runtime, and changed certificates.

use std::sync::Arc;

use tokio::sync::watch;

use super::core::OWNER_TICK;
use super::huge_pages::advise as advise_huge_pages;
use crate::frontend::http::Tls;
use crate::telemetry::event_loop::EventLoop;

/// The workers end when this is dropped.
pub struct Background {
    stop: watch::Sender<bool>,
    /// The event loop of the control runtime.
    pub control: Arc<EventLoop>,
}

impl Background {
    /// Starts them on the current runtime.
    pub fn start(tls: Option<&Arc<Tls>>) -> Self {
        let stop = watch::Sender::new(false);
        tokio::spawn(advise_huge_pages(stop.subscribe()));

        let control = Arc::new(EventLoop::new("control".into()));
        tokio::spawn(watch_lag(control.clone(), stop.subscribe()));

        if let Some(tls) = tls {
            tokio::spawn(tls.clone().watch(stop.subscribe()));
        }
        Self { stop, control }
    }

    pub fn stop(&self) {
        self.stop.send_replace(true);
    }
}

async fn watch_lag(event_loop: Arc<EventLoop>, mut stop: watch::Receiver<bool>) {
    tokio::select! {
        () = event_loop.watch(OWNER_TICK) => {}
        _ = stop.wait_for(|stop| *stop) => {}
    }
}
