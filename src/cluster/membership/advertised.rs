//! What a node advertises in gossip: a few short texts, written and read in one place.

use std::net::SocketAddr;

use crate::cluster::membership::member::{Member, NodeId, PartitionSet, Region};
use crate::swarm::Partition;

/// This node's identity and settings; fixed while the node runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Me {
    pub id: NodeId,
    pub region: Region,
    /// When this process started, in milliseconds since the Unix epoch.
    pub incarnation: u64,
    /// Where it accepts links from other nodes.
    pub link: SocketAddr,
    /// Its share of the partitions, relative to the other nodes of its region; not 0.
    pub weight: u16,
    /// The number of partitions, the same on all nodes.
    pub partitions: u16,
    /// The nodes in each region that hold each partition, the same on all nodes.
    pub replicas: u8,
    /// The version of the link protocol, the same on all nodes.
    pub protocol: u16,
}

/// The identity and state that a node publishes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advertised {
    pub me: Me,
    /// It is about to leave.
    pub leaving: bool,
    pub held: PartitionSet,
}

/// Why an advertisement is unusable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AdvertisedError {
    /// A key is missing; it may still arrive.
    #[error("it does not advertise its {0}")]
    Missing(&'static str),
    #[error("its {0} is malformed")]
    Malformed(&'static str),
}

pub(super) const HELD: &str = "held";
pub(super) const LEAVING: &str = "leaving";
/// The most characters of a name, as in the settings.
const MAX_NAME: usize = 64;

impl Advertised {
    /// The keys and values for gossip.
    pub fn to_keys(&self) -> Vec<(String, String)> {
        let me = &self.me;
        [
            ("region", me.region.to_string()),
            ("link", me.link.to_string()),
            ("incarnation", me.incarnation.to_string()),
            ("weight", me.weight.to_string()),
            ("partitions", me.partitions.to_string()),
            ("replicas", me.replicas.to_string()),
            ("protocol", me.protocol.to_string()),
            (LEAVING, leaving_text(self.leaving).into()),
            (HELD, held_text(&self.held, me.partitions)),
        ]
        .map(|(key, value)| (key.to_owned(), value))
        .into()
    }

    /// Reads the advertisement of node `id`.
    ///
    /// # Errors
    /// See [`AdvertisedError`].
    pub fn read<'a>(id: &str, get: impl Fn(&str) -> Option<&'a str>) -> Result<Self, AdvertisedError> {
        let get = |key: &'static str| get(key).ok_or(AdvertisedError::Missing(key));
        let region = get("region")?;
        if !is_name(id) {
            return Err(AdvertisedError::Malformed("id"));
        }
        if !is_name(region) {
            return Err(AdvertisedError::Malformed("region"));
        }
        let me = Me {
            id: id.into(),
            region: region.into(),
            link: parse("link", get("link")?)?,
            incarnation: parse("incarnation", get("incarnation")?)?,
            weight: parse("weight", get("weight")?)?,
            partitions: parse("partitions", get("partitions")?)?,
            replicas: parse("replicas", get("replicas")?)?,
            protocol: parse("protocol", get("protocol")?)?,
        };
        if me.weight == 0 {
            return Err(AdvertisedError::Malformed("weight"));
        }
        let leaving = match get(LEAVING)? {
            "0" => false,
            "1" => true,
            _ => return Err(AdvertisedError::Malformed(LEAVING)),
        };
        let held = read_held(get(HELD)?, me.partitions).ok_or(AdvertisedError::Malformed(HELD))?;
        Ok(Self { me, leaving, held })
    }

    /// The node as a member.
    pub fn member(&self, alive: bool) -> Member {
        Member {
            id: self.me.id.clone(),
            region: self.me.region.clone(),
            incarnation: self.me.incarnation,
            link: self.me.link,
            weight: self.me.weight,
            leaving: self.leaving,
            held: self.held.clone(),
            alive,
        }
    }
}

fn parse<T: std::str::FromStr>(key: &'static str, text: &str) -> Result<T, AdvertisedError> {
    text.parse().map_err(|_| AdvertisedError::Malformed(key))
}

