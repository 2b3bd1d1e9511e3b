//! A backlog on its way to the sink: how fast it goes, and what memory that takes from begin to end.

use std::time::{Duration, Instant};

use tokio::time::sleep;

use crate::common::fault::Fault;
use crate::common::ledger::{Arrived, Ledger};
use crate::common::pipe::Pipe;
use crate::common::process::{Cpu, Memory};
use crate::common::stats::median;

/// How often it is looked.
const INTERVAL: Duration = Duration::from_millis(20);

/// How long nothing may arrive before the run is given up.
const STALL_TIMEOUT: Duration = Duration::from_secs(60);

/// How it was at one moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment {
    /// Since the process was ready, in seconds.
    pub(crate) at_s: f64,
    /// Records that the sink had.
    pub(crate) arrived: u64,
    /// The memory of the process.
    pub(crate) memory: Memory,
}

/// How a backlog was replayed.
#[derive(Debug)]
pub(crate) struct Drain {
    /// From ready until the sink had everything, in seconds.
    pub(crate) elapsed_s: f64,
    /// Moment by moment.
    pub(crate) moments: Vec<Moment>,
    /// What arrived.
    pub(crate) arrived: Arrived,
    /// Seconds of CPU time per million records, by the name of the thread.
    pub(crate) cpu_s_by_thread: Vec<(String, f64)>,
}

/// A figure of the first half of the records, and of the second.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Halves {
    pub(crate) first: f64,
    pub(crate) second: f64,
}

impl Drain {
    /// Records a second.
    pub(crate) fn rate(&self) -> f64 {
        self.arrived.distinct as f64 / self.elapsed_s
    }

    /// Records a second in each half.
    pub(crate) fn rates(&self) -> Halves {
        self.halves(|moments| {
            let (Some(first), Some(last)) = (moments.first(), moments.last()) else { return 0.0 };
            (last.arrived - first.arrived) as f64 / (last.at_s - first.at_s)
        })
    }

    /// The median of anonymous memory in each half, in bytes.
    pub(crate) fn anonymous(&self) -> Halves {
        self.halves(|moments| {
            median(&moments.iter().map(|m| m.memory.anonymous as f64).collect::<Vec<_>>())
        })
    }

    /// The most anonymous memory that was seen.
    pub(crate) fn anonymous_peak(&self) -> u64 {
        self.moments.iter().map(|moment| moment.memory.anonymous).max().unwrap_or(0)
    }

    /// The most of all memory that ever was.
    pub(crate) fn rss_peak(&self) -> u64 {
        self.moments.last().map_or(0, |moment| moment.memory.rss_peak)
    }

    fn halves(&self, of: impl Fn(&[Moment]) -> f64) -> Halves {
        let half = self.arrived.distinct / 2;
        let middle = self.moments.partition_point(|moment| moment.arrived < half);
        let (first, second) = self.moments.split_at(middle);
        Halves { first: of(first), second: of(second) }
    }
}

/// Watches until everything has arrived.
///
/// # Errors
/// When a record is missing at the end, or more arrive than were accepted.
pub(crate) async fn watch(pipe: &mut Pipe, ledger: &Ledger) -> Result<Drain, Fault> {
    let begin = Instant::now();
    let cpu_before = Cpu::of(pipe.pid())?;
    let mut moments: Vec<Moment> = Vec::new();
    let mut news_at = begin;
    let arrived = loop {
        let arrived = ledger.arrived().await?;
        let memory = Memory::of(pipe.pid())?;
        let at_s = begin.elapsed().as_secs_f64();
        if moments.last().is_none_or(|last| last.arrived < arrived.distinct) {
            news_at = Instant::now();
        }
        moments.push(Moment { at_s, arrived: arrived.distinct, memory });
        if ledger.is_settled(arrived)? {
            break arrived;
        }
        if news_at.elapsed() > STALL_TIMEOUT {
            return Err(ledger.off(arrived));
        }
        pipe.pass_on_remarks();
        sleep(INTERVAL).await;
    };
    let elapsed_s = begin.elapsed().as_secs_f64();
    let spent = Cpu::of(pipe.pid())?.since(&cpu_before);
    let per_million = |ns: u64| ns as f64 / 1e3 / arrived.distinct.max(1) as f64;
    let by_thread = spent.by_thread.into_iter();
    let mut cpu_s_by_thread: Vec<(String, f64)> =
        by_thread.map(|(name, ns)| (name, per_million(ns))).collect();
    cpu_s_by_thread.sort_by(|one, other| other.1.total_cmp(&one.1));
    Ok(Drain { elapsed_s, moments, arrived, cpu_s_by_thread })
}
