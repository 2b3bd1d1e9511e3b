//! From rounds to figures: medians, ratios of what stood side by side, and whether targets are met. Pure.

use std::collections::BTreeMap;

use crate::case::Figure;
use crate::measure::Sample;
use crate::run::{CaseResult, Round};
use crate::stats::{Spread, median};

/// The medians of one process over all rounds.
#[derive(Debug, Clone, Default)]
pub(crate) struct Medians {
    /// Seconds of CPU time per million records.
    pub(crate) cpu_s: f64,
    /// Records a second.
    pub(crate) rate: f64,
    /// The answer times of 50 %, 99 % and 99.9 %, in microseconds.
    pub(crate) answer_us: [f64; 3],
    /// How late the generator was itself, in 99 % of the requests, in microseconds.
    pub(crate) lag_p99_us: f64,
    /// Requests that were refused, in all rounds together.
    pub(crate) refused: u64,
    /// Requests that were accepted, in all rounds together.
    pub(crate) requests: u64,
    /// CPU time by the name of the thread.
    pub(crate) cpu_s_by_thread: Vec<(String, f64)>,
}

impl Medians {
    /// Of one process in all rounds.
    pub(crate) fn of(rounds: &[Round], process: fn(&Round) -> &Sample) -> Self {
        let samples: Vec<&Sample> = rounds.iter().map(process).collect();
        let of = |figure: fn(&Sample) -> f64| {
            median(&samples.iter().map(|sample| figure(sample)).collect::<Vec<_>>())
        };
        Self {
            cpu_s: of(|sample| sample.cpu_s),
            rate: of(|sample| sample.rate),
            answer_us: [
                of(|sample| sample.p50_us),
                of(|sample| sample.p99_us),
                of(|sample| sample.p999_us),
            ],
            lag_p99_us: of(|sample| sample.lag_p99_us),
            refused: samples.iter().map(|sample| sample.refused).sum(),
            requests: samples.iter().map(|sample| sample.requests).sum(),
            cpu_s_by_thread: by_thread(&samples),
        }
    }
}

fn by_thread(samples: &[&Sample]) -> Vec<(String, f64)> {
    let mut threads: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for (name, cpu_s) in samples.iter().flat_map(|sample| &sample.cpu_s_by_thread) {
        threads.entry(name).or_default().push(*cpu_s);
    }
    let mut medians: Vec<(String, f64)> =
        threads.into_iter().map(|(name, values)| (name.to_owned(), median(&values))).collect();
    medians.sort_by(|one, other| other.1.total_cmp(&one.1));
    medians
}

/// What Standpipe's figure is to what it is compared with: by round, then the median.
pub(crate) fn ratio(result: &CaseResult, of: fn(&Round) -> f64, to: fn(&Round) -> f64) -> Spread {
    let ratios: Vec<f64> = result.rounds.iter().map(|round| of(round) / to(round)).collect();
    Spread::of(&ratios)
}

/// The ratio that a target is about.
pub(crate) fn figure(result: &CaseResult, figure: Figure) -> Spread {
    match figure {
        Figure::CpuToFloor => ratio(result, |r| r.pipe.cpu_s, |r| r.server.cpu_s + r.sdk.cpu_s),
        Figure::CpuToServer => ratio(result, |r| r.pipe.cpu_s, |r| r.server.cpu_s),
        Figure::P50ToServer => ratio(result, |r| r.pipe.p50_us, |r| r.server.p50_us),
        Figure::P99ToServer => ratio(result, |r| r.pipe.p99_us, |r| r.server.p99_us),
        Figure::P999ToServer => ratio(result, |r| r.pipe.p999_us, |r| r.server.p999_us),
    }
}
