//! The rules for single values (ranges) and for values that depend on each other.

use std::net::SocketAddr;

use super::settings::{AccessMode, Announce, Settings};

/// Settings of the right types that break a rule.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Invalid {
    /// The keys that the rule is about, as `section.key`.
    pub keys: &'static [&'static str],
    /// The rule and the likely fix.
    pub message: String,
}

impl Invalid {
    fn new(keys: &'static [&'static str], message: String) -> Self {
        Self { keys, message }
    }
}

/// Returns [`Invalid`] for these keys unless the rule holds.
macro_rules! ensure {
    ($rule:expr, [$($key:literal),+], $($message:tt)+) => {
        if !$rule {
            return Err(Invalid::new(&[$($key),+], format!($($message)+)));
        }
    };
}

/// The range of a whole number.
struct Range {
    key: [&'static str; 1],
    least: u64,
    most: u64,
    get: fn(&Settings) -> u64,
}

impl Range {
    const fn new(key: &'static str, least: u64, most: u64, get: fn(&Settings) -> u64) -> Self {
        Self { key: [key], least, most, get }
    }

    fn check(&'static self, value: i128) -> Result<(), Invalid> {
        if (i128::from(self.least)..=i128::from(self.most)).contains(&value) {
            return Ok(());
        }
        let Self { key: [name], least, most, .. } = self;
        Err(Invalid::new(&self.key, format!("{name} cannot be {value}: set it to {least} to {most}")))
    }
}

/// The range of every key that is a whole number, as its doc comment states it.
static RANGES: [Range; 26] = [
    Range::new("node.snapshot_interval", 1, 3600, |s| s.node.snapshot_interval.into()),
    Range::new("announce.interval", 1, 28_000, |s| s.announce.interval.into()),
    Range::new("announce.min_interval", 1, 28_000, |s| s.announce.min_interval.into()),
    Range::new("announce.max_peers", 1, 10_000, |s| s.announce.max_peers.into()),
    Range::new("announce.default_peers", 1, 10_000, |s| s.announce.default_peers.into()),
    // The store keeps ages in 15 bits, see `swarm::Second`; the longest interval plus its variation fits.
    Range::new("announce.peer_ttl", 1, 32_000, |s| s.announce.peer_ttl.into()),
    Range::new("announce.threads", 0, 1024, |s| s.announce.threads as u64),
    Range::new("limits.udp_reply_bytes", 256, 65_507, |s| s.limits.udp_reply_bytes as u64),
    Range::new("limits.scrape_hashes", 1, 10_000, |s| s.limits.scrape_hashes as u64),
    Range::new("limits.in_flight", 16, 1_048_576, |s| s.limits.in_flight as u64),
    Range::new("limits.swarms", 1, 1_000_000_000, |s| s.limits.swarms as u64),
    Range::new("limits.peers", 1, 1_000_000_000, |s| s.limits.peers as u64),
    // A position in a swarm has 24 bits, see `swarm::index`.
    Range::new("limits.peers_per_swarm", 1, 16_000_000, |s| s.limits.peers_per_swarm.into()),
    Range::new("limits.hint_bytes", 65_536, 4_294_967_296, |s| s.limits.hint_bytes as u64),
    Range::new("limits.stale_swarms", 0, 100_000_000, |s| s.limits.stale_swarms as u64),
    Range::new("limits.http_connections", 1, 1_048_576, |s| s.limits.http_connections as u64),
    Range::new("limits.http_idle", 1, 3600, |s| s.limits.http_idle.into()),
    Range::new("limits.http_request_bytes", 1024, 1_048_576, |s| s.limits.http_request_bytes as u64),
    Range::new("cluster.partitions", 1, 32_768, |s| s.cluster.partitions.into()),
    Range::new("cluster.replicas_per_region", 1, 16, |s| s.cluster.replicas_per_region.into()),
    Range::new("cluster.weight", 1, 100, |s| s.cluster.weight.into()),
    Range::new("cluster.deadline", 10, 10_000, |s| s.cluster.deadline.into()),
    // Gossip remembers a node for a little longer than three times this.
    Range::new("cluster.stable_after", 1, 300, |s| s.cluster.stable_after.into()),
    Range::new("cluster.leave_timeout", 0, 3600, |s| s.cluster.leave_timeout.into()),
    Range::new("telemetry.slow", 1, 60_000, |s| s.telemetry.slow.into()),
    Range::new("telemetry.slow_per_second", 0, 10_000, |s| s.telemetry.slow_per_second.into()),
];

/// Checks a number before it is converted to its key's type, which may be narrower.
pub(super) fn check_range(key: &str, value: i64) -> Result<(), Invalid> {
    RANGES.iter().find(|range| range.key == [key]).map_or(Ok(()), |range| range.check(value.into()))
}

impl Settings {
    /// Checks every value's range and that the values fit together.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub fn validate(&self) -> Result<(), Invalid> {
        RANGES.iter().try_for_each(|range| range.check((range.get)(self).into()))?;
        self.check_node()?;
        self.check_announce()?;
        self.check_files()?;
        self.check_cluster()?;
        self.check_telemetry()?;
        self.check_listeners()
    }

