//! Figures as JSON for programs.

use serde_json::{Map, Value, json};

use super::measure::Sample;
use super::medians::Medians;
use super::process::Memory;
use super::stats::Spread;

pub(crate) fn medians(medians: &Medians, of_process: Memory) -> Value {
    let mut value = figures(medians);
    if let Value::Object(fields) = &mut value {
        fields.insert("memory".to_owned(), memory(of_process));
    }
    value
}

pub(crate) fn figures(medians: &Medians) -> Value {
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
    })
}

pub(crate) fn sample(sample: &Sample) -> Value {
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

pub(crate) fn by_thread(threads: &[(String, f64)]) -> Value {
    let threads = threads.iter().map(|(name, cpu_s)| (name.clone(), json!(cpu_s)));
    Value::Object(threads.collect::<Map<_, _>>())
}

pub(crate) fn memory(memory: Memory) -> Value {
    json!({
        "anonymous_bytes": memory.anonymous,
        "rss_bytes": memory.rss,
        "rss_peak_bytes": memory.rss_peak,
    })
}

pub(crate) fn spread(spread: Spread) -> Value {
    json!({ "median": spread.median, "min": spread.min, "max": spread.max })
}
