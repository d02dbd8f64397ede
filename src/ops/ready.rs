//! Readiness: whether the node answers announces at every address, and each of its owners responds.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use futures_util::future::{BoxFuture, join_all};
use serde::Serialize;
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::context::Context;
use super::probe::{self, Answer, ProbeError};
use crate::clock::Clock;
use crate::frontend::access_list::AccessList;
use crate::partition::OwnerIndex;
use crate::router::Router;

/// How long each check may take.
const DEADLINE: Duration = Duration::from_secs(1);
/// How long a report is served again, so that frequent polling costs nothing.
const FRESH: Duration = Duration::from_secs(1);

#[derive(Debug, Serialize)]
pub(super) struct Report {
    /// Whether every check passed.
    pub ready: bool,
    checks: Vec<Check>,
}

#[derive(Debug, Serialize)]
struct Check {
    target: String,
    ok: bool,
    millis: f64,
    error: Option<String>,
}

/// Runs the checks.
pub(super) struct Readiness {
    udp: Vec<SocketAddr>,
    http: Vec<SocketAddr>,
    proxy_header: String,
    router: Router,
    access_list: Arc<ArcSwap<AccessList>>,
    clock: Arc<dyn Clock>,
    /// The last report and the uptime when it was complete. Locked while the checks run, so that they run once at a time.
    last: Mutex<Option<(Duration, Arc<Report>)>>,
}

impl Readiness {
    pub fn new(context: &Context) -> Self {
        let reachable = |addrs: &[SocketAddr]| addrs.iter().copied().map(loopback_if_any).collect();
        Self {
            udp: reachable(&context.addrs.udp),
            http: reachable(&context.addrs.http),
            proxy_header: context.settings.announce.proxy_header.clone(),
            router: context.router.clone(),
            access_list: context.udp.access_list.clone(),
            clock: context.clock.clone(),
            last: Mutex::new(None),
        }
    }

    /// A report at most a second old. A node that is stopping is not ready, whatever it still answers.
    pub async fn report(&self, stopping: bool) -> Arc<Report> {
        if stopping {
            let error = Some("the node is stopping".into());
            let check = Check { target: "node".into(), ok: false, millis: 0.0, error };
            return Arc::new(Report { ready: false, checks: vec![check] });
        }
        let mut last = self.last.lock().await;
        if let Some((made, report)) = &*last
            && self.clock.now().uptime.saturating_sub(*made) < FRESH
        {
            return report.clone();
        }
        let report = Arc::new(self.make().await);
        *last = Some((self.clock.now().uptime, report.clone()));
        report
    }

    async fn make(&self) -> Report {
        let mut checks: Vec<BoxFuture<'_, Check>> = Vec::new();
        for &addr in &self.udp {
            checks.push(Box::pin(self.check(format!("udp://{addr}"), self.announced(probe::udp(addr)))));
        }
        for &addr in &self.http {
            let probe = probe::http(addr, &self.proxy_header);
            checks.push(Box::pin(self.check(format!("http://{addr}"), self.announced(probe))));
        }
        for owner in 0..self.router.owners().load().len() {
            let visit = async move { Ok(self.router.visit_owner(OwnerIndex(owner), |_, _| ()).await?) };
            checks.push(Box::pin(self.check(format!("owner {owner}"), visit)));
        }
        let checks = join_all(checks).await;
        Report { ready: checks.iter().all(|check| check.ok), checks }
    }

    /// A refusal is the right answer when the access list does not permit the info hash of the probes.
    async fn announced(&self, probe: impl Future<Output = Result<Answer, ProbeError>>) -> Result<(), ProbeError> {
        match probe.await? {
            Answer::Announced => Ok(()),
            Answer::Refused(_) if !self.access_list.load().permits(&probe::INFO_HASH) => Ok(()),
            Answer::Refused(reason) => Err(ProbeError::Refused(reason)),
        }
    }

    async fn check(&self, target: String, probe: impl Future<Output = Result<(), ProbeError>>) -> Check {
        let start = self.clock.now().uptime;
        let result = timeout(DEADLINE, probe).await.unwrap_or(Err(ProbeError::NoAnswer(DEADLINE)));
        let took = self.clock.now().uptime.saturating_sub(start);
        let millis = took.as_micros() as f64 / 1000.0;
        Check { target, ok: result.is_ok(), millis, error: result.err().map(|error| error.to_string()) }
    }
}

/// The address at which this host reaches its own socket: loopback for one bound to any address.
fn loopback_if_any(addr: SocketAddr) -> SocketAddr {
    let ip = match addr.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, addr.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcard_address_is_probed_over_loopback() {
        for (bound, reached) in [
            ("0.0.0.0:6969", "127.0.0.1:6969"),
            ("[::]:6969", "[::1]:6969"),
            ("192.0.2.1:80", "192.0.2.1:80"),
            ("[2001:db8::1]:80", "[2001:db8::1]:80"),
        ] {
            assert_eq!(loopback_if_any(bound.parse().unwrap()).to_string(), reached);
        }
    }
}
