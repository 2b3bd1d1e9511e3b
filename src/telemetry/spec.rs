//! What a metric is, in one value: its name, kind, labels and help, as code and as a row of a table.
//!
//! Every stage lists its metrics once, as `pub const METRICS: &[MetricSpec]`, and describes them from that
//! list; the README's table is made from the same lists. Nothing here counts anything.

use std::collections::BTreeSet;
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

/// What breaks the rules of names and helps in `tables`, one line each; empty when nothing does.
///
/// The rules are those of `promtool check metrics` and of the house, so that a test over the lists of all
/// stages finds what would otherwise be seen only once the metric is shown.
#[must_use]
pub fn naming_faults(tables: &[&[MetricSpec]]) -> Vec<String> {
    let mut seen = BTreeSet::new();
    let mut faults = Vec::new();
    for metric in tables.iter().copied().flatten() {
        let name = metric.name;
        let mut fault = |holds: bool, rule: &str| {
            if !holds {
                faults.push(format!("{name}: {rule}"));
            }
        };
        fault(seen.insert(name), "is listed twice");
        let ours = name.starts_with("standpipe_") || name.starts_with("process_");
        fault(ours, "begins with standpipe_");
        fault(is_word(name), "is made of a-z, 0-9 and _");
        let counter = metric.kind == MetricKind::Counter;
        fault(name.ends_with("_total") == counter, "counters, and they alone, end with _total");
        let reserved = ["_count", "_sum", "_bucket"].iter().any(|suffix| name.ends_with(suffix));
        fault(!reserved, "ends like a part of a histogram");
        let scaled = ["_ms", "_us", "_millis", "_kib", "_mib", "_percent"];
        let stem = name.strip_suffix("_total").unwrap_or(name);
        fault(!scaled.iter().any(|unit| stem.ends_with(unit)), "units are base units");
        fault(metric.labels.iter().all(|label| is_word(label)), "has a label that is no word");
        let own = ["le", "quantile", "job", "instance"];
        fault(
            !metric.labels.iter().any(|label| own.contains(label)),
            "has a label of Prometheus' own",
        );
        fault(
            metric.help.ends_with('.') && metric.help.len() > 1,
            "has a help that is no sentence",
        );
        fault(!metric.help.contains(['\n', '\\']), "has a help of more than plain text");
    }
    faults
}

fn is_word(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
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

    #[test]
    fn the_lists_at_hand_break_no_rule() {
        let tables = [
            crate::telemetry::metrics::METRICS,
            crate::telemetry::process::METRICS,
            crate::admin::METRICS,
        ];
        assert_eq!(naming_faults(&tables), Vec::<String>::new());
    }

    #[test]
    fn each_rule_is_held() {
        let broken = |spec: MetricSpec| naming_faults(&[&[spec]]).len();
        let help = "Help.";
        assert_eq!(broken(MetricSpec::counter("standpipe_a_records_total", &["stream"], help)), 0);
        assert_eq!(broken(MetricSpec::counter("standpipe_a_records", &[], help)), 1);
        assert_eq!(broken(MetricSpec::gauge("standpipe_a_records_total", &[], help)), 1);
        assert_eq!(broken(MetricSpec::gauge("other_records", &[], help)), 1);
        assert_eq!(broken(MetricSpec::gauge("standpipe_Records", &[], help)), 1);
        assert_eq!(broken(MetricSpec::gauge("standpipe_a_count", &[], help)), 1);
        assert_eq!(broken(MetricSpec::histogram("standpipe_a_wait_ms", &[], help)), 1);
        assert_eq!(broken(MetricSpec::histogram("standpipe_a_seconds", &["le"], help)), 1);
        assert_eq!(broken(MetricSpec::gauge("standpipe_a_bytes", &["a-b"], help)), 1);
        assert_eq!(broken(MetricSpec::gauge("standpipe_a_bytes", &[], "no sentence")), 1);
        let one = MetricSpec::gauge("standpipe_a_bytes", &[], help);
        assert_eq!(naming_faults(&[&[one], &[one]]), ["standpipe_a_bytes: is listed twice"]);
    }
}
