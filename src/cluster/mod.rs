//! What a node knows of its cluster: the sealed gossip (`gossip/`), who is a member (`membership/`), and which members
//! are assigned and serve which partition (`placement/`).

pub mod gossip;
pub mod key_dir;
pub mod membership;
pub mod placement;

pub use gossip::SealedTransport;
pub use key_dir::{KeyDir, KeyDirError};
pub use membership::{
    Conflict, Me, Member, Members, Membership, MembershipConfig, NodeId, PartitionSet, PartitionSetError, Region,
};
pub use placement::{NodeIndex, Placement, RoutingTable, StableMember, StableMembers, StableMembership, TableNode};