    /// Settings that are valid but probably not intended, one sentence each.
    pub fn advice(&self) -> Vec<String> {
        let mut advice = Vec::new();
        if !(300..=10_800).contains(&self.announce.interval) {
            let interval = self.announce.interval;
            advice.push(format!("announce.interval is {interval} s, and clients expect 300 to 10800 s"));
        }
        if self.access_list.mode == AccessMode::Off && self.access_list.path.is_some() {
            advice.push("access_list.path has no effect while access_list.mode is \"off\"".into());
        }
        if self.tls.cert.is_some() && self.announce.http.is_empty() {
            advice.push("tls.cert has no effect while announce.http is empty".into());
        }
        advice
    }

    fn check_node(&self) -> Result<(), Invalid> {
        check_name("node.id", &self.node.id, &["node.id"])?;
        check_name("node.region", &self.node.region, &["node.region"])?;
        check_name("cluster.name", &self.cluster.name, &["cluster.name"])
    }

    fn check_announce(&self) -> Result<(), Invalid> {
        let Announce { interval, min_interval, peer_ttl, default_peers, max_peers, .. } = self.announce;
        let announce = &self.announce;
        ensure!(
            !announce.udp.is_empty() || !announce.http.is_empty(),
            ["announce.udp", "announce.http"],
            "announce.udp and announce.http are both empty: give at least one address"
        );
        ensure!(
            min_interval <= interval,
            ["announce.min_interval", "announce.interval"],
            "announce.min_interval ({min_interval} s) is longer than announce.interval ({interval} s): lower the one or \
             raise the other"
        );
        let least = least_ttl(interval);
        ensure!(
            u32::from(peer_ttl) >= least,
            ["announce.peer_ttl", "announce.interval"],
            "announce.peer_ttl ({peer_ttl} s) would forget peers before they announce again: with announce.interval at \
             {interval} s, set it to {least} or more"
        );
        ensure!(
            default_peers <= max_peers,
            ["announce.default_peers", "announce.max_peers"],
            "announce.default_peers ({default_peers}) is above announce.max_peers ({max_peers}): lower the one or raise \
             the other"
        );

        let reply_bytes = self.limits.udp_reply_bytes;
        let room = (reply_bytes - UDP_ANNOUNCE_HEAD) / UDP_PEER;
        ensure!(
            announce.udp.is_empty() || usize::from(max_peers) <= room,
            ["announce.max_peers", "limits.udp_reply_bytes"],
            "announce.max_peers ({max_peers}) does not fit into a UDP reply of limits.udp_reply_bytes ({reply_bytes}): \
             set it to {room} or less"
        );

        let header = &announce.proxy_header;
        let is_token = |c: u8| c.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&c);
        ensure!(
            !header.is_empty() && header.bytes().all(is_token),
            ["announce.proxy_header"],
            "announce.proxy_header cannot be {header:?}: name an HTTP header, such as x-forwarded-for"
        );
        Ok(())
    }

    fn check_files(&self) -> Result<(), Invalid> {
        ensure!(
            self.tls.cert.is_some() == self.tls.key.is_some(),
            ["tls.cert", "tls.key"],
            "tls.cert and tls.key go together: set both, or neither for plain HTTP"
        );
        ensure!(
            self.access_list.mode == AccessMode::Off || self.access_list.path.is_some(),
            ["access_list.mode"],
            "access_list.mode needs a list: set access_list.path to its file"
        );
        Ok(())
    }

    fn check_cluster(&self) -> Result<(), Invalid> {
        let cluster = &self.cluster;
        let partitions = cluster.partitions;
        ensure!(
            partitions.is_power_of_two(),
            ["cluster.partitions"],
            "cluster.partitions cannot be {partitions}: set it to a power of two, such as {}",
            partitions.next_power_of_two()
        );
        ensure!(
            cluster.gossip.is_some() == cluster.link.is_some(),
            ["cluster.gossip", "cluster.link"],
            "cluster.gossip and cluster.link go together: set both, or neither for a single node"
        );
        for (key, address) in [("cluster.gossip", cluster.gossip), ("cluster.link", cluster.link)] {
            if let Some(address) = address {
                self.check_cluster_listener(key, address)?;
            }
        }
        ensure!(
            cluster.seeds.is_empty() || cluster.gossip.is_some(),
            ["cluster.seeds"],
            "cluster.seeds needs cluster.gossip and cluster.link: set the addresses of this node"
        );
        for seed in &cluster.seeds {
            ensure!(
                is_host_and_port(seed),
                ["cluster.seeds"],
                "cluster.seeds cannot hold {seed:?}: write a seed as host:port, such as 10.0.0.2:7071"
            );
        }
        self.check_cluster_ttl()
    }

    /// Other nodes must be able to reach the listener, and only nodes may use it.
    fn check_cluster_listener(&self, key: &str, address: SocketAddr) -> Result<(), Invalid> {
        let cluster = &self.cluster;
        ensure!(
            !address.ip().is_unspecified() || cluster.advertise.is_some(),
            ["cluster.advertise"],
            "{key} ({address}) is not an address that other nodes can reach: set cluster.advertise to one that is"
        );
        ensure!(
            cluster.keys.is_some() || cluster.insecure || address.ip().is_loopback(),
            ["cluster.keys"],
            "{key} ({address}) is open to other hosts but has no keys: create them with `tidings keys init` and set \
             cluster.keys, or set cluster.insecure = true on a network that you trust"
        );
        Ok(())
    }

    /// In a cluster a renewal may reach replicas late by a quarter of a peer's lifetime, see `swarm::Record::renewal_due`.
    fn check_cluster_ttl(&self) -> Result<(), Invalid> {
        let Announce { interval, peer_ttl, .. } = self.announce;
        let least = least_ttl(interval).saturating_mul(4).div_ceil(3);
        ensure!(
            self.cluster.gossip.is_none() || u32::from(peer_ttl) * 3 / 4 >= interval + interval / 10,
            ["announce.peer_ttl", "announce.interval"],
            "announce.peer_ttl ({peer_ttl} s) is too short for a cluster, where replicas may learn of a peer's last \
             announce a quarter of that later: with announce.interval at {interval} s, set it to {least} or more"
        );
        Ok(())
    }

    fn check_telemetry(&self) -> Result<(), Invalid> {
        let ratio = self.telemetry.sample_ratio;
        ensure!(
            (0.0..=1.0).contains(&ratio),
            ["telemetry.sample_ratio"],
            "telemetry.sample_ratio cannot be {ratio}: set it to 0.0 (none) to 1.0 (every announce)"
        );
        if let Some(endpoint) = &self.telemetry.otlp_endpoint {
            ensure!(
                endpoint.strip_prefix("http://").is_some_and(|host| !host.is_empty()),
                ["telemetry.otlp_endpoint"],
                "telemetry.otlp_endpoint cannot be {endpoint:?}: write the collector's URL for OTLP over gRPC without \
                 TLS, such as http://127.0.0.1:4317"
            );
        }
        Ok(())
    }

    /// SO_REUSEPORT would silently let two listeners share an address.
    fn check_listeners(&self) -> Result<(), Invalid> {
        let Self { announce, ops, cluster, .. } = self;
        let udp =
            [listeners(&["announce.udp"], &announce.udp), listeners(&["cluster.gossip"], cluster.gossip.as_slice())];
        let tcp = [
            listeners(&["announce.http"], &announce.http),
            listeners(&["ops.listen"], ops.listen.as_slice()),
            listeners(&["cluster.link"], cluster.link.as_slice()),
        ];
        check_distinct(&udp.concat())?;
        check_distinct(&tcp.concat())
    }
}

