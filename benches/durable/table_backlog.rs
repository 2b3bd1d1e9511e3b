//! What was measured with a backlog, for people.

use std::fmt::{self, Formatter};

use crate::backlog::{Backlog, READY_MS_TARGET, REPLAY, START, Starts};
use crate::common::pipe::MEMORY_BYTES_MAX;
use crate::common::stats::Spread;
use crate::common::table::{mib, show, thousands, verdict};
use crate::drain::Drain;
use crate::fill::RECORD_BYTES;
use crate::table::show_duplicates;

/// What a draining process may take besides 1.2 times the budget.
const LOADED_EXTRA_MIB: f64 = 32.0;

/// Shows starts and the replay.
pub(crate) fn show_backlog(f: &mut Formatter<'_>, backlog: &Backlog) -> fmt::Result {
    let filled = backlog.filled;
    writeln!(
        f,
        "\nbacklog: {} records, {:.0} MiB of segments, while the upstream refused; filled at {} \
         records/s (100 a POST), stopped in {:.2} s",
        thousands(filled.records as f64),
        mib(backlog.segment_bytes),
        thousands(filled.records as f64 / filled.elapsed_s),
        backlog.stop_s,
    )?;
    if filled.refused > 0 {
        writeln!(f, "  ATTENTION: {} requests of it were refused and sent again", filled.refused)?;
    }
    backlog.starts.as_ref().map_or(Ok(()), |starts| show_starts(f, starts))?;
    backlog.drain.as_ref().map_or(Ok(()), |drain| show_drain(f, drain))
}

fn show_starts(f: &mut Formatter<'_>, starts: &Starts) -> fmt::Result {
    let (with, without) = (Spread::of(&starts.with), Spread::of(&starts.without));
    writeln!(
        f,
        "\n{START}: start to ready in ms ({} starts of each)\n  with the backlog {}, without {}",
        starts.with.len(),
        show(with),
        show(without),
    )?;
    let is_met = verdict(with.median, READY_MS_TARGET);
    writeln!(f, "  target: with the backlog <= {READY_MS_TARGET} ms: {is_met}")
}

fn show_drain(f: &mut Formatter<'_>, drain: &Drain) -> fmt::Result {
    let in_mib = |rate: f64| rate * mib(RECORD_BYTES);
    let rate = drain.rate();
    writeln!(
        f,
        "\n{REPLAY}: read from the disk, {:.2} s from ready until the sink had everything",
        drain.elapsed_s
    )?;
    writeln!(f, "  {} records/s, {:.1} MiB/s", thousands(rate), in_mib(rate))?;
    let rates = drain.rates();
    writeln!(
        f,
        "  first half {} records/s, second half {}",
        thousands(rates.first),
        thousands(rates.second)
    )?;
    let anonymous = drain.anonymous();
    writeln!(
        f,
        "  memory: peak RSS {:.1} MiB, most anonymous {:.1} MiB; median of anonymous memory {:.1} MiB \
         in the first half, {:.1} in the second",
        mib(drain.rss_peak()),
        mib(drain.anonymous_peak()),
        anonymous.first / mib_bytes(),
        anonymous.second / mib_bytes(),
    )?;
    let target = 1.2 * mib(MEMORY_BYTES_MAX) + LOADED_EXTRA_MIB;
    let is_met = verdict(mib(drain.rss_peak()), target);
    writeln!(f, "  target: peak RSS <= {target:.0} MiB: {is_met}")?;
    let cpu_s: f64 = drain.cpu_s_by_thread.iter().map(|(_, cpu_s)| cpu_s).sum();
    write!(f, "  CPU s per million records {cpu_s:.2}:")?;
    for (name, cpu_s) in drain.cpu_s_by_thread.iter().filter(|(_, cpu_s)| *cpu_s >= 0.005) {
        write!(f, " {name} {cpu_s:.2}")?;
    }
    writeln!(f)?;
    show_duplicates(f, drain.arrived.duplicates())
}

const fn mib_bytes() -> f64 {
    1024.0 * 1024.0
}
