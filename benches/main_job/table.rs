//! The results as a table for people.

use std::fmt::{self, Display, Formatter};

use crate::case::{Figure, Load};
use crate::common::measure::Sample;
use crate::common::medians::Medians;
use crate::common::pipe::MEMORY_BYTES_MAX;
use crate::common::stats::Spread;
use crate::common::table::{
    mib, show, show_head, show_machine, show_process, show_threads, verdict,
};
use crate::run::{CaseResult, Results, Start};
use crate::summary::{beside, figure, ratio, ratio_beside};

/// The targets for an idle process and for a start.
const IDLE_ANONYMOUS_MIB: f64 = 8.0;
const IDLE_RSS_MIB: f64 = 16.0;
const READY_MS: f64 = 50.0;

/// What a loaded process may take besides 1.2 times the budget, and for each connection.
const LOADED_EXTRA_MIB: f64 = 32.0;
const LOADED_CONNECTION_MIB: f64 = 16.0 / 1024.0;

/// Shows [`Results`].
#[derive(Debug)]
pub(crate) struct Table<'a>(pub(crate) &'a Results);

impl Display for Table<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (args, machine) = (&self.0.args, &self.0.machine);
        writeln!(
            f,
            "Medians of {} rounds of {} s, {} connections. CPU: seconds per million records, of all \
             threads, kernel included.\nThe floor is the bare server and the bare SDK together. \
             Ratios are of what stood in the same round: median (least, most).",
            args.rounds(),
            args.seconds(),
            args.connections,
        )?;
        show_machine(f, machine)?;
        if !self.0.starts.is_empty() {
            show_starts(f, &self.0.starts)?;
        }
        self.0.cases.iter().try_for_each(|result| show_case(f, result, args.connections))
    }
}

fn show_starts(f: &mut Formatter<'_>, starts: &[Start]) -> fmt::Result {
    let of = |figure: fn(&Start) -> f64| Spread::of(&starts.iter().map(figure).collect::<Vec<_>>());
    let anonymous = of(|start| mib(start.idle.anonymous));
    let rss = of(|start| mib(start.idle.rss));
    let ready = of(|start| start.ready_ms);
    writeln!(f, "\nstart and idle ({} starts)", starts.len())?;
    let mut row = |name: &str, unit: &str, figure: Spread, target: f64| {
        let verdict = verdict(figure.median, target);
        writeln!(
            f,
            "  {name:<24} {:>8.1} {unit:<3} ({:.1}, {:.1})   target {target} {unit}: {verdict}",
            figure.median, figure.min, figure.max
        )
    };
    row("anonymous memory, idle", "MiB", anonymous, IDLE_ANONYMOUS_MIB)?;
    row("RSS, idle", "MiB", rss, IDLE_RSS_MIB)?;
    row("start to ready", "ms", ready, READY_MS)
}

fn show_case(f: &mut Formatter<'_>, result: &CaseResult, connections: u16) -> fmt::Result {
    let case = &result.case;
    let pace = result.pace.map_or(String::new(), |pace| format!("{pace} requests/s"));
    let load = match case.load {
        Load::Saturated => "saturated".to_owned(),
        Load::Paced(_) => pace,
        Load::Half => format!("half of saturation: {pace}"),
    };
    writeln!(f, "\n{}: {}, {load}", case.name(), case.shape.title)?;
    show_head(f)?;
    let server = Medians::of(result.rounds.iter().map(|round| &round.server));
    let sdk = Medians::of(result.rounds.iter().map(|round| &round.sdk));
    let pipe = Medians::of(result.rounds.iter().map(|round| &round.pipe));
    show_process(f, "bare server", &server, Some(result.server_memory))?;
    show_process(f, "bare SDK", &sdk, Some(result.sdk_memory))?;
    writeln!(f, "  {:<12} {:>9.2}", "floor", server.cpu_s + sdk.cpu_s)?;
    if let Some(both) = beside(&result.rounds) {
        show_process(f, "both at once", &both, None)?;
    }
    show_process(f, "standpipe", &pipe, Some(result.pipe_memory))?;
    show_ratios(f, result)?;
    show_targets(f, result, connections)?;
    show_threads(f, &pipe)?;
    if pipe.refused > 0 {
        let all = (pipe.refused + pipe.requests) as f64;
        let part = 100.0 * pipe.refused as f64 / all;
        writeln!(f, "  ATTENTION: standpipe refused {part:.2} % of the requests for want of room")?;
    }
    if case.load != Load::Saturated {
        let (to_server, to_pipe) = (server.lag_p99_us, pipe.lag_p99_us);
        writeln!(
            f,
            "  of the answer times, p99 of the generator's own lateness: {to_server:.0} us to the \
             bare server, {to_pipe:.0} us to standpipe"
        )?;
    }
    Ok(())
}

fn show_ratios(f: &mut Formatter<'_>, result: &CaseResult) -> fmt::Result {
    let rate = ratio(result, |round| round.pipe.rate, |round| round.server.rate);
    writeln!(
        f,
        "  CPU to floor {}, to bare server {}; rate to bare server {}",
        show(figure(result, Figure::CpuToFloor)),
        show(figure(result, Figure::CpuToServer)),
        show(rate),
    )?;
    writeln!(
        f,
        "  answers to bare server: p50 {}, p99 {}, p99.9 {}",
        show(figure(result, Figure::P50ToServer)),
        show(figure(result, Figure::P99ToServer)),
        show(figure(result, Figure::P999ToServer)),
    )?;
    let to_both = |figure: fn(&Sample) -> f64| ratio_beside(result, figure).map(show);
    let answers = (to_both(|s| s.p50_us), to_both(|s| s.p99_us), to_both(|s| s.p999_us));
    if let (Some(p50), Some(p99), Some(p999)) = answers {
        writeln!(f, "  answers to both at once: p50 {p50}, p99 {p99}, p99.9 {p999}")?;
    }
    Ok(())
}

fn show_targets(f: &mut Formatter<'_>, result: &CaseResult, connections: u16) -> fmt::Result {
    for &(wanted, target) in result.case.targets {
        let verdict = verdict(figure(result, wanted).median, target);
        writeln!(f, "  target: {} <= {target:.2}: {verdict}", wanted.as_str())?;
    }
    let target = 1.2 * mib(MEMORY_BYTES_MAX)
        + LOADED_EXTRA_MIB
        + LOADED_CONNECTION_MIB * f64::from(connections);
    let verdict = verdict(mib(result.pipe_memory.rss_peak), target);
    writeln!(f, "  target: peak RSS <= {target:.0} MiB: {verdict}")
}