fn is_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(allowed)
}

pub(super) fn leaving_text(leaving: bool) -> &'static str {
    if leaving { "1" } else { "0" }
}

/// The set as ranges, or as `x` and a hexadecimal bitmap if that is shorter: a value in gossip has less than 64 KiB, and
/// 32768 partitions in ranges may take more.
pub(super) fn held_text(held: &PartitionSet, partitions: u16) -> String {
    let ranges = held.to_string();
    if ranges.len() <= usize::from(partitions / 4) {
        return ranges;
    }
    let mut bitmap = vec![0u8; usize::from(partitions).div_ceil(8)];
    for partition in held.iter() {
        if let Some(byte) = bitmap.get_mut(partition.index() / 8) {
            *byte |= 1 << (partition.0 % 8);
        }
    }
    format!("x{}", hex::encode(bitmap))
}

fn read_held(text: &str, partitions: u16) -> Option<PartitionSet> {
    let Some(digits) = text.strip_prefix('x') else { return PartitionSet::parse(text, partitions).ok() };
    let bitmap = hex::decode(digits).ok()?;
    if bitmap.len() != usize::from(partitions).div_ceil(8) {
        return None;
    }
    let held = |at: &u16| bitmap[usize::from(at / 8)] >> (at % 8) & 1 == 1;
    Some((0..partitions).filter(held).map(Partition).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn advertised(partitions: u16, held: PartitionSet) -> Advertised {
        let me = Me {
            id: "a".into(),
            region: "eu".into(),
            incarnation: 1_700_000_000_000,
            link: "[2001:db8::1]:7072".parse().unwrap(),
            weight: 1,
            partitions,
            replicas: 2,
            protocol: 1,
        };
        Advertised { me, leaving: true, held }
    }

    fn read(keys: &BTreeMap<String, String>) -> Result<Advertised, AdvertisedError> {
        Advertised::read("a", |key| keys.get(key).map(String::as_str))
    }

    proptest! {
        #[test]
        fn an_advertisement_survives_its_texts(
            partitions in prop::sample::select(vec![1u16, 4, 256, 32_768]),
            held in prop::collection::vec(any::<u16>(), 0..2_000),
        ) {
            let held = held.into_iter().map(|at| at % partitions).map(Partition).collect();
            let said = advertised(partitions, held);
            prop_assert_eq!(read(&said.to_keys().into_iter().collect()), Ok(said));
        }

        #[test]
        fn no_advertised_text_panics(key in 0usize..9, text in "[x0-9a-f,-]{0,70}|.{0,20}") {
            let mut keys: BTreeMap<_, _> = advertised(256, PartitionSet::default()).to_keys().into_iter().collect();
            *keys.values_mut().nth(key).unwrap() = text;
            let _ = read(&keys);
        }
    }

    #[test]
    fn the_worst_set_of_partitions_fits_into_a_value() {
        let said = advertised(32_768, (0..32_768).step_by(2).map(Partition).collect());
        let keys: BTreeMap<_, _> = said.to_keys().into_iter().collect();
        assert_eq!(keys["held"].len(), 1 + 32_768 / 4);
        assert_eq!(read(&keys), Ok(said));
    }

    #[test]
    fn missing_and_malformed_texts_are_distinguished() {
        let said: BTreeMap<_, _> = advertised(256, (0..3).map(Partition).collect()).to_keys().into_iter().collect();
        for key in said.keys() {
            let mut keys = said.clone();
            keys.remove(key);
            assert!(matches!(read(&keys), Err(AdvertisedError::Missing(missing)) if missing == key), "{key}");
            keys.insert(key.clone(), "?".into());
            assert!(matches!(read(&keys), Err(AdvertisedError::Malformed(bad)) if bad == key), "{key}");
        }
        let mut keys = said;
        keys.insert("held".into(), "256".into());
        assert_eq!(read(&keys), Err(AdvertisedError::Malformed("held")));
        assert!(Advertised::read("a b", |key| keys.get(key).map(String::as_str)).is_err());
    }
}
