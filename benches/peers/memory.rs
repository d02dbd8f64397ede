//! Resident memory with a million swarms and two million peers, filled by `tidings load --fill`.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Serialize;

use crate::args::Args;
use crate::install::Tools;
use crate::servers::{BareReply, Server, Transport};
use crate::subject::Subject;
use tidings::testkit::pinned::{LOAD_CORE, Pinned};

/// Swarms to fill in.
pub const SWARMS: u32 = 1_000_000;
/// Distinct IPv4 peers to fill in.
pub const PEERS: u32 = 2_000_000;

const FILL_LIMIT: Duration = Duration::from_secs(600);
/// Lets a server finish what it does after its start, or after the last announce.
const SETTLE: Duration = Duration::from_secs(2);

/// Resident memory of one tracker.
#[derive(Debug, Serialize)]
pub struct Memory {
    /// The tracker.
    pub subject: Subject,
    /// Bytes before the first announce.
    pub empty_bytes: u64,
    /// Bytes when all peers are known.
    pub full_bytes: u64,
}

impl Memory {
    /// Bytes by which the tracker has grown.
    pub fn growth(&self) -> u64 {
        self.full_bytes.saturating_sub(self.empty_bytes)
    }
}

/// Fills each tracker once; memory varies too little between runs for rounds.
pub fn measure(args: &Args, tools: &Tools) -> Result<Vec<Memory>> {
    let trackers = args.subjects().filter(|subject| !subject.is_bare() && !subject.is_wildcard());
    trackers.map(|subject| fill(tools, subject).with_context(|| format!("memory of {subject}"))).collect()
}

fn fill(tools: &Tools, subject: Subject) -> Result<Memory> {
    let server = Server::start(tools, subject, Transport::Udp, BareReply::Peers(0))?;
    std::thread::sleep(SETTLE);
    let empty_bytes = server.process.resident_bytes()?;

    // With --verify no other load follows, and the run fails unless the tracker knows the peers.
    let mut args: Vec<String> =
        ["load", "--mode", "closed", "--fill", "--verify", "--min-known", "99.9", "--json"].map(String::from).into();
    args.extend(["--target".into(), format!("udp://{}", server.address)]);
    args.extend(["--swarms".into(), SWARMS.to_string(), "--peers".into(), PEERS.to_string()]);
    let mut load = Pinned::spawn(LOAD_CORE, "fill", &tools.work, &tools.tidings, args, Stdio::null())?;
    load.finish(FILL_LIMIT)?;

    std::thread::sleep(SETTLE);
    let memory = Memory { subject, empty_bytes, full_bytes: server.process.resident_bytes()? };
    eprintln!("memory {subject:<17} {:>9.1} MB above an empty node", memory.growth() as f64 / 1e6);
    Ok(memory)
}
