//! Huge pages for the heap.
//!
//! A store is read at random, so with pages of 4 KiB nearly every announce misses the TLB several times, which in a
//! virtual machine costs two page walks each. Most systems give huge pages only to memory for which they were requested, and
//! the allocator does not do so by default, so this worker does it for the heap's mappings as they appear.

use std::time::Duration;

use procfs::process::{MMPermissions, MMapPath, Process};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use crate::net::advise_huge_pages;

/// How often to look for new mappings. What was touched before it was found stays on small pages until the kernel
/// collapses them.
const PERIOD: Duration = Duration::from_secs(1);
/// Mappings of less than two huge pages are left alone: stacks and the like.
const LEAST: u64 = 4 << 20;

/// The worker `huge-pages`, until `stop` turns true. It ends by itself where the system lists no mappings or has no huge
/// pages.
pub async fn advise(mut stop: watch::Receiver<bool>) {
    let mut ticks = interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // Mappings that were advised; a grown one differs from what it was.
    let mut known = Vec::new();
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = async { drop(stop.wait_for(|stop| *stop).await) } => return,
        }
        let Ok(mappings) = heap() else { return };
        for &(start, end) in mappings.iter().filter(|mapping| !known.contains(*mapping)) {
            let advised = usize::try_from(start).ok().zip(usize::try_from(end - start).ok());
            if !advised.is_some_and(|(start, len)| advise_huge_pages(start, len)) {
                return;
            }
        }
        known = mappings;
    }
}

/// The mappings that allocators made for themselves, those without access included: an arena grows into them.
fn heap() -> procfs::ProcResult<Vec<(u64, u64)>> {
    let maps = Process::myself()?.maps()?;
    let heap = maps.into_iter().filter(|map| {
        let executable = map.perms.intersects(MMPermissions::EXECUTE | MMPermissions::SHARED);
        let anonymous = matches!(map.pathname, MMapPath::Anonymous | MMapPath::Heap);
        anonymous && !executable && map.address.1 - map.address.0 >= LEAST
    });
    Ok(heap.map(|map| map.address).collect())
}
