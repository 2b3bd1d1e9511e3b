//! The results as JSON for programs: the medians, the ratios and every round.

use serde_json::{Value, json};

use crate::case::Figure;
use crate::common::json::{figures, medians, memory, sample, spread};
use crate::common::measure::Sample;
use crate::common::medians::Medians;
use crate::run::{CaseResult, Results, Round, Start};
use crate::summary::{self, figure, ratio_beside};

/// All results.
pub(crate) fn document(results: &Results) -> Value {
    let args = &results.args;
    json!({
        "rounds": args.rounds(),
        "seconds": args.seconds(),
        "connections": args.connections,
        "machine": {
            "processors": results.machine.processors,
            "model": results.machine.model,
            "kernel": results.machine.kernel,
            "load_before": results.machine.load_before,
        },
        "starts": results.starts.iter().map(start).collect::<Vec<_>>(),
        "cases": results.cases.iter().map(case).collect::<Vec<_>>(),
    })
}

fn start(start: &Start) -> Value {
    json!({ "ready_ms": start.ready_ms, "idle": memory(start.idle) })
}

fn case(result: &CaseResult) -> Value {
    let rounds = &result.rounds;
    let server = Medians::of(rounds.iter().map(|round| &round.server));
    let sdk = Medians::of(rounds.iter().map(|round| &round.sdk));
    let pipe = Medians::of(rounds.iter().map(|round| &round.pipe));
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
        "both_halves_at_once": summary::beside(rounds).map(|both| figures(&both)),
        "ratios": {
            "cpu_to_floor": spread(figure(result, Figure::CpuToFloor)),
            "cpu_to_bare_server": spread(figure(result, Figure::CpuToServer)),
            "p50_to_bare_server": spread(figure(result, Figure::P50ToServer)),
            "p99_to_bare_server": spread(figure(result, Figure::P99ToServer)),
            "p999_to_bare_server": spread(figure(result, Figure::P999ToServer)),
            "p50_to_both_at_once": beside(result, |sample| sample.p50_us),
            "p99_to_both_at_once": beside(result, |sample| sample.p99_us),
            "p999_to_both_at_once": beside(result, |sample| sample.p999_us),
        },
        "targets": targets.collect::<Vec<_>>(),
        "rounds": rounds.iter().map(round).collect::<Vec<_>>(),
    })
}

fn beside(result: &CaseResult, figure: fn(&Sample) -> f64) -> Option<Value> {
    ratio_beside(result, figure).map(spread)
}

fn round(round: &Round) -> Value {
    json!({
        "bare_server": sample(&round.server),
        "bare_sdk": sample(&round.sdk),
        "standpipe": sample(&round.pipe),
        "both_halves_at_once": round.beside.as_ref().map(sample),
    })
}
