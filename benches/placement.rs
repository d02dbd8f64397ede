//! How evenly placement spreads partitions, what a join and a leave move, and what it costs. Prints the table of
//! `docs/scale.md`; of many sets of random names it gives the mean and the worst.

#![expect(clippy::disallowed_methods, reason = "a bench measures by the real clock")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use tidings::cluster::{Member, Members, NodeId, Placement, Region, RoutingTable, StableMember, StableMembers};
use tidings::swarm::{Partition, PartitionCount};

const REPLICAS: u8 = 2;
const REGIONS: [&str; 3] = ["ap", "eu", "us"];
/// Nodes of a region, partitions, sets of names.
const SIZES: [(usize, u16, u32); 8] = [
    (3, 256, 400),
    (10, 256, 400),
    (10, 1024, 400),
    (30, 1024, 100),
    (30, 4096, 100),
    (100, 4096, 100),
    (100, 8192, 100),
    (100, 16384, 100),
];

/// SplitMix64.
fn random(seed: u64) -> u64 {
    let z = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// The mean and the worst of some samples.
#[derive(Default)]
struct Samples(Vec<f64>);

impl Samples {
    fn show(&self) -> String {
        let mean = self.0.iter().sum::<f64>() / self.0.len() as f64;
        format!("{mean:.2}, {:.2}", self.0.iter().copied().fold(0.0, f64::max))
    }
}

/// Half of the names count up, as operators' do, half are random.
fn ring(set: u32, region: &str, nodes: usize) -> StableMembers {
    let name = |number: usize| match set % 2 {
        0 => format!("{region}-{set}-{number}"),
        _ => format!("{region}-{:016x}", random(u64::from(set) << 32 | number as u64)),
    };
    let member = |number| StableMember { region: region.into(), id: NodeId::from(name(number).as_str()), weight: 1 };
    (0..nodes).map(member).collect()
}

/// The fullest node relative to the mean: of all copies, or of the first ones only.
fn fullest(placement: &Placement, region: &Region, ring: &StableMembers, copies: usize) -> f64 {
    let mut counts = vec![0usize; ring.as_slice().len()];
    for partition in placement.partitions().iter() {
        for id in placement.list(region, partition).take(copies) {
            counts[ring.as_slice().partition_point(|member| member.id < *id)] += 1;
        }
    }
    let total: usize = counts.iter().sum();
    counts.iter().copied().fold(0, usize::max) as f64 * counts.len() as f64 / total as f64
}

/// The part of all copies that is new.
fn moved(before: &Placement, after: &Placement, region: &Region) -> f64 {
    let (mut all, mut new) = (0u32, 0u32);
    for partition in after.partitions().iter() {
        for id in after.list(region, partition) {
            all += 1;
            new += u32::from(before.list(region, partition).all(|other| other != id));
        }
    }
    f64::from(new) / f64::from(all)
}

/// How long it took, and what came out.
fn timed<T>(run: impl FnOnce() -> T) -> (Duration, T) {
    let start = Instant::now();
    let result = black_box(run());
    (start.elapsed(), result)
}

/// The table of a node among three regions, all of which hold what is placed with them.
fn table(nodes: usize, partitions: u16) -> (Duration, usize) {
    let ring: StableMembers =
        REGIONS.into_iter().flat_map(|region| ring(0, region, nodes).as_slice().to_vec()).collect();
    let placement = Placement::compute(&ring, PartitionCount::new(partitions), REPLICAS);
    let member = |member: &StableMember| Member {
        id: member.id.clone(),
        region: member.region.clone(),
        incarnation: 1,
        link: ([127, 0, 0, 1], 7000).into(),
        weight: member.weight,
        leaving: false,
        held: (0..partitions)
            .filter(|at| placement.list(&member.region, Partition(*at)).any(|id| *id == member.id))
            .map(Partition)
            .collect(),
        alive: true,
    };
    let mut members = Members(ring.as_slice().iter().map(member).collect());
    members.0.sort_by(|a, b| a.id.cmp(&b.id));
    let me = members.0[0].id.clone();
    let mut times: Vec<_> = (0..9)
        .map(|_| timed(|| RoutingTable::build(&me, &members, &placement, PartitionCount::new(partitions))))
        .collect();
    times.sort_by_key(|(time, _)| *time);
    let (time, table) = &times[0];
    (*time, table.size())
}

fn row(nodes: usize, partitions: u16, sets: u32) {
    let region = Region::from("eu");
    let [mut copies, mut owned, mut join, mut leave] = [const { Samples(Vec::new()) }; 4];
    let mut times = Vec::new();
    for set in 0..sets {
        let (before, after) = (ring(set, "eu", nodes), ring(set, "eu", nodes + 1));
        let (time, placed) = timed(|| Placement::compute(&before, PartitionCount::new(partitions), REPLICAS));
        times.push(time);
        let joined = Placement::compute(&after, PartitionCount::new(partitions), REPLICAS);
        copies.0.push(fullest(&placed, &region, &before, usize::from(REPLICAS)));
        owned.0.push(fullest(&placed, &region, &before, 1));
        join.0.push(moved(&placed, &joined, &region) * (nodes + 1) as f64);
        // Of those one more nodes the one that had joined goes again.
        leave.0.push(moved(&joined, &placed, &region) * (nodes + 1) as f64);
    }
    times.sort();
    let [copies, owned, join, leave] = [copies, owned, join, leave].map(|samples| samples.show());
    let compute = times[0].as_secs_f64() * 1e3;
    let (build, size) = table(nodes, partitions);
    println!(
        "| {nodes} | {partitions} | {copies} | {owned} | {join} | {leave} | {compute:.2} ms | {:.2} ms | {} KiB |",
        build.as_secs_f64() * 1e3,
        size.div_ceil(1024)
    );
}

fn main() {
    println!("| Nodes | Partitions | Copies | Ownerships | Join | Leave | Placement | Routing table | its size |");
    println!("| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |");
    SIZES.into_iter().for_each(|(nodes, partitions, sets)| row(nodes, partitions, sets));
}
