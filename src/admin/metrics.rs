//! What the admin listeners count.

use std::collections::BTreeMap;

use http::StatusCode;
use metrics::{Counter, counter};

use super::routes::{Endpoint, Listener};
use crate::telemetry::{MetricSpec, describe};

const REQUESTS: &str = "standpipe_admin_requests_total";
const TOKENS_REFUSED: &str = "standpipe_admin_tokens_refused_total";
const CONNECTIONS_OPENED: &str = "standpipe_admin_connections_opened_total";
const CONNECTIONS_CLOSED: &str = "standpipe_admin_connections_closed_total";
const CONNECTIONS_REFUSED: &str = "standpipe_admin_connections_refused_total";

/// The metrics of this stage.
pub const METRICS: &[MetricSpec] = &[
    MetricSpec::counter(
        REQUESTS,
        &["endpoint", "status"],
        "Requests that were answered, by what was asked for and by the class of the answer.",
    ),
    MetricSpec::counter(
        TOKENS_REFUSED,
        &["reason"],
        "Requests without the token that they need: it was missing, wrong, or none is configured.",
    ),
    MetricSpec::counter(CONNECTIONS_OPENED, &["listener"], "Connections that were taken."),
    MetricSpec::counter(
        CONNECTIONS_CLOSED,
        &["listener"],
        "Connections that were taken and are closed; opened less closed is open.",
    ),
    MetricSpec::counter(
        CONNECTIONS_REFUSED,
        &["listener"],
        "Connections beyond the bound, which were answered 503 or dropped.",
    ),
];

/// Why a request that needs the token was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum TokenRefusal {
    Missing,
    Wrong,
    Unconfigured,
}

impl TokenRefusal {
    const ALL: [Self; 3] = [Self::Missing, Self::Wrong, Self::Unconfigured];

    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Wrong => "wrong",
            Self::Unconfigured => "unconfigured",
        }
    }
}

/// The handles, resolved once.
pub(super) struct Metrics {
    requests: BTreeMap<(&'static str, &'static str), Counter>,
    tokens_refused: BTreeMap<TokenRefusal, Counter>,
    admin: ConnectionMetrics,
    health: ConnectionMetrics,
}

/// The handles of one listener.
pub(super) struct ConnectionMetrics {
    pub(super) opened: Counter,
    pub(super) closed: Counter,
    pub(super) refused: Counter,
}

impl Metrics {
    pub(super) fn new() -> Self {
        describe(METRICS);
        let endpoints = Endpoint::ALL.into_iter().map(Endpoint::path).chain([NO_ENDPOINT]);
        let requests = endpoints.flat_map(|endpoint| {
            CLASSES.map(|status| {
                let requests = counter!(REQUESTS, "endpoint" => endpoint, "status" => status);
                ((endpoint, status), requests)
            })
        });
        let refusals = TokenRefusal::ALL
            .into_iter()
            .map(|reason| (reason, counter!(TOKENS_REFUSED, "reason" => reason.label())));
        Self {
            requests: requests.collect(),
            tokens_refused: refusals.collect(),
            admin: ConnectionMetrics::new(Listener::Admin),
            health: ConnectionMetrics::new(Listener::Health),
        }
    }

    /// One request was answered with `status`.
    pub(super) fn answered(&self, endpoint: Option<Endpoint>, status: StatusCode) {
        let class = match status.as_u16() {
            200..=299 => OK,
            500..=599 => SERVER_FAULT,
            _ => CLIENT_FAULT,
        };
        let endpoint = endpoint.map_or(NO_ENDPOINT, Endpoint::path);
        if let Some(requests) = self.requests.get(&(endpoint, class)) {
            requests.increment(1);
        }
    }

    pub(super) fn token_refused(&self, reason: TokenRefusal) {
        if let Some(refused) = self.tokens_refused.get(&reason) {
            refused.increment(1);
        }
    }

    pub(super) const fn connections(&self, listener: Listener) -> &ConnectionMetrics {
        match listener {
            Listener::Admin => &self.admin,
            Listener::Health => &self.health,
        }
    }
}

impl ConnectionMetrics {
    fn new(listener: Listener) -> Self {
        let listener = listener.label();
        Self {
            opened: counter!(CONNECTIONS_OPENED, "listener" => listener),
            closed: counter!(CONNECTIONS_CLOSED, "listener" => listener),
            refused: counter!(CONNECTIONS_REFUSED, "listener" => listener),
        }
    }
}

const OK: &str = "2xx";
const CLIENT_FAULT: &str = "4xx";
const SERVER_FAULT: &str = "5xx";
const CLASSES: [&str; 3] = [OK, CLIENT_FAULT, SERVER_FAULT];

/// The label of requests for what is not there. Their paths are a stranger's and become no labels.
const NO_ENDPOINT: &str = "none";
