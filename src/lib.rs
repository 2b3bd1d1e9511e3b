//! Standpipe: the map of the code.

pub mod admin;
pub mod app;
pub mod cli;
pub mod config;
pub mod embedded;
pub mod forward;
pub mod ingest;
pub mod lifecycle;
pub mod pipeline;
pub mod record;
pub mod telemetry;
