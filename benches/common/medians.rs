//! What a process did and used in all rounds together. Pure.

use std::collections::BTreeMap;

use super::measure::Sample;
use super::stats::median;

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
    pub(crate) fn of<'a>(samples: impl IntoIterator<Item = &'a Sample>) -> Self {
        let samples: Vec<&Sample> = samples.into_iter().collect();
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
