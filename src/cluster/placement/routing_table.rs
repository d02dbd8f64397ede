//! Where a request for a partition goes, and which nodes receive the changes that this node accepts for it.

use std::net::SocketAddr;

use crate::cluster::placement::preference::RegionPlacement;
use crate::cluster::{Member, Members, NodeId, Placement, Region};
use crate::swarm::{Partition, PartitionCount};

#[cfg(test)]
mod tests;

/// The position of a node in a [`RoutingTable`]; of no meaning in another one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeIndex(pub u16);

impl NodeIndex {
    /// As a position in a list of all nodes.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// A node of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableNode {
    pub id: NodeId,
    pub region: Region,
    /// The node's start time, as in [`Member::incarnation`].
    pub incarnation: u64,
    /// Where it accepts links.
    pub link: SocketAddr,
    pub alive: bool,
}

/// For each partition the nodes that serve it and those that receive its changes, as one node sees it now. Rebuilt when the
/// members or the placement change; lookups allocate nothing. A partition that does not exist has no nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoutingTable {
    nodes: Vec<TableNode>,
    me: NodeIndex,
    fingerprint: u64,
    alone: bool,
    partitions: PartitionCount,
    rows: Vec<Row>,
    /// The lists of all partitions: candidates, placed, replicas, cross-region, then those of the next one.
    lists: Vec<NodeIndex>,
}

/// Where the lists of a partition are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Row {
    start: u32,
    in_region: u16,
    candidates: u16,
    placed: u16,
    replicas: u16,
    cross_region: u16,
    placed_here: bool,
    held_here: bool,
    placed_without_copy: bool,
}

impl RoutingTable {
    /// Makes the table of node `me`. Nodes of the placement that are no members are left out, as their
    /// addresses are unknown. If `me` is no member, then all others are in other regions, and nothing is placed or held here.
    pub fn build(me: &NodeId, members: &Members, placement: &Placement, partitions: PartitionCount) -> Self {
        let members = &members.0[..members.0.len().min(usize::from(u16::MAX))];
        let own = members.iter().position(|member| member.id == *me);
        let regions = regions(members, placement, own.map(|at| &members[at].region));
        let mut table = Self {
            nodes: members.iter().map(TableNode::from).collect(),
            me: NodeIndex(own.unwrap_or(members.len()) as u16),
            fingerprint: placement.fingerprint(),
            alone: members.iter().all(|member| member.id == *me),
            partitions,
            rows: Vec::with_capacity(usize::from(partitions.get())),
            lists: Vec::new(),
        };
        for partition in partitions.iter() {
            table.add(partition, members, &regions, own.is_some());
        }
        table.lists.shrink_to_fit();
        table
    }

    /// All members, sorted by id; the lists hold indexes into it.
    pub fn nodes(&self) -> &[TableNode] {
        &self.nodes
    }

    /// The node with this index.
    ///
    /// # Panics
    /// When the index is another table's.
    pub fn node(&self, index: NodeIndex) -> &TableNode {
        &self.nodes[index.index()]
    }

    /// The index of a node, if it is a member.
    pub fn index_of(&self, id: &NodeId) -> Option<NodeIndex> {
        self.nodes.binary_search_by(|node| node.id.cmp(id)).ok().map(|at| NodeIndex(at as u16))
    }

    /// The indexes of all nodes.
    pub fn indexes(&self) -> impl Iterator<Item = NodeIndex> + use<> {
        (0..self.nodes.len() as u16).map(NodeIndex)
    }

    /// The region of this node, if it is a member.
    pub fn own_region(&self) -> Option<&Region> {
        self.nodes.get(self.me.index()).map(|me| &me.region)
    }

    /// Whether a node is in the region of this one.
    pub fn is_in_own_region(&self, index: NodeIndex) -> bool {
        Some(&self.node(index).region) == self.own_region()
    }

    /// This node's index in [`Self::nodes`].
    pub fn me(&self) -> NodeIndex {
        self.me
    }

    /// How many partitions there are.
    pub fn partitions(&self) -> PartitionCount {
        self.partitions
    }

    /// The placement's fingerprint.
    pub fn fingerprint(&self) -> u64 {
        self.fingerprint
    }

    /// All live holders of a partition, in the order in which requests try them: those of the own region, first as they
    /// are placed, then other holders, then leaving ones; then those of the other regions likewise, the regions sorted
    /// by name, beginning after the own one.
    pub fn candidates(&self, partition: Partition) -> &[NodeIndex] {
        let row = self.row(partition);
        self.lists(row.start, 0, row.candidates)
    }

    /// The candidates in the own region: the first ones of [`Self::candidates`].
    pub fn in_region(&self, partition: Partition) -> &[NodeIndex] {
        let row = self.row(partition);
        self.lists(row.start, 0, row.in_region)
    }

    /// The nodes of the own region that are to hold a partition, dead ones too.
    pub fn placed(&self, partition: Partition) -> &[NodeIndex] {
        let row = self.row(partition);
        self.lists(row.start, u32::from(row.candidates), row.placed)
    }

    /// Whether this node is to hold a partition.
    pub fn is_placed_here(&self, partition: Partition) -> bool {
        self.row(partition).placed_here
    }

    /// Whether this node holds a partition, by what it gossips itself.
    pub fn is_held_here(&self, partition: Partition) -> bool {
        self.row(partition).held_here
    }

    /// The other nodes of the own region that get every delta: those that are to hold the partition, dead ones too, and
    /// all other holders.
    pub fn replicas(&self, partition: Partition) -> &[NodeIndex] {
        let row = self.row(partition);
        self.lists(row.start, u32::from(row.candidates) + u32::from(row.placed), row.replicas)
    }

