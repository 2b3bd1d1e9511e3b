//! Health, metrics and status, on a thread and a runtime of their own.
//!
//! Probes and scrapes are answered while the data path is saturated, and one slow client stands in nobody's
//! way: heads, bodies, answers and connections are bounded. No stage is imported; what is shown and what can
//! be done is handed in by `app` as [`Sources`].
//!
//! On `listen`: `/livez`, `/readyz`, `/metrics`, `/v1/status`, `/v1/streams/{stream}/encryption`,
//! `/v1/log-level`, `/v1/dead-letters/{stream}/replay`, `/quitquitquit` and a page at `/`. On `health_listen` the
//! first three alone. What changes something needs the bearer token; where `listen` is not on loopback,
//! everything but the first three does, unless the configuration allows it.

mod accept;
mod body;
mod connection;
mod encryption;
mod endpoints;
mod human;
pub mod metrics;
mod page;
mod replay;
mod respond;
mod routes;
mod server;
#[cfg(test)]
mod tests;

pub use encryption::{
    ChangeEncryption, Encryption, EncryptionAnswer, EncryptionChange, EncryptionChanged,
    EncryptionRefused, ShowEncryption,
};
pub use endpoints::Sources;
pub use metrics::METRICS;
pub use replay::{Replay, ReplayAnswer, ReplayRefused, ReplayRequest};
pub use server::{Admin, StartError, start};

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

/// The admin listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Where everything is served.
    pub listen: SocketAddr,
    /// Where health and metrics alone are served, for kubelet and Prometheus.
    pub health_listen: Option<SocketAddr>,
    /// The file that holds the bearer token which everything that changes something needs.
    pub token_file: Option<PathBuf>,
    /// Whether `listen` may be off loopback without a token.
    pub allow_unprotected: bool,
    /// Whether the encryption of streams can be changed here.
    pub manage_encryption: bool,
    /// The most open connections.
    pub connections_max: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 4574)),
            health_listen: None,
            token_file: None,
            allow_unprotected: false,
            manage_encryption: false,
            connections_max: 256,
        }
    }
}
