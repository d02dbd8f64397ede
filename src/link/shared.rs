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
    pub(super) log_limiter: LogLimiter,
}

/// Logs at most once a minute about the same subject.
pub(super) struct LogLimiter {
    clock: Arc<dyn Clock>,
    /// When each subject was last logged.
    logged: Mutex<HashMap<String, Duration>>,
}

impl LogLimiter {
    const PAUSE: Duration = Duration::from_secs(60);
    /// Subjects that are remembered. Others are not logged while the table is full.
    const MAX_SUBJECTS: usize = 256;

    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, logged: Mutex::default() }
    }

    /// Whether this subject may be logged now.
    pub(super) fn allows(&self, subject: String) -> bool {
        let now = self.clock.now().uptime;
        let mut logged = self.logged.lock();
        logged.retain(|_, at| now.saturating_sub(*at) < Self::PAUSE);
        if logged.contains_key(&subject) || logged.len() >= Self::MAX_SUBJECTS {
            return false;
        }
        logged.insert(subject, now);
        true
    }
}
