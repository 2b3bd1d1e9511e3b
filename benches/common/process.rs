//! What a process has used, as the kernel counts it: CPU time by thread, and memory.
//!
//! CPU time is the sum over the threads, in nanoseconds. Threads that have ended are missing in it, so it
//! is compared with the kernel's own count for the process, which is coarse and has them.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::common::fault::{During as _, Fault};

/// A tick of `/proc/PID/stat`: `USER_HZ` is 100 wherever Linux runs today.
const TICK_NS: u64 = 10_000_000;

/// How far the two counts may differ by rounding and by when they are read.
const DISAGREEMENT_NS: u64 = 4 * TICK_NS;

/// The CPU time of a process up to now.
#[derive(Debug, Clone)]
pub(crate) struct Cpu {
    threads: BTreeMap<u32, (String, u64)>,
    process_ns: u64,
}

/// The CPU time of a process between two moments.
#[derive(Debug, Clone, Default)]
pub(crate) struct Spent {
    /// All of it.
    pub(crate) ns: u64,
    /// By the names of the threads.
    pub(crate) by_thread: BTreeMap<String, u64>,
}

impl Cpu {
    /// What process `pid` has used so far.
    pub(crate) fn of(pid: u32) -> Result<Self, Fault> {
        let doing = "CPU time of a process";
        let mut threads = BTreeMap::new();
        for task in fs::read_dir(format!("/proc/{pid}/task")).during(doing)? {
            let task = task.during(doing)?.path();
            // A thread may end while we look.
            if let Some((id, name, ns)) = thread(&task) {
                threads.insert(id, (name, ns));
            }
        }
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).during(doing)?;
        let ticks = ticks(&stat).ok_or_else(|| Fault::new("/proc/PID/stat is not understood"))?;
        Ok(Self { threads, process_ns: ticks * TICK_NS })
    }

    /// What was used since `earlier`.
    pub(crate) fn since(&self, earlier: &Self) -> Spent {
        let mut spent = Spent::default();
        for (id, (name, ns)) in &self.threads {
            let before = earlier.threads.get(id).map_or(0, |(_, ns)| *ns);
            let used = ns.saturating_sub(before);
            spent.ns += used;
            *spent.by_thread.entry(name.clone()).or_default() += used;
        }
        let by_process = self.process_ns.saturating_sub(earlier.process_ns);
        if by_process > spent.ns + spent.ns / 50 + DISAGREEMENT_NS {
            spent.by_thread.insert("(ended)".to_owned(), by_process - spent.ns);
            spent.ns = by_process;
        }
        spent
    }
}

fn thread(task: &Path) -> Option<(u32, String, u64)> {
    let id = task.file_name()?.to_str()?.parse().ok()?;
    let name = fs::read_to_string(task.join("comm")).ok()?.trim().to_owned();
    let schedule = fs::read_to_string(task.join("schedstat")).ok()?;
    Some((id, name, schedule.split_whitespace().next()?.parse().ok()?))
}

/// User and system time, with that of threads that have ended.
fn ticks(stat: &str) -> Option<u64> {
    // The name, in parentheses, may hold anything; what follows the last of them is numbers.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

/// The memory of a process, in bytes.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Memory {
    /// What is its own and no file's.
    pub(crate) anonymous: u64,
    /// All that is in memory now.
    pub(crate) rss: u64,
    /// The most that ever was.
    pub(crate) rss_peak: u64,
}

impl Memory {
    /// Of process `pid`.
    pub(crate) fn of(pid: u32) -> Result<Self, Fault> {
        let status =
            fs::read_to_string(format!("/proc/{pid}/status")).during("memory of a process")?;
        let bytes = |key: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(key));
            let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
            kib.map(|kib| kib * 1024)
                .ok_or_else(|| Fault::new(format!("/proc/PID/status has no {key}")))
        };
        Ok(Self {
            anonymous: bytes("RssAnon:")?,
            rss: bytes("VmRSS:")?,
            rss_peak: bytes("VmHWM:")?,
        })
    }
}
