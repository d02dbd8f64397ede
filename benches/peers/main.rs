//! `cargo bench --bench peers`: Tidings beside aquatic and a bare responder, on pinned cores.
//!
//! Every round starts each server afresh on core 0, fills it, then measures it under load from core 1, so that the
//! servers alternate and a slow minute of the machine touches all of them. See `docs/performance.md` for what the
//! numbers mean and how to repeat them.

#![expect(clippy::disallowed_methods, reason = "a bench measures by the real clock")]

mod args;
mod bare_http;
mod bare_udp;
mod chart;
mod docs;
mod http_client;
mod http_load;
mod install;
mod machine;
mod memory;
mod report;
mod servers;
mod subject;
mod udp_load;

use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use clap::Parser;

use crate::args::{Args, Bare, Part};
use crate::http_load::HttpLoad;
use crate::install::Tools;
use crate::report::{Report, Rows, Sample};
use crate::servers::{BareReply, Server, Transport};
use crate::udp_load::UdpLoad;

fn main() -> ExitCode {
    let args = Args::parse();
    let outcome = match args.bare {
        Some(Bare::BareUdp { listen, peers }) => bare_udp::run(listen, peers),
        Some(Bare::BareHttp { listen, body }) => bare_http::run(listen, body),
        None => bench(&args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("peers: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn bench(args: &Args) -> Result<()> {
    let cores = std::thread::available_parallelism()?.get();
    ensure!(
        cores >= 2,
        "this bench needs two cores, one for the server and one for the load; this machine has {cores}"
    );

    let tools = Tools::prepare(args)?;
    let mut report = Report::new(args);
    if args.wants(Part::Udp) {
        report.udp = udp_rounds(args, &tools)?;
    }
    if args.wants(Part::Http) {
        report.http = http_rounds(args, &tools)?;
    }
    if args.wants(Part::Memory) {
        report.memory = memory::measure(args, &tools)?;
    }

    println!("\n{}", report.markdown());
    if let Some(path) = &args.json {
        let json = serde_json::to_string_pretty(&report)?;
        std::fs::write(path, json).with_context(|| format!("cannot write {}", path.display()))?;
    }
    if args.write_docs {
        docs::write(&report)?;
    }
    Ok(())
}

fn udp_rounds(args: &Args, tools: &Tools) -> Result<Rows> {
    let mut rows = Rows::default();
    for round in 1..=args.rounds {
        for subject in args.subjects() {
            let peers = args.bare_peers.or(rows.least_peers()).unwrap_or(udp_load::PEERS_WANTED);
            let server = Server::start(tools, subject, Transport::Udp, BareReply::Peers(peers))?;
            let sample = UdpLoad { tools, seconds: args.seconds }
                .run(&server)
                .with_context(|| format!("UDP, {subject}, round {round} (log: {})", server.log().display()))?;
            progress("UDP", round, args, subject, &sample);
            rows.push(subject, sample);
        }
    }
    Ok(rows)
}

fn http_rounds(args: &Args, tools: &Tools) -> Result<Rows> {
    let mut rows = Rows::default();
    let load = HttpLoad::new(tools, args.seconds)?;
    for round in 1..=args.rounds {
        for subject in args.subjects().filter(|subject| !subject.is_wildcard()) {
            let body = rows.least_body().unwrap_or(http_load::DEFAULT_BODY);
            let server = Server::start(tools, subject, Transport::Http, BareReply::Bytes(body))?;
            let sample = load
                .run(&server)
                .with_context(|| format!("HTTP, {subject}, round {round} (log: {})", server.log().display()))?;
            progress("HTTP", round, args, subject, &sample);
            rows.push(subject, sample);
        }
    }
    Ok(rows)
}

fn progress(transport: &str, round: usize, args: &Args, subject: subject::Subject, sample: &Sample) {
    eprintln!(
        "{transport} round {round}/{} {subject:<17} {:>9.0} replies/s {:>9.0} per server CPU second ({:.0} % busy)",
        args.rounds,
        sample.per_second(),
        sample.per_cpu_second(),
        100.0 * sample.cpu_seconds / sample.seconds,
    );
}
