//! Health, metrics and status, on a thread and a runtime of their own.

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
            connections_max: 256,
        }
    }
}
