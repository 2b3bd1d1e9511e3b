//! The results as JSON for programs: the medians, the ratios and every round.

use serde_json::{Map, Value, json};

use crate::case::Figure;
use crate::measure::Sample;
use crate::process::Memory;
use crate::run::{CaseResult, Results, Round, Start};
use crate::stats::Spread;
use crate::summary::{Medians, figure};

/// All results.
pub(crate) fn document(results: &Results) -> Value {
    let args = &results.args;
    json!({
        "rounds": args.rounds(),
        "seconds": args.seconds(),
        "connections": args.connections,
        "starts": results.starts.iter().map(start).collect::<Vec<_>>(),
        "cases": results.cases.iter().map(case).collect::<Vec<_>>(),
    })
}

fn start(start: &Start) -> Value {
    json!({ "ready_ms": start.ready_ms, "idle": memory(start.idle) })
}

fn case(result: &CaseResult) -> Value {
    let rounds = &result.rounds;
    let server = Medians::of(rounds, |round| &round.server);
    let sdk = Medians::of(rounds, |round| &round.sdk);
    let pipe = Medians::of(rounds, |round| &round.pipe);
    let targets = result.case.targets.iter().map(|&(wanted, target)| {
        let is_met = figure(result, wanted).median <= target;
        json!({ "figure": wanted.as_str(), "most": target, "is_met": is_met })
    });
    json!({
        "name": result.case.name(),
        "records_per_request": result.case.shape.records,
        "record_bytes": result.case.shape.record_bytes,
        "requests_per_second": result.pace,
        "floor": { "cpu_s_per_million": server.cpu_s + sdk.cpu_s },
        "bare_server": medians(&server, result.server_memory),
        "bare_sdk": medians(&sdk, result.sdk_memory),
        "standpipe": medians(&pipe, result.pipe_memory),
        "ratios": {
            "cpu_to_floor": spread(figure(result, Figure::CpuToFloor)),
            "cpu_to_bare_server": spread(figure(result, Figure::CpuToServer)),
            "p50_to_bare_server": spread(figure(result, Figure::P50ToServer)),
            "p99_to_bare_server": spread(figure(result, Figure::P99ToServer)),
            "p999_to_bare_server": spread(figure(result, Figure::P999ToServer)),
        },
        "targets": targets.collect::<Vec<_>>(),
        "rounds": rounds.iter().map(round).collect::<Vec<_>>(),
    })
}

fn medians(medians: &Medians, of_process: Memory) -> Value {
    let [p50_us, p99_us, p999_us] = medians.answer_us;
    json!({
        "cpu_s_per_million": medians.cpu_s,
        "cpu_s_per_million_by_thread": by_thread(&medians.cpu_s_by_thread),
        "records_per_second": medians.rate,
        "p50_us": p50_us,
        "p99_us": p99_us,
        "p999_us": p999_us,
        "generator_lag_p99_us": medians.lag_p99_us,
        "requests_refused": medians.refused,
        "memory": memory(of_process),
    })
}

fn round(round: &Round) -> Value {
    json!({
        "bare_server": sample(&round.server),
        "bare_sdk": sample(&round.sdk),
        "standpipe": sample(&round.pipe),
    })
}

fn sample(sample: &Sample) -> Value {
    json!({
        "records": sample.records,
        "requests": sample.requests,
        "requests_refused": sample.refused,
        "elapsed_s": sample.elapsed.as_secs_f64(),
        "cpu_s_per_million": sample.cpu_s,
        "cpu_s_per_million_by_thread": by_thread(&sample.cpu_s_by_thread),
        "records_per_second": sample.rate,
        "p50_us": sample.p50_us,
        "p99_us": sample.p99_us,
        "p999_us": sample.p999_us,
        "generator_lag_p99_us": sample.lag_p99_us,
        "drain_s": sample.drain_s,
    })
}

fn by_thread(threads: &[(String, f64)]) -> Value {
    let threads = threads.iter().map(|(name, cpu_s)| (name.clone(), json!(cpu_s)));
    Value::Object(threads.collect::<Map<_, _>>())
}

fn memory(memory: Memory) -> Value {
    json!({
        "anonymous_bytes": memory.anonymous,
        "rss_bytes": memory.rss,
        "rss_peak_bytes": memory.rss_peak,
    })
}

fn spread(spread: Spread) -> Value {
    json!({ "median": spread.median, "min": spread.min, "max": spread.max })
}
