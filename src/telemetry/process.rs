//! What the system knows of this process.

use procfs::process::{LimitValue, Process};
use procfs::{ProcResult, WithCurrentSystemInfo};

/// The process at one moment.
#[derive(Clone, Copy, Debug)]
pub struct ProcessStats {
    /// Resident memory, in bytes.
    pub resident_bytes: u64,
    /// Virtual memory, in bytes.
    pub virtual_bytes: u64,
    /// Processor time of all threads, in seconds.
    pub cpu_seconds: f64,
    /// Open file descriptors.
    pub open_fds: usize,
    /// File descriptors that may be open; `None` when there is no limit.
    pub max_fds: Option<u64>,
    /// When the process started, in seconds since the Unix epoch.
    pub start_time_seconds: f64,
}

impl ProcessStats {
    /// Reads it from `/proc`.
    ///
    /// # Errors
    /// When `/proc` is not there or hides the process.
    pub fn read() -> ProcResult<Self> {
        let process = Process::myself()?;
        let stat = process.stat()?;
        let ticks = procfs::ticks_per_second() as f64;
        Ok(Self {
            resident_bytes: stat.rss_bytes().get(),
            virtual_bytes: stat.vsize,
            cpu_seconds: (stat.utime + stat.stime) as f64 / ticks,
            open_fds: process.fd_count()?,
            max_fds: match process.limits()?.max_open_files.soft_limit {
                LimitValue::Value(limit) => Some(limit),
                LimitValue::Unlimited => None,
            },
            start_time_seconds: procfs::boot_time_secs()? as f64 + stat.starttime as f64 / ticks,
        })
    }
}
