//! The machine that the numbers belong to.

use std::fmt;
use std::process::Command;

use serde::Serialize;

/// What a reader needs to judge the numbers.
#[derive(Debug, Serialize)]
pub struct Machine {
    processor: String,
    cores: usize,
    memory_gib: u64,
    kernel: String,
    compiler: String,
}

impl Machine {
    /// Describes this machine; what cannot be read is "unknown".
    pub fn here() -> Self {
        let memory_kib = field("/proc/meminfo", "MemTotal").trim_end_matches(" kB").parse::<u64>().unwrap_or(0);
        let compiler =
            Command::new("rustc").arg("--version").output().ok().and_then(|out| String::from_utf8(out.stdout).ok());
        Self {
            processor: field("/proc/cpuinfo", "model name"),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            memory_gib: memory_kib.div_ceil(1024 * 1024),
            kernel: std::fs::read_to_string("/proc/sys/kernel/osrelease")
                .map_or("unknown".into(), |text| text.trim().into()),
            compiler: compiler.map_or("unknown".into(), |text| text.trim().into()),
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { processor, cores, memory_gib, kernel, compiler } = self;
        writeln!(f, "{processor}, {cores} cores, {memory_gib} GiB; Linux {kernel}; {compiler}; aquatic 0.9.0.")
    }
}

/// The value of the first `key : value` line of a file in /proc.
fn field(path: &str, key: &str) -> String {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let value = text.lines().find_map(|line| line.strip_prefix(key)?.trim_start().strip_prefix(':'));
    value.map_or_else(|| "unknown".to_owned(), |value| value.trim().to_owned())
}
