//! A hundred nodes in one process, on virtual time: how soon all of them know what happens, what they send each other
//! for it (`gossip.rs`), and how partitions move (`rebalancing.rs`). Prints the tables of `docs/scale.md`; they are the
//! same on any machine, but for the processor time.
//!
//! ```console
//! $ cargo bench --bench scale               # all sizes; five minutes
//! $ cargo bench --bench scale -- gossip 30  # one table, of 30 nodes
//! ```

#![expect(clippy::disallowed_methods, reason = "a bench measures by the real clock")]

mod gossip;
mod rebalancing;

/// Nodes in three regions, and partitions.
const SIZES: [(usize, u16); 4] = [(12, 256), (30, 1024), (60, 1024), (99, 1024)];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let chosen: Vec<usize> = arguments.iter().filter_map(|argument| argument.parse().ok()).collect();
    let wanted = |table: &str| {
        let named = |name: &str| arguments.iter().any(|argument| argument == name);
        named(table) || !named("gossip") && !named("rebalancing")
    };
    let sizes = || SIZES.into_iter().filter(|(nodes, _)| chosen.is_empty() || chosen.contains(nodes));
    if wanted("gossip") {
        println!("{}", gossip::HEAD);
        sizes().for_each(|(nodes, partitions)| println!("{}", gossip::row(nodes, partitions)));
    }
    if wanted("rebalancing") {
        println!("{}", rebalancing::HEAD);
        sizes().for_each(|(nodes, partitions)| println!("{}", rebalancing::rows(nodes, partitions)));
    }
}
