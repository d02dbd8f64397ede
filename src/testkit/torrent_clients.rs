//! Options of real clients, with everything off that could find peers without the tracker.

use std::path::Path;

use serde_json::{Value, json};

/// The settings of a Transmission that takes the torrents in `watched`, and seeds what it finds in `content` or downloads
/// to there.
pub fn transmission_settings(content: &Path, watched: &Path, port: u16) -> Value {
    json!({
        "dht-enabled": false,
        "download-dir": content,
        "lpd-enabled": false,
        "peer-port": port,
        "pex-enabled": false,
        "port-forwarding-enabled": false,
        "rpc-bind-address": "127.0.0.1",
        "rpc-port": rpc_port(port),
        "utp-enabled": false,
        "watch-dir": watched,
        "watch-dir-enabled": true,
    })
}

/// Where Transmission takes its user's orders.
pub fn rpc_port(port: u16) -> u16 {
    port + 1000
}

/// The options of an aria2 that keeps its own files in `directory`, and seeds what it finds in `content` or downloads to
/// there.
pub fn aria2_options(directory: &Path, content: &Path, port: u16) -> Vec<String> {
    let fixed = [
        "--no-conf",
        "--enable-dht=true",
        "--enable-dht6=false",
        "--bt-enable-lpd=false",
        "--enable-peer-exchange=false",
        "--async-dns=false",
        "--file-allocation=none",
        "--check-integrity=true",
        "--seed-ratio=0.0",
        "--summary-interval=0",
        "--console-log-level=info",
        "--show-console-readout=false",
    ];
    let own = [
        format!("--listen-port={port}"),
        format!("--dht-listen-port={port}"),
        format!("--dht-file-path={}", directory.join("dht.dat").display()),
        format!("--dir={}", content.display()),
    ];
    fixed.map(str::to_owned).into_iter().chain(own).collect()
}
