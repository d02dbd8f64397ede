//! The command line of the bench, after `cargo bench --bench peers --`.

use std::net::SocketAddrV4;
use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};

use crate::subject::Subject;

/// Compares Tidings with aquatic and with a bare responder on pinned cores.
#[derive(Debug, Parser)]
pub struct Args {
    /// Rounds; every server is measured once in each, and medians are reported.
    #[arg(long, default_value_t = 5)]
    pub rounds: usize,
    /// Length of the measured window in seconds (UDP: rounded up to the load tester's reports of 5 s).
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=600))]
    pub seconds: u64,
    /// Measure these servers only.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = Subject::USUAL)]
    only: Vec<Subject>,
    /// Measure these parts only.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Part::Udp, Part::Http, Part::Memory])]
    parts: Vec<Part>,
    /// Another build of Tidings, such as the last release, to be measured as well: `reference` in the table.
    #[arg(long, value_name = "BINARY")]
    pub reference: Option<PathBuf>,
    /// Peers in every reply of the bare UDP responder [default: the least mean that the trackers of this run returned]
    #[arg(long)]
    pub bare_peers: Option<usize>,
    /// Write every sample as JSON.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Write the table into docs/performance.md and the chart to docs/performance.svg.
    #[arg(long)]
    pub write_docs: bool,
    /// Given by `cargo bench` to every bench.
    #[arg(long, hide = true)]
    bench: bool,
    /// The bare responders: this binary runs itself as their process.
    #[command(subcommand)]
    pub bare: Option<Bare>,
}

/// A part of the bench.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// UDP announces by `aquatic_udp_load_test`.
    Udp,
    /// HTTP keep-alive announces by `wrk`.
    Http,
    /// Resident memory with a million swarms.
    Memory,
}

/// The hidden subcommands.
#[derive(Debug, Clone, Copy, Subcommand)]
pub enum Bare {
    /// Answer UDP requests without looking anything up.
    #[command(hide = true)]
    BareUdp {
        /// Address to answer on.
        listen: SocketAddrV4,
        /// Peers in every announce reply.
        peers: usize,
    },
    /// Answer HTTP requests with a constant body.
    #[command(hide = true)]
    BareHttp {
        /// Address to answer on.
        listen: SocketAddrV4,
        /// Bytes of the body.
        body: usize,
    },
}

impl Args {
    /// The servers to measure, the trackers before the bare responder, whose replies are made as long as theirs.
    pub fn subjects(&self) -> impl Iterator<Item = Subject> + '_ {
        let wanted =
            |subject| self.only.contains(&subject) || (subject == Subject::Reference && self.reference.is_some());
        Subject::ALL.into_iter().filter(move |subject| wanted(*subject))
    }

    /// Whether `part` is to be measured.
    pub fn wants(&self, part: Part) -> bool {
        self.parts.contains(&part)
    }
}
