//! The composition root: all stages' configurations, and how the stages are put together and taken down.

use crate::{admin, forward, ingest, lifecycle, telemetry};

/// Everything that can be configured, by stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The bound on the memory for records and bodies, in bytes.
    pub memory_bytes_max: usize,
    /// The data listener and the streams.
    pub ingest: ingest::Config,
    /// The way to the service.
    pub forward: forward::Config,
    /// Health, metrics, status.
    pub admin: admin::Config,
    /// Logs.
    pub telemetry: telemetry::Config,
    /// How a stop goes.
    pub lifecycle: lifecycle::Config,
}
