//! The machine that is measured on, and whether it is quiet.

use std::fs;
use std::thread::available_parallelism;

/// A load average above which figures are not to be quoted.
const QUIET_LOAD_MAX: f64 = 0.5;

/// What a reader of figures wants to know of the machine.
#[derive(Debug, Clone)]
pub(crate) struct Machine {
    /// How many processors there are.
    pub(crate) processors: usize,
    /// What they are called.
    pub(crate) model: String,
    /// The kernel's release.
    pub(crate) kernel: String,
    /// The load average over a minute before anything was measured.
    pub(crate) load_before: f64,
}

impl Machine {
    /// This one, now.
    pub(crate) fn this() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let model = read("/proc/cpuinfo")
            .lines()
            .find(|line| line.starts_with("model name"))
            .and_then(|line| Some(line.split_once(':')?.1.trim().to_owned()));
        let load = read("/proc/loadavg");
        Self {
            processors: available_parallelism().map_or(1, usize::from),
            model: model.unwrap_or_else(|| "processor unknown".to_owned()),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            load_before: load.split_whitespace().next().and_then(|n| n.parse().ok()).unwrap_or(0.0),
        }
    }

    /// Whether something else was running that disturbs what is measured.
    pub(crate) fn is_busy(&self) -> bool {
        self.load_before > QUIET_LOAD_MAX
    }
}
