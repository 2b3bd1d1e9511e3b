//! Figures in words and columns, for people.

use std::fmt::{self, Formatter};

use super::machine::Machine;
use super::medians::Medians;
use super::process::Memory;
use super::stats::Spread;

const MIB: f64 = 1024.0 * 1024.0;

pub(crate) fn show_machine(f: &mut Formatter<'_>, machine: &Machine) -> fmt::Result {
    writeln!(f, "Machine: {} x {}, Linux {}.", machine.processors, machine.model, machine.kernel)?;
    if machine.is_busy() {
        writeln!(
            f,
            "ATTENTION: the load average was {} at the start: something else runs here.",
            machine.load_before
        )?;
    }
    Ok(())
}

pub(crate) fn show_head(f: &mut Formatter<'_>) -> fmt::Result {
    writeln!(
        f,
        "  {:<12} {:>9} {:>11} {:>9} {:>9} {:>9} {:>9} {:>9} {:>8}",
        "",
        "CPU s/M",
        "records/s",
        "p50 us",
        "p99 us",
        "p99.9 us",
        "peak MiB",
        "anon MiB",
        "refused"
    )
}

pub(crate) fn show_process(
    f: &mut Formatter<'_>,
    name: &str,
    medians: &Medians,
    memory: Option<Memory>,
) -> fmt::Result {
    write!(f, "  {name:<12} {:>9.2} {:>11}", medians.cpu_s, thousands(medians.rate))?;
    for answer in medians.answer_us {
        if medians.requests == 0 {
            write!(f, " {:>9}", "")?;
        } else {
            write!(f, " {answer:>9.0}")?;
        }
    }
    let mib =
        |of: fn(&Memory) -> u64| memory.map_or(String::new(), |m| format!("{:.1}", mib(of(&m))));
    let (peak, anonymous) = (mib(|memory| memory.rss_peak), mib(|memory| memory.anonymous));
    writeln!(f, " {peak:>9} {anonymous:>9} {:>8}", medians.refused)
}

pub(crate) fn show(spread: Spread) -> String {
    format!("{:.2} ({:.2}, {:.2})", spread.median, spread.min, spread.max)
}

pub(crate) fn show_threads(f: &mut Formatter<'_>, pipe: &Medians) -> fmt::Result {
    write!(f, "  standpipe's CPU by thread:")?;
    for (name, cpu_s) in pipe.cpu_s_by_thread.iter().filter(|(_, cpu_s)| *cpu_s >= 0.005) {
        write!(f, " {name} {cpu_s:.2}")?;
    }
    writeln!(f)
}

pub(crate) fn verdict(figure: f64, target: f64) -> &'static str {
    if figure <= target { "met" } else { "MISSED" }
}

pub(crate) fn mib(bytes: u64) -> f64 {
    bytes as f64 / MIB
}

/// A number with a space between groups of three digits.
pub(crate) fn thousands(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            grouped.push(' ');
        }
        grouped.push(digit);
    }
    grouped
}
