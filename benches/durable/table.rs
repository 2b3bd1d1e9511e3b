//! The results as a table for people.

use std::fmt::{self, Display, Formatter};

use crate::answers::{self, Answers, CPU_TARGET, RATE_TARGET, SEALING_TARGET, TARGET_CONNECTIONS};
use crate::common::medians::Medians;
use crate::common::stats::Spread;
use crate::common::table::{show, show_head, show_machine, show_process, show_threads, verdict};
use crate::run::Results;
use crate::spooled::Spooled;
use crate::streams::{self, Streams};
use crate::table_backlog::show_backlog;

/// Shows [`Results`].
#[derive(Debug)]
pub(crate) struct Table<'a>(pub(crate) &'a Results);

impl Display for Table<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let args = &self.0.args;
        writeln!(
            f,
            "512-byte records, 1 a POST, saturated unless it is said. Medians of {} rounds of {} s. \
             CPU: seconds per million records,\nof all threads, kernel included. Ratios are of what \
             stood in the same round: median (least, most).",
            args.rounds(),
            args.time().as_secs_f64(),
        )?;
        show_machine(f, &self.0.machine)?;
        writeln!(f, "Disk: {}.", self.0.disk)?;
        self.0.answers.iter().try_for_each(|answers| show_answers(f, answers))?;
        self.0.streams.iter().try_for_each(|streams| show_streams(f, streams))?;
        self.0.backlog.as_ref().map_or(Ok(()), |backlog| show_backlog(f, backlog))
    }
}

fn show_answers(f: &mut Formatter<'_>, answers: &Answers) -> fmt::Result {
    let connections = answers.connections;
    writeln!(f, "\n{}: {connections} connections", answers::name(connections))?;
    show_head(f)?;
    let rounds = &answers.rounds;
    let [plain_memory, durable_memory, memory_memory] = answers.memory;
    let plain = Medians::of(rounds.iter().map(|round| &round.plain));
    let durable = Medians::of(rounds.iter().map(|round| &round.durable));
    let memory = Medians::of(rounds.iter().map(|round| &round.memory));
    show_process(f, "plain writer", &plain, Some(plain_memory))?;
    show_process(f, "durable", &durable, Some(durable_memory))?;
    show_process(f, "memory", &memory, Some(memory_memory))?;
    writeln!(
        f,
        "  durable to the plain writer: rate {}, p50 {}, p99 {}, CPU {}; CPU to memory {}",
        show(answers.rate_to_plain()),
        show(answers.spread(|round| round.durable.p50_us / round.plain.p50_us)),
        show(answers.spread(|round| round.durable.p99_us / round.plain.p99_us)),
        show(answers.spread(|round| round.durable.cpu_s / round.plain.cpu_s)),
        show(answers.cpu_to_memory()),
    )?;
    let sealing = answers.spread(|round| round.spooled.sealing_percent());
    let of_cpu = answers.spread(|round| round.spooled.sealing_cpu_percent());
    let spooled: Vec<&Spooled> = rounds.iter().map(|round| &round.spooled).collect();
    show_spooled(f, "a group of the spool", &spooled)?;
    writeln!(
        f,
        "  sealing: {} % of the writer's time, {} % of its threads' CPU time",
        show(sealing),
        show(of_cpu)
    )?;
    if connections == TARGET_CONNECTIONS {
        let (rate, cpu) = (answers.rate_to_plain().median, answers.cpu_to_memory().median);
        writeln!(f, "  target: rate >= {RATE_TARGET:.2}: {}", verdict(RATE_TARGET, rate))?;
        writeln!(f, "  target: CPU to memory <= {CPU_TARGET:.2}: {}", verdict(cpu, CPU_TARGET))?;
    }
    let is_met = verdict(sealing.median, SEALING_TARGET);
    writeln!(f, "  target: sealing <= {SEALING_TARGET} %: {is_met}")?;
    show_threads(f, &durable)?;
    show_duplicates(f, answers.duplicates)
}

fn show_streams(f: &mut Formatter<'_>, streams: &Streams) -> fmt::Result {
    let pace =
        streams.pace.map_or_else(|| "saturated".to_owned(), |pace| format!("{pace} requests/s"));
    writeln!(
        f,
        "\n{}: durable answers of 1 stream and of {}, {} connections, {pace}",
        streams::name(streams.pace),
        streams.many,
        streams::CONNECTIONS,
    )?;
    show_head(f)?;
    let rounds = &streams.rounds;
    let [one_memory, many_memory] = streams.memory;
    let one = Medians::of(rounds.iter().map(|round| &round.one));
    let many = Medians::of(rounds.iter().map(|round| &round.many));
    show_process(f, "1 stream", &one, Some(one_memory))?;
    show_process(f, &format!("{} streams", streams.many), &many, Some(many_memory))?;
    show_spooled(f, "a group of one", &rounds.iter().map(|r| &r.one_spooled).collect::<Vec<_>>())?;
    show_spooled(
        f,
        "a group of many",
        &rounds.iter().map(|r| &r.many_spooled).collect::<Vec<_>>(),
    )?;
    let (p50, p99) = (streams.ratio(|s| s.p50_us), streams.ratio(|s| s.p99_us));
    writeln!(f, "  many to one: p50 {}, p99 {}", show(p50), show(p99))?;
    for (name, ratio) in [("p50", p50), ("p99", p99)] {
        let is_met = verdict(ratio.median, streams::TARGET);
        writeln!(f, "  target: {name} many to one <= {}: {is_met}", streams::TARGET)?;
    }
    let [one_ms, many_ms] = streams.ready_ms;
    writeln!(f, "  start to ready: {one_ms:.1} ms with one, {many_ms:.1} ms with many")?;
    show_threads(f, &many)?;
    show_duplicates(f, streams.duplicates)
}

fn show_spooled(f: &mut Formatter<'_>, title: &str, spooled: &[&Spooled]) -> fmt::Result {
    let spread =
        |of: fn(&Spooled) -> f64| Spread::of(&spooled.iter().map(|s| of(s)).collect::<Vec<_>>());
    writeln!(
        f,
        "  {title}: {} records in {:.2} frames; its append and sync {} us",
        show(spread(Spooled::group_records)),
        spread(|spooled| spooled.frames / spooled.groups).median,
        show(spread(Spooled::sync_us)),
    )
}

/// Says so, if records arrived more than once.
pub(crate) fn show_duplicates(f: &mut Formatter<'_>, duplicates: u64) -> fmt::Result {
    if duplicates > 0 {
        writeln!(f, "  ATTENTION: {duplicates} records arrived more than once")?;
    }
    Ok(())
}
