//! What happens when an owner failed and was restarted: it is empty, so it gets its records back from the last snapshot
//! and from other nodes.

use std::sync::{Arc, OnceLock};

use ractor::ActorRef;

use super::core::OnOwnerRestart;
use crate::partition::{ManagerMessage, snapshot};

#[derive(Clone, Default)]
pub struct OwnerRestarts {
    /// Restores owners from the snapshot.
    pub refill: snapshot::RefillTrigger,
    manager: Arc<OnceLock<ActorRef<ManagerMessage>>>,
}

impl OwnerRestarts {
    /// Restarts are reported to this manager from now on. Owners start before it does.
    pub fn set_manager(&self, manager: ActorRef<ManagerMessage>) {
        // Set once per node, so there is none yet.
        let _ = self.manager.set(manager);
    }

    pub fn callback(&self) -> OnOwnerRestart {
        let restarts = self.clone();
        Arc::new(move |owner| {
            tracing::debug!(event = "owner_restarted", owner = owner.0, "an owner was restarted and is being refilled");
            restarts.refill.request();
            if let Some(manager) = restarts.manager.get() {
                // It ends only with the node.
                let _ = manager.cast(ManagerMessage::Replaced(owner));
            }
        })
    }
}