fn check_name(key: &str, name: &str, keys: &'static [&'static str]) -> Result<(), Invalid> {
    let is_plain = |c: u8| c.is_ascii_alphanumeric() || b"._-".contains(&c);
    if (1..=64).contains(&name.len()) && name.bytes().all(is_plain) {
        return Ok(());
    }
    Err(Invalid::new(keys, format!("{key} cannot be {name:?}: use 1 to 64 letters, digits, '.', '_' and '-'")))
}

/// A listening address and the key that sets it.
type Listener = (&'static [&'static str; 1], SocketAddr);

fn listeners(key: &'static [&'static str; 1], addresses: &[SocketAddr]) -> Vec<Listener> {
    addresses.iter().map(|address| (key, *address)).collect()
}

/// Refuses listeners of one transport that would compete for the same packets or connections.
fn check_distinct(listeners: &[Listener]) -> Result<(), Invalid> {
    for (at, (key, address)) in listeners.iter().enumerate() {
        if let Some((other, taken)) = listeners[..at].iter().find(|(_, taken)| clash(*taken, *address)) {
            let ([key_name], [other_name]) = (key, other);
            return Err(Invalid::new(
                *key,
                format!("{key_name} cannot listen on {address}: {other_name} has {taken}, so use another port"),
            ));
        }
    }
    Ok(())
}

