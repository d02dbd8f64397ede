//! The typed view of a cluster's members.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::swarm::{Partition, PartitionCount};
use serde::{Deserialize, Serialize};

/// The name of a node, unique in its cluster (`node.id`).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
pub struct NodeId(Arc<str>);

/// The name of a region (`node.region`).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
pub struct Region(Arc<str>);

macro_rules! name {
    ($type:ident) => {
        impl $type {
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl From<&str> for $type {
            fn from(name: &str) -> Self {
                Self(name.into())
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name!(NodeId);
name!(Region);

/// One node as the others see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    pub id: NodeId,
    pub region: Region,
    /// When this process started, in milliseconds since the Unix epoch; greater for later starts.
    pub incarnation: u64,
    /// Where it accepts links from other nodes.
    pub link: SocketAddr,
    /// Its share of the partitions, relative to the other nodes of its region; 1 by default.
    pub weight: u16,
    /// It is about to leave and gives its partitions away.
    pub leaving: bool,
    /// The partitions that it has in sync and answers for.
    pub held: PartitionSet,
    /// Its heartbeats arrive.
    pub alive: bool,
}

/// All members that are known, dead ones of the last minutes included: sorted by id, one entry per node, this node included.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Members(pub Vec<Member>);

impl Members {
    pub fn get(&self, id: &NodeId) -> Option<&Member> {
        self.0.binary_search_by(|member| member.id.cmp(id)).ok().map(|at| &self.0[at])
    }
}

#[derive(Clone, Default, PartialEq, Eq)]
pub struct PartitionSet {
    words: Vec<u64>,
}

/// The text is not a set of partitions.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("not a set of partitions: expected ranges such as 0-3,7")]
pub struct PartitionSetError;

impl PartitionSet {
    /// All partitions.
    pub fn all(partitions: PartitionCount) -> Self {
        partitions.iter().collect()
    }

    pub fn contains(&self, partition: Partition) -> bool {
        self.words.get(partition.index() / 64).is_some_and(|word| word >> (partition.0 % 64) & 1 == 1)
    }

    pub fn insert(&mut self, partition: Partition) {
        let at = partition.index() / 64;
        if self.words.len() <= at {
            self.words.resize(at + 1, 0);
        }
        self.words[at] |= 1 << (partition.0 % 64);
    }

    pub fn remove(&mut self, partition: Partition) {
        if let Some(word) = self.words.get_mut(partition.index() / 64) {
            *word &= !(1 << (partition.0 % 64));
        }
        // Trailing zero words would make equal sets compare as different.
        while self.words.last() == Some(&0) {
            self.words.pop();
        }
    }

    pub fn len(&self) -> usize {
        self.words.iter().map(|word| word.count_ones() as usize).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    /// Its partitions in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = Partition> + '_ {
        (0..self.words.len() * 64)
            .map(|partition| Partition(partition as u16))
            .filter(|partition| self.contains(*partition))
    }

    /// Reads what [`fmt::Display`] writes: ranges such as `0-3,7`; partitions are below `count`.
    ///
    /// # Errors
    /// When the text is anything else.
    pub fn parse(text: &str, count: u16) -> Result<Self, PartitionSetError> {
        let mut set = Self::default();
        for range in text.split(',').filter(|range| !range.is_empty()) {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            let [first, last]: [u16; 2] =
                [first.parse().map_err(|_| PartitionSetError)?, last.parse().map_err(|_| PartitionSetError)?];
            if first > last || last >= count {
                return Err(PartitionSetError);
            }
            (first..=last).for_each(|partition| set.insert(Partition(partition)));
        }
        Ok(set)
    }
}

impl FromIterator<Partition> for PartitionSet {
    fn from_iter<I: IntoIterator<Item = Partition>>(partitions: I) -> Self {
        let mut set = Self::default();
        partitions.into_iter().for_each(|partition| set.insert(partition));
        set
    }
}

impl fmt::Display for PartitionSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut partitions = self.iter().peekable();
        let mut separator = "";
        while let Some(first) = partitions.next() {
            let mut last = first;
            while let Some(next) = partitions.next_if(|next| next.0 == last.0 + 1) {
                last = next;
            }
            if first == last {
                write!(f, "{separator}{first}")?;
            } else {
                write!(f, "{separator}{first}-{last}")?;
            }
            separator = ",";
        }
        Ok(())
    }
}

impl fmt::Debug for PartitionSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{{self}}}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_set_survives_its_text(partitions in prop::collection::btree_set(0u16..300, 0..200), gone in 0u16..300) {
            let mut set: PartitionSet = partitions.iter().copied().map(Partition).collect();
            prop_assert_eq!(PartitionSet::parse(&set.to_string(), 300), Ok(set.clone()));
            prop_assert_eq!(set.iter().collect::<Vec<_>>(), partitions.iter().copied().map(Partition).collect::<Vec<_>>());
            set.remove(Partition(gone));
            let left: PartitionSet = partitions.iter().copied().filter(|at| *at != gone).map(Partition).collect();
            prop_assert_eq!(&set, &left);
            prop_assert_eq!(set.len(), left.iter().count());
        }

        #[test]
        fn no_text_panics(text in "[0-9,-]{0,12}|.{0,12}") {
            let _ = PartitionSet::parse(&text, 256);
        }
    }

    #[test]
    fn texts_that_are_not_sets_are_refused() {
        for text in ["x", "1-", "-1", "3-1", "256", "0-256", "1--2", "1 2"] {
            assert_eq!(PartitionSet::parse(text, 256), Err(PartitionSetError), "{text}");
        }
        assert_eq!(PartitionSet::parse("", 256), Ok(PartitionSet::default()));
        assert_eq!(PartitionSet::all(PartitionCount::new(256)).to_string(), "0-255");
    }
}
