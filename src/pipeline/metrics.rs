//! The metrics of the pipeline: what is in memory now. Brought up to date for each scrape.

use metrics::{counter, gauge};

use super::lane::Lane;
use crate::telemetry::{MetricKind, MetricSpec};

const RECORDS: &str = "standpipe_pipeline_records_in_memory";
const LOST: &str = "standpipe_pipeline_records_lost_total";
const BYTES: &str = "standpipe_pipeline_memory_bytes";
const BYTES_MAX: &str = "standpipe_pipeline_memory_bytes_max";

/// All metrics of this stage.
pub const METRICS: &[MetricSpec] = &[
    MetricSpec {
        name: RECORDS,
        kind: MetricKind::Gauge,
        labels: &["stream"],
        help: "Records accepted that are in memory alone and not settled: in open batches, closed ones \
               and requests. What the spool has too is not counted here.",
    },
    MetricSpec {
        name: LOST,
        kind: MetricKind::Counter,
        labels: &["stream"],
        help: "Records accepted and given up without being delivered or spooled, when the process \
               stopped.",
    },
    MetricSpec {
        name: BYTES,
        kind: MetricKind::Gauge,
        labels: &["stream"],
        help: "Memory reserved for the records and bodies of a stream, as capacity and not as payload.",
    },
    MetricSpec {
        name: BYTES_MAX,
        kind: MetricKind::Gauge,
        labels: &[],
        help: "The bound on the memory for records and bodies (memory.bytes_max).",
    },
];

/// Shows what the lanes hold now, and the bound on it.
#[expect(clippy::cast_precision_loss, reason = "a gauge is a float; bytes stay far below 2^53")]
pub fn show<'a>(lanes: impl Iterator<Item = &'a Lane>, memory_bytes_max: usize) {
    for lane in lanes {
        let stream = lane.name().to_string();
        gauge!(RECORDS, "stream" => stream.clone()).set(lane.records_in_memory() as f64);
        counter!(LOST, "stream" => stream.clone()).absolute(lane.lost().0);
        gauge!(BYTES, "stream" => stream).set(lane.share().used_bytes() as f64);
    }
    gauge!(BYTES_MAX).set(memory_bytes_max as f64);
}
