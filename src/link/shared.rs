//! What all links of a node share.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;

use super::limits::LinkLimits;
use super::net::Net;
use super::security::Security;
use crate::clock::Clock;
use crate::wire::peer::Hello;

/// What all links of a node share.
pub(super) struct Shared {
    pub(super) hello: Hello,
    pub(super) security: ArcSwap<Security>,
    pub(super) limits: LinkLimits,
    pub(super) net: Arc<dyn Net>,
    pub(super) quiet: Quiet,
}

/// Says the same only once a minute.
pub(super) struct Quiet {
    clock: Arc<dyn Clock>,
    /// When something was last said.
    said: Mutex<HashMap<String, Duration>>,
}

impl Quiet {
    const PAUSE: Duration = Duration::from_secs(60);
    /// Subjects that are remembered. Others are not logged while the table is full.
    const KNOWN: usize = 256;

    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, said: Mutex::default() }
    }

    /// Whether it may be said now.
    pub(super) fn may_say(&self, what: String) -> bool {
        let now = self.clock.now().uptime;
        let mut said = self.said.lock();
        said.retain(|_, at| now.saturating_sub(*at) < Self::PAUSE);
        if said.contains_key(&what) || said.len() >= Self::KNOWN {
            return false;
        }
        said.insert(what, now);
        true
    }
}
