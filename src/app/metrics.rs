//! The metrics of the process's life, which belong to no stage.

use metrics::gauge;

use crate::telemetry::{MetricKind, MetricSpec};

const UNCLEAN_START: &str = "standpipe_app_unclean_start";

/// All metrics of the composition.
pub(super) const METRICS: &[MetricSpec] = &[MetricSpec {
    name: UNCLEAN_START,
    kind: MetricKind::Gauge,
    labels: &[],
    help: "Whether the last life of the spool did not end cleanly (1): what was in memory alone is lost.",
}];

/// Says how the last life ended.
pub(super) fn show_start(was_unclean: bool) {
    gauge!(UNCLEAN_START).set(f64::from(u8::from(was_unclean)));
}