/// The bytes of a UDP announce reply before its peers, and of an IPv4 peer (BEP 15).
const UDP_ANNOUNCE_HEAD: usize = 20;
const UDP_PEER: usize = 6;

/// The shortest life of a peer that lasts until its next announce, in seconds: the interval, the 10 % by which replies
/// vary it, and the same again, but at most a minute, for a client that is late.
fn least_ttl(interval: u32) -> u32 {
    let tenth = interval.div_ceil(10);
    interval.saturating_add(tenth).saturating_add(tenth.min(60))
}

fn is_host_and_port(seed: &str) -> bool {
    seed.rsplit_once(':').is_some_and(|(host, port)| {
        let host_is_valid = !host.is_empty()
            && !host.contains(|c: char| c.is_whitespace() || c == '/')
            && (!host.contains(':') || (host.starts_with('[') && host.ends_with(']')));
        host_is_valid && port.parse::<u16>().is_ok_and(|port| port != 0)
    })
}

/// Whether two listeners of one transport take the same packets or connections. Port 0 never clashes: the system picks a
/// free port.
fn clash(a: SocketAddr, b: SocketAddr) -> bool {
    a.port() != 0
        && a.port() == b.port()
        && a.is_ipv4() == b.is_ipv4()
        && (a.ip() == b.ip() || a.ip().is_unspecified() || b.ip().is_unspecified())
}

#[cfg(test)]
mod tests;
