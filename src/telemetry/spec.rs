//! What a metric is, in one value: its name, kind, labels and help, as code and as a row of a table.
//!
//! Every stage lists its metrics once, as `pub const METRICS: &[MetricSpec]`, and describes them from that
//! list; the README's table is made from the same lists. Nothing here counts anything.

use std::fmt::Write as _;

/// One metric. The unit is the last word of the name (before `_total`): `_seconds`, `_bytes`, `_ratio`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MetricSpec {
    /// `standpipe_<stage>_<noun>_<unit>[_total]`. `_total` is for counters, and every counter has it.
    pub name: &'static str,
    /// How its values behave.
    pub kind: MetricKind,
    /// The names of its labels, in the order in which they are shown.
    pub labels: &'static [&'static str],
    /// What it says, in one sentence.
    pub help: &'static str,
}

/// How a metric's values behave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricKind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts values in buckets.
    Histogram,
}

impl MetricKind {
    /// The kind as Prometheus writes it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

impl MetricSpec {
    /// A metric that only grows.
    #[must_use]
    pub const fn counter(
        name: &'static str,
        labels: &'static [&'static str],
        help: &'static str,
    ) -> Self {
        Self { name, kind: MetricKind::Counter, labels, help }
    }

    /// A metric that goes up and down.
    #[must_use]
    pub const fn gauge(
        name: &'static str,
        labels: &'static [&'static str],
        help: &'static str,
    ) -> Self {
        Self { name, kind: MetricKind::Gauge, labels, help }
    }

    /// A metric that counts values in buckets.
    #[must_use]
    pub const fn histogram(
        name: &'static str,
        labels: &'static [&'static str],
        help: &'static str,
    ) -> Self {
        Self { name, kind: MetricKind::Histogram, labels, help }
    }
}

/// Tells the recorder at hand what `metrics` are, so that `/metrics` carries their help.
pub fn describe(metrics: &[MetricSpec]) {
    for metric in metrics {
        match metric.kind {
            MetricKind::Counter => metrics::describe_counter!(metric.name, metric.help),
            MetricKind::Gauge => metrics::describe_gauge!(metric.name, metric.help),
            MetricKind::Histogram => metrics::describe_histogram!(metric.name, metric.help),
        }
    }
}

/// The Markdown table of all `tables`, in their order: name, type, labels, meaning.
#[must_use]
pub fn metrics_table(tables: &[&[MetricSpec]]) -> String {
    let mut table = String::from("| metric | type | labels | meaning |\n|---|---|---|---|\n");
    for metric in tables.iter().copied().flatten() {
        let labels: Vec<String> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
        let labels = labels.join(", ");
        let help = metric.help.replace('|', "\\|");
        let _fits =
            writeln!(table, "| `{}` | {} | {labels} | {help} |", metric.name, metric.kind.as_str());
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_a_row_for_each_metric_in_order() {
        const A: &[MetricSpec] =
            &[MetricSpec::counter("standpipe_a_records_total", &["stream", "code"], "A or | B.")];
        const B: &[MetricSpec] = &[MetricSpec::gauge("standpipe_b_bytes", &[], "Bytes.")];
        assert_eq!(
            metrics_table(&[A, B]),
            "| metric | type | labels | meaning |\n|---|---|---|---|\n\
             | `standpipe_a_records_total` | counter | `stream`, `code` | A or \\| B. |\n\
             | `standpipe_b_bytes` | gauge |  | Bytes. |\n"
        );
    }
}
