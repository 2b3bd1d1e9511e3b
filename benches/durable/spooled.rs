//! What the spool says of its own work between two moments. Pure.

use crate::common::measure::Sample;
use crate::common::scrape::Scrape;

const SEAL: &str = "standpipe_spool_seal_seconds";
const SYNC: &str = "standpipe_spool_sync_seconds";
const GROUP: &str = "standpipe_spool_group_records";

/// How the threads of the spool's pool are called.
const THREAD: &str = "spool-";

/// The spool's work in one round.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Spooled {
    /// How long frames were encoded and sealed, in seconds, over all writers.
    pub(crate) seal_s: f64,
    /// How long groups were appended and synced.
    pub(crate) sync_s: f64,
    /// How many groups there were.
    pub(crate) groups: f64,
    /// How many records they had.
    pub(crate) records: f64,
    /// How many frames were sealed.
    pub(crate) frames: f64,
    /// The CPU time of the pool's threads, in seconds.
    pub(crate) threads_cpu_s: f64,
}

impl Spooled {
    /// Between two scrapes of a process that used what `sample` says.
    pub(crate) fn between(before: &Scrape, after: &Scrape, sample: &Sample) -> Self {
        let since = |metric: &str, end: &str| {
            let name = format!("{metric}_{end}");
            after.sum(&name) - before.sum(&name)
        };
        let by_thread = sample.cpu_s_by_thread.iter();
        let of_pool = by_thread.filter(|(name, _)| name.starts_with(THREAD)).map(|(_, s)| s);
        Self {
            seal_s: since(SEAL, "sum"),
            sync_s: since(SYNC, "sum"),
            groups: since(GROUP, "count"),
            records: since(GROUP, "sum"),
            frames: since(SEAL, "count"),
            threads_cpu_s: of_pool.sum::<f64>() * sample.records as f64 / 1e6,
        }
    }

    /// The part of the writers' time that is sealing, in percent.
    pub(crate) fn sealing_percent(&self) -> f64 {
        100.0 * self.seal_s / (self.seal_s + self.sync_s)
    }

    /// The same of the CPU time of the pool's threads. It is too much by what they were kept waiting.
    pub(crate) fn sealing_cpu_percent(&self) -> f64 {
        100.0 * self.seal_s / self.threads_cpu_s
    }

    /// How many records a sync made durable.
    pub(crate) fn group_records(&self) -> f64 {
        self.records / self.groups
    }

    /// How long an append and its sync took, in microseconds.
    pub(crate) fn sync_us(&self) -> f64 {
        1e6 * self.sync_s / self.groups
    }
}
