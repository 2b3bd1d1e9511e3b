//! Logs and metrics: how they are set up, once for the process.

mod filter;
mod lines;
pub mod logs;
pub mod metrics;
pub mod process;
mod rate_limit;
mod spec;

pub use filter::{BadFilter, FILTER_BYTES_MAX, check_filter};
pub use lines::{flush, say_last};
pub use logs::LevelHandle;
pub use metrics::MetricsHandle;
pub use rate_limit::RateLimit;
pub use spec::{MetricKind, MetricSpec, describe, metrics_table, naming_faults};

/// The logs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// How lines look.
    pub format: LogFormat,
    /// What is logged, as `tracing` directives: `info`, or `info,standpipe::forward=debug`.
    pub filter: String,
}

impl Default for Config {
    fn default() -> Self {
        Self { format: LogFormat::Auto, filter: "info".to_owned() }
    }
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Text on a terminal, JSON otherwise.
    Auto,
    /// For people.
    Text,
    /// One object a line.
    Json,
}
