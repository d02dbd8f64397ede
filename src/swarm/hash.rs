//! The keyed hash that places info hashes and peers. Clients choose both, so without a secret key they could aim many
//! at one place.

use siphasher::sip::SipHasher13;

use super::{InfoHash, SwarmKey};

/// SipHash-1-3 under a secret key. Nodes that share the key agree on every partition.
#[derive(Clone, Copy)]
pub struct KeyedHash(SipHasher13);

impl KeyedHash {
    /// Uses 16 secret bytes.
    pub fn new(key: &[u8; 16]) -> Self {
        Self(SipHasher13::new_with_key(key))
    }

    /// The hash of some bytes.
    pub fn hash(&self, bytes: &[u8]) -> u64 {
        self.0.hash(bytes)
    }

    /// The hash of an info hash: its lowest bits choose the partition, the others the place within it.
    pub fn info_hash(&self, info_hash: &InfoHash) -> u64 {
        self.hash(&info_hash.0)
    }

    /// The key of a swarm.
    pub fn swarm_key(&self, info_hash: InfoHash) -> SwarmKey {
        SwarmKey { hash: self.info_hash(&info_hash), info_hash }
    }
}

impl std::fmt::Debug for KeyedHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KeyedHash(..)")
    }
}
