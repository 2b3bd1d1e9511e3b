//! The results as JSON for programs: the medians, the ratios and every round.

use serde_json::{Value, json};

use crate::answers::{self, Answers, CPU_TARGET, RATE_TARGET, SEALING_TARGET, TARGET_CONNECTIONS};
use crate::backlog::{Backlog, READY_MS_TARGET, Starts};
use crate::common::json::{by_thread, medians, memory, sample, spread};
use crate::common::medians::Medians;
use crate::common::stats::Spread;
use crate::drain::{Drain, Halves};
use crate::run::Results;
use crate::spooled::Spooled;
use crate::streams::{self, Streams};

/// All results.
pub(crate) fn document(results: &Results) -> Value {
    let args = &results.args;
    json!({
        "rounds": args.rounds(),
        "seconds": args.time().as_secs_f64(),
        "machine": {
            "processors": results.machine.processors,
            "model": results.machine.model,
            "kernel": results.machine.kernel,
            "load_before": results.machine.load_before,
            "disk": results.disk,
        },
        "answers": results.answers.iter().map(answers).collect::<Vec<_>>(),
        "streams": results.streams.iter().map(streams).collect::<Vec<_>>(),
        "backlog": results.backlog.as_ref().map(backlog),
    })
}

fn answers(answers: &Answers) -> Value {
    let rounds = &answers.rounds;
    let [plain_memory, durable_memory, memory_memory] = answers.memory;
    let sealing = answers.spread(|round| round.spooled.sealing_percent());
    let targets = (answers.connections == TARGET_CONNECTIONS).then(|| {
        json!({
            "rate_to_plain_least": RATE_TARGET,
            "is_rate_met": answers.rate_to_plain().median >= RATE_TARGET,
            "cpu_to_memory_most": CPU_TARGET,
            "is_cpu_met": answers.cpu_to_memory().median <= CPU_TARGET,
        })
    });
    json!({
        "name": answers::name(answers.connections),
        "connections": answers.connections,
        "plain_writer": medians(&Medians::of(rounds.iter().map(|r| &r.plain)), plain_memory),
        "durable": medians(&Medians::of(rounds.iter().map(|r| &r.durable)), durable_memory),
        "memory": medians(&Medians::of(rounds.iter().map(|r| &r.memory)), memory_memory),
        "ratios": {
            "rate_to_plain": spread(answers.rate_to_plain()),
            "p50_to_plain": spread(answers.spread(|r| r.durable.p50_us / r.plain.p50_us)),
            "p99_to_plain": spread(answers.spread(|r| r.durable.p99_us / r.plain.p99_us)),
            "cpu_to_plain": spread(answers.spread(|r| r.durable.cpu_s / r.plain.cpu_s)),
            "cpu_to_memory": spread(answers.cpu_to_memory()),
        },
        "sealing_percent": spread(sealing),
        "sealing_percent_of_cpu": spread(answers.spread(|r| r.spooled.sealing_cpu_percent())),
        "sealing_percent_most": SEALING_TARGET,
        "is_sealing_met": sealing.median <= SEALING_TARGET,
        "targets": targets,
        "duplicates": answers.duplicates,
        "rounds": rounds.iter().map(|round| json!({
            "plain_writer": sample(&round.plain),
            "durable": sample(&round.durable),
            "memory": sample(&round.memory),
            "spool": spooled(&round.spooled),
        })).collect::<Vec<_>>(),
    })
}

fn streams(streams: &Streams) -> Value {
    let rounds = &streams.rounds;
    let [one_memory, many_memory] = streams.memory;
    let [one_ms, many_ms] = streams.ready_ms;
    let (p50, p99) = (streams.ratio(|s| s.p50_us), streams.ratio(|s| s.p99_us));
    json!({
        "name": streams::name(streams.pace),
        "requests_per_second": streams.pace,
        "connections": streams::CONNECTIONS,
        "streams": streams.many,
        "one": medians(&Medians::of(rounds.iter().map(|r| &r.one)), one_memory),
        "many": medians(&Medians::of(rounds.iter().map(|r| &r.many)), many_memory),
        "ready_ms": { "one": one_ms, "many": many_ms },
        "ratios": { "p50": spread(p50), "p99": spread(p99) },
        "most": streams::TARGET,
        "is_p50_met": p50.median <= streams::TARGET,
        "is_p99_met": p99.median <= streams::TARGET,
        "duplicates": streams.duplicates,
        "rounds": rounds.iter().map(|round| json!({
            "one": sample(&round.one),
            "one_spool": spooled(&round.one_spooled),
            "many": sample(&round.many),
            "many_spool": spooled(&round.many_spooled),
        })).collect::<Vec<_>>(),
    })
}

fn spooled(spooled: &Spooled) -> Value {
    json!({
        "seal_s": spooled.seal_s,
        "append_and_sync_s": spooled.sync_s,
        "groups": spooled.groups,
        "frames": spooled.frames,
        "records": spooled.records,
        "threads_cpu_s": spooled.threads_cpu_s,
        "sealing_percent": spooled.sealing_percent(),
        "group_records": spooled.group_records(),
        "sync_us": spooled.sync_us(),
    })
}

fn backlog(backlog: &Backlog) -> Value {
    json!({
        "records": backlog.filled.records,
        "segment_bytes": backlog.segment_bytes,
        "filled_in_s": backlog.filled.elapsed_s,
        "requests_refused": backlog.filled.refused,
        "stopped_in_s": backlog.stop_s,
        "starts": backlog.starts.as_ref().map(starts),
        "replay": backlog.drain.as_ref().map(drain),
    })
}

fn starts(starts: &Starts) -> Value {
    let with = Spread::of(&starts.with);
    json!({
        "with_backlog_ms": spread(with),
        "without_ms": spread(Spread::of(&starts.without)),
        "most_ms": READY_MS_TARGET,
        "is_met": with.median <= READY_MS_TARGET,
        "each": { "with_backlog_ms": starts.with, "without_ms": starts.without },
    })
}

fn drain(drain: &Drain) -> Value {
    json!({
        "elapsed_s": drain.elapsed_s,
        "records_per_second": drain.rate(),
        "records_per_second_by_half": halves(drain.rates()),
        "anonymous_bytes_by_half": halves(drain.anonymous()),
        "anonymous_bytes_most": drain.anonymous_peak(),
        "rss_peak_bytes": drain.rss_peak(),
        "duplicates": drain.arrived.duplicates(),
        "cpu_s_per_million_by_thread": by_thread(&drain.cpu_s_by_thread),
        "moments": drain.moments.iter().map(|moment| json!({
            "at_s": moment.at_s,
            "arrived": moment.arrived,
            "memory": memory(moment.memory),
        })).collect::<Vec<_>>(),
    })
}

fn halves(halves: Halves) -> Value {
    json!({ "first": halves.first, "second": halves.second })
}