    /// For each other region the node that gets the deltas: its first candidate. If no node there holds the partition, the
    /// first live node of those assigned to it, or the first of them if all are dead.
    pub fn first_in_other_regions(&self, partition: Partition) -> &[NodeIndex] {
        let row = self.row(partition);
        let before = u32::from(row.candidates) + u32::from(row.placed) + u32::from(row.replicas);
        self.lists(row.start, before, row.cross_region)
    }

    /// Whether some node of the own region is alive and to hold the partition, but does not hold it yet.
    pub fn placed_without_copy(&self, partition: Partition) -> bool {
        self.row(partition).placed_without_copy
    }

    /// Whether there is no other member, not even a dead one, so that this node serves by itself what it does not hold.
    pub fn is_alone(&self) -> bool {
        self.alone
    }

    /// How many bytes the lists take, without the nodes.
    pub fn size(&self) -> usize {
        size_of_val(self.rows.as_slice()) + size_of_val(self.lists.as_slice())
    }

    fn row(&self, partition: Partition) -> Row {
        self.rows.get(partition.index()).copied().unwrap_or_default()
    }

    fn lists(&self, start: u32, before: u32, count: u16) -> &[NodeIndex] {
        let start = start as usize + before as usize;
        &self.lists[start..start + usize::from(count)]
    }

    /// Adds the next partition. The first of the regions is the own one, if `own`.
    fn add(&mut self, partition: Partition, members: &[Member], regions: &[InRegion<'_>], own: bool) {
        let holds = |node: &NodeIndex| {
            let member = &members[node.index()];
            member.alive && member.held.contains(partition)
        };
        let (home, others) = regions.split_at(usize::from(own));
        let start = self.lists.len();
        let mut row = Row { start: start as u32, ..Row::default() };

        for region in home {
            region.holders(partition, members, &mut self.lists);
        }
        row.in_region = (self.lists.len() - start) as u16;
        let mut cross_region = Vec::new();
        for region in others {
            let first = self.lists.len();
            region.holders(partition, members, &mut self.lists);
            let placed = || region.placed(partition);
            let alive = || placed().find(|node| members[node.index()].alive);
            cross_region.extend(self.lists.get(first).copied().or_else(alive).or_else(|| placed().next()));
        }
        let placed_at = self.lists.len();
        row.candidates = (placed_at - start) as u16;

        for region in home {
            self.lists.extend(region.placed(partition));
        }
        let replicas_at = self.lists.len();
        row.placed = (replicas_at - placed_at) as u16;
        let placed = &self.lists[placed_at..replicas_at];
        row.placed_here = placed.contains(&self.me);
        row.held_here = own && members[self.me.index()].held.contains(partition);
        row.placed_without_copy = placed.iter().any(|node| members[node.index()].alive && !holds(node));

        for at in (placed_at..replicas_at).chain(start..start + usize::from(row.in_region)) {
            let node = self.lists[at];
            if node != self.me && !self.lists[replicas_at..].contains(&node) {
                self.lists.push(node);
            }
        }
        row.replicas = (self.lists.len() - replicas_at) as u16;
        row.cross_region = cross_region.len() as u16;
        self.lists.extend(cross_region);
        self.rows.push(row);
    }
}

impl From<&Member> for TableNode {
    fn from(member: &Member) -> Self {
        Self {
            id: member.id.clone(),
            region: member.region.clone(),
            incarnation: member.incarnation,
            link: member.link,
            alive: member.alive,
        }
    }
}

/// A region's members.
struct InRegion<'a> {
    /// Indexes of those that stay, then of those that leave, each by id.
    members: Vec<NodeIndex>,
    placement: Option<&'a RegionPlacement>,
    /// The members' indexes of the placement's nodes.
    placed: Vec<Option<NodeIndex>>,
}

impl InRegion<'_> {
    /// The nodes assigned to a partition.
    fn placed(&self, partition: Partition) -> impl Iterator<Item = NodeIndex> {
        let row = self.placement.map(|placement| placement.row(partition)).unwrap_or_default();
        row.iter().filter_map(|at| self.placed[usize::from(*at)])
    }

    /// Appends the live holders of a partition: as they are placed, then others, then leaving ones.
    fn holders(&self, partition: Partition, members: &[Member], lists: &mut Vec<NodeIndex>) {
        let start = lists.len();
        let placed = self.placed(partition).filter(|node| !members[node.index()].leaving);
        for node in placed.chain(self.members.iter().copied()) {
            let member = &members[node.index()];
            if member.alive && member.held.contains(partition) && !lists[start..].contains(&node) {
                lists.push(node);
            }
        }
    }
}

/// The members by region: the own one, then the others by name, beginning after the own one.
fn regions<'a>(members: &[Member], placement: &'a Placement, own: Option<&Region>) -> Vec<InRegion<'a>> {
    let mut names: Vec<&Region> = members.iter().map(|member| &member.region).collect();
    names.sort();
    names.dedup();
    if let Some(own) = own {
        let at = names.partition_point(|name| *name < own);
        names.rotate_left(at);
    }
    let region = |name: &Region| {
        let mut here: Vec<NodeIndex> =
            (0..).map(NodeIndex).zip(members).filter(|(_, member)| member.region == *name).map(|(at, _)| at).collect();
        here.sort_by_key(|at| members[at.index()].leaving);
        let index = |id: &NodeId| here.iter().copied().find(|at| members[at.index()].id == *id);
        let placement = placement.region(name);
        let placed = placement.map(|placement| placement.nodes.iter().map(index).collect()).unwrap_or_default();
        InRegion { members: here, placement, placed }
    };
    names.into_iter().map(region).collect()
}
