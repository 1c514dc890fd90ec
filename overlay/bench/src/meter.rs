//! What the kernel says that a process has used (`proc(5)`).

use std::fs;

use anyhow::Context as _;
use tokio::time::Instant;

/// Time and the processor time of both sides since a moment.
#[derive(Debug)]
pub(crate) struct Meter {
    server_pid: u32,
    started: Instant,
    cpu_before: f64,
}

impl Meter {
    pub(crate) fn start(server_pid: u32) -> anyhow::Result<Self> {
        Ok(Self { server_pid, cpu_before: cpu_of_both(server_pid)?, started: Instant::now() })
    }

    pub(crate) fn stop(&self) -> anyhow::Result<Used> {
        let wall_seconds = self.started.elapsed().as_secs_f64();
        Ok(Used { wall_seconds, cpu_seconds: cpu_of_both(self.server_pid)? - self.cpu_before })
    }
}

/// What a measurement has used.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Used {
    pub(crate) wall_seconds: f64,
    /// User and system time of client and server together; the kernel counts in steps of 10 ms.
    pub(crate) cpu_seconds: f64,
}

/// The processor seconds, user and system, that a process has used.
pub(crate) fn cpu_seconds(pid: u32) -> anyhow::Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).context("the processor time of a process cannot be read")?;
    // The second field is the program's name in parentheses, and may hold blanks; utime and stime are the 14th and 15th.
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks: Option<Vec<f64>> = after_name.split_whitespace().skip(11).take(2).map(|ticks| ticks.parse().ok()).collect();
    let ticks = ticks.filter(|ticks| ticks.len() == 2).context("/proc/PID/stat is not as expected")?;
    Ok(ticks.iter().sum::<f64>() / TICKS_PER_SECOND)
}

/// The memory of a process that is resident, in KiB.
pub(crate) fn resident_kib(pid: u32) -> anyhow::Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).context("the memory of a process cannot be read")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("/proc/PID/status has no VmRSS")?;
    let kib = line.trim().trim_end_matches("kB").trim();
    kib.parse().context("VmRSS is not a number")
}

fn cpu_of_both(server_pid: u32) -> anyhow::Result<f64> {
    Ok(cpu_seconds(std::process::id())? + cpu_seconds(server_pid)?)
}

/// `USER_HZ`, which is 100 on every Linux that Rust's standard library supports.
const TICKS_PER_SECOND: f64 = 100.0;
