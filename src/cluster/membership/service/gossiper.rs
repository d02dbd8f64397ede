//! Starts chitchat and reads its node states.

use std::net::SocketAddr;
use std::time::Duration;

use chitchat::transport::Transport;
use chitchat::{Chitchat, ChitchatConfig, ChitchatHandle, ChitchatId, FailureDetectorConfig, ProtocolVersion};
use tokio::time::timeout;

use super::types::{MembershipConfig, MembershipError};
use crate::cluster::membership::advertised::Advertised;
use crate::cluster::membership::view::{ObservedNode, Start};

/// How long a start may take; nearly all of it is looking up the seeds' host names.
const START: Duration = Duration::from_secs(20);
/// A node is dead after a silence of this many of its usual intervals. Healthy networks show up to six and a half.
const PHI: f64 = 8.0;
/// Longer silences do not count towards the usual interval.
const MAX_INTERVAL: Duration = Duration::from_secs(10);
/// How long a dead node stays known.
const DEAD_NODE_GRACE: Duration = Duration::from_secs(15 * 60);
/// No key is ever deleted, so nothing waits for this.
const DELETED_KEY_GRACE: Duration = DEAD_NODE_GRACE;

/// Starts gossip as `generation`, which must be greater than that of any earlier start, with `more_seeds` added
/// to the configured ones.
pub(super) async fn start(
    config: &MembershipConfig,
    generation: u64,
    more_seeds: &[SocketAddr],
    own: &Advertised,
    transport: &dyn Transport,
) -> Result<ChitchatHandle, MembershipError> {
    let chitchat = ChitchatConfig {
        chitchat_id: ChitchatId::new(config.me.id.as_str(), generation, config.advertise),
        cluster_id: config.cluster.clone(),
        gossip_interval: config.gossip_interval,
        listen_addr: config.listen,
        seed_nodes: config.seeds.iter().cloned().chain(more_seeds.iter().map(SocketAddr::to_string)).collect(),
        failure_detector_config: FailureDetectorConfig {
            phi_threshold: PHI,
            max_interval: MAX_INTERVAL,
            // The usual interval until the first heartbeat. The default of 5 s would hide a death for half a minute.
            initial_interval: config.gossip_interval,
            dead_node_grace_period: DEAD_NODE_GRACE,
            ..FailureDetectorConfig::default()
        },
        marked_for_deletion_grace_period: DELETED_KEY_GRACE,
        catchup_callback: None,
        extra_liveness_predicate: None,
        // Compresses the list of all nodes that is in each message, so that a datagram of some dozens of nodes is not
        // fragmented. No release of ours speaks V0, and chitchat miscounts when both are mixed.
        protocol_version: ProtocolVersion::V1,
    };
    let started = chitchat::spawn_chitchat(chitchat, own.to_keys(), transport);
    timeout(START, started).await.map_err(|_| MembershipError::Seeds)?.map_err(MembershipError::Gossip)
}

/// All node states known to gossip, except the current start of this node.
pub(super) fn observations(chitchat: &Chitchat) -> Vec<ObservedNode> {
    let live: std::collections::HashSet<&ChitchatId> = chitchat.live_nodes().collect();
    let others = chitchat.node_states().iter().filter(|(id, _)| *id != chitchat.self_chitchat_id());
    others
        .map(|(id, state)| ObservedNode {
            start: Start { id: id.node_id.clone(), generation: id.generation_id, gossip: id.gossip_advertise_addr },
            alive: live.contains(id),
            heartbeat: state.heartbeat().into(),
            advertised: Advertised::read(&id.node_id, |key| state.get(key)),
        })
        .collect()
}
