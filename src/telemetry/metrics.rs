//! The recorder of metrics: one for the process, rendered for Prometheus when somebody asks.
//!
//! It listens nowhere by itself. A histogram keeps its values one by one until [`MetricsHandle::upkeep`] or
//! a scrape counts them into buckets, so that somebody has to call `upkeep` about once a second.

use std::fmt;

use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};

use super::process;
use super::spec::{MetricSpec, describe};

/// What the process says of itself, beside what [`process::METRICS`] lists.
pub const METRICS: &[MetricSpec] =
    &[MetricSpec::gauge(BUILD_INFO, &["version"], "Always 1; the label says which version runs.")];

const BUILD_INFO: &str = "standpipe_build_info";

/// The upper bounds of a `_seconds` histogram: 100 microseconds to 5 minutes.
pub const SECONDS_BUCKETS: &[f64] = &[
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    5.0, 10.0, 30.0, 60.0, 120.0, 300.0,
];

/// The upper bounds of a `_bytes` histogram: 256 bytes to 4 MiB, the most of a batch.
pub const BYTES_BUCKETS: &[f64] = &[
    256.0,
    1_024.0,
    4_096.0,
    16_384.0,
    65_536.0,
    262_144.0,
    1_048_576.0,
    2_097_152.0,
    4_194_304.0,
];

/// The upper bounds of all other histograms: counts of things, 1 to 500 records of a batch and beyond.
pub const COUNT_BUCKETS: &[f64] =
    &[1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 300.0, 400.0, 499.0, 500.0, 1_000.0];

/// Installs the process's recorder. Before it, every counter counts into nothing.
///
/// # Errors
///
/// When the process has a recorder already.
pub fn install() -> Result<MetricsHandle, InstallError> {
    let (recorder, handle) = recorder()?;
    metrics::set_global_recorder(recorder).map_err(|_| InstallError::Installed)?;
    name_build();
    Ok(handle)
}

/// A recorder that is installed nowhere, for `metrics::with_local_recorder`.
///
/// # Errors
///
/// When the exporter does not take our settings, which a test excludes.
pub fn recorder()
-> Result<(impl metrics::Recorder + Send + Sync + 'static, MetricsHandle), InstallError> {
    let recorder = builder().map_err(InstallError::Build)?.build_recorder();
    let handle = MetricsHandle { prometheus: recorder.handle() };
    Ok((recorder, handle))
}

fn builder() -> Result<PrometheusBuilder, BuildError> {
    // Without bounds the exporter would make a summary of a histogram, and summaries can not be added up.
    PrometheusBuilder::new()
        .set_buckets(COUNT_BUCKETS)?
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), SECONDS_BUCKETS)?
        .set_buckets_for_metric(Matcher::Suffix("_bytes".to_owned()), BYTES_BUCKETS)
}

fn name_build() {
    describe(METRICS);
    metrics::gauge!(BUILD_INFO, "version" => env!("CARGO_PKG_VERSION")).set(1.0);
}

/// The way to what was counted. Cloning gives another handle to the same recorder.
#[derive(Clone)]
pub struct MetricsHandle {
    prometheus: PrometheusHandle,
}

impl MetricsHandle {
    /// Everything in Prometheus' text format, metrics in the order of their names.
    #[must_use]
    pub fn render(&self) -> String {
        let rendered = self.prometheus.render();
        // The exporter's order is a hash table's; a family is a block that ends with an empty line.
        let mut families: Vec<&str> =
            rendered.split("\n\n").filter(|family| !family.trim().is_empty()).collect();
        families.sort_unstable();
        let mut text = families.join("\n\n");
        text.push_str("\n\n");
        text.push_str(&process::render());
        text
    }

    /// Counts the values of histograms into their buckets. To be called about once a second.
    pub fn upkeep(&self) {
        self.prometheus.run_upkeep();
    }
}

impl fmt::Debug for MetricsHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MetricsHandle").finish_non_exhaustive()
    }
}

/// Why there are no metrics.
#[derive(Debug)]
pub enum InstallError {
    /// The exporter does not take our settings.
    Build(BuildError),
    /// The process has a recorder already.
    Installed,
}

impl fmt::Display for InstallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Build(error) => write!(f, "the metrics can not be set up: {error}"),
            Self::Installed => f.write_str("metrics are installed once for a process"),
        }
    }
}

impl std::error::Error for InstallError {}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `/metrics` shows after `act`, with a recorder of the test's own.
    fn rendered(act: impl FnOnce(&MetricsHandle)) -> String {
        let (recorder, handle) = recorder().unwrap();
        metrics::with_local_recorder(&recorder, || {
            name_build();
            act(&handle);
        });
        handle.render()
    }

    #[test]
    fn a_histogram_is_never_a_summary() {
        let text = rendered(|_| {
            metrics::histogram!("standpipe_test_wait_seconds").record(0.0002);
            metrics::histogram!("standpipe_test_body_bytes").record(300.0);
            metrics::histogram!("standpipe_test_batch_records").record(499.5);
        });
        assert!(!text.contains("quantile"), "{text}");
        assert!(text.contains("standpipe_test_wait_seconds_bucket{le=\"0.0001\"} 0\n"), "{text}");
        assert!(text.contains("standpipe_test_wait_seconds_bucket{le=\"0.00025\"} 1\n"));
        assert!(text.contains("standpipe_test_wait_seconds_bucket{le=\"300\"} 1\n"));
        assert!(text.contains("standpipe_test_body_bytes_bucket{le=\"1024\"} 1\n"));
        assert!(text.contains("standpipe_test_batch_records_bucket{le=\"499\"} 0\n"));
    }

    #[test]
    fn upkeep_keeps_what_was_counted() {
        let text = rendered(|handle| {
            for _ in 0..3 {
                metrics::histogram!("standpipe_test_wait_seconds").record(1.0);
                handle.upkeep();
            }
        });
        assert!(text.contains("standpipe_test_wait_seconds_count 3\n"), "{text}");
    }

    #[test]
    fn families_come_in_the_order_of_their_names_and_each_has_its_help() {
        const TWO: &[MetricSpec] = &[
            MetricSpec::counter("standpipe_b_records_total", &["stream"], "The second."),
            MetricSpec::gauge("standpipe_a_bytes", &[], "The first."),
        ];
        let text = rendered(|_| {
            describe(TWO);
            metrics::counter!("standpipe_b_records_total", "stream" => "x\"\n\ny").increment(2);
            metrics::gauge!("standpipe_a_bytes").set(1.5);
        });
        let first = text.find("# HELP standpipe_a_bytes The first.\n# TYPE").unwrap();
        let second = text.find("# HELP standpipe_b_records_total The second.\n").unwrap();
        assert!(first < second);
        assert!(text.contains("standpipe_build_info{version=\""));
        let described = text.lines().filter(|line| line.starts_with("# HELP ")).count();
        let typed = text.lines().filter(|line| line.starts_with("# TYPE ")).count();
        assert_eq!(described, typed, "{text}");
    }
}
