//! The keys of a node: how they are loaded, loaded again and put to use.

use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::clock::Clock;
use crate::cluster::gossip::keyring::KeyRing;
use crate::cluster::{KeyDir, KeyDirError, NodeId, key_dir};
use crate::config::Settings;
use crate::link::Security;

/// The directory that a node has its keys from, and those that it seals gossip with.
#[derive(Clone)]
pub struct Keys {
    pub(super) gossip: Arc<ArcSwap<KeyRing>>,
    dir: PathBuf,
    id: NodeId,
}

impl Keys {
    /// Loads the key directory that the settings name; `None` without one.
    ///
    /// # Errors
    /// When a file in it cannot be used.
    pub fn load(settings: &Settings, clock: &dyn Clock) -> Result<Option<(Self, KeyDir)>, KeyDirError> {
        let Some(dir) = settings.cluster.keys.clone() else { return Ok(None) };
        let id = NodeId::from(settings.node.id.as_str());
        let files = KeyDir::load(&dir, &id, clock)?;
        Ok(Some((Self { gossip: Arc::new(ArcSwap::from_pointee(files.gossip.clone())), dir, id }, files)))
    }

    /// Loads the same directory again. Nothing changes until the result is installed.
    ///
    /// # Errors
    /// When a file in it cannot be used.
    pub fn load_again(&self, clock: &dyn Clock) -> Result<KeyDir, KeyDirError> {
        KeyDir::load(&self.dir, &self.id, clock)
    }
}

/// How links are secured with the keys in a directory.
pub(super) fn security(files: &KeyDir) -> Security {
    Security::Tls {
        server: files.server.clone(),
        client: files.client.clone(),
        name: key_dir::node_name,
        verify: key_dir::verify_node,
    }
}
