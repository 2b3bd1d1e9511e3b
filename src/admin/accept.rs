//! Taking the connections of a listener, as many as there may be.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::spawn_local;
use tokio::time::sleep;

use super::connection::{self, Limits, asked_to_stop};
use super::endpoints::Endpoints;
use super::routes::Listener;
use crate::telemetry::RateLimit;

/// What takes the connections of one listener.
pub(super) struct Accepting {
    pub(super) kind: Listener,
    pub(super) listener: TcpListener,
    /// One for each connection that may be open.
    pub(super) slots: Arc<Semaphore>,
    /// One for each connection that may be in the course of being refused.
    pub(super) refusals: Arc<Semaphore>,
    pub(super) limits: Limits,
    pub(super) endpoints: Rc<Endpoints>,
    pub(super) stop: watch::Receiver<bool>,
}

impl Accepting {
    /// Takes connections until `stop` says so.
    pub(super) async fn run(mut self) {
        let mut fault_logs = RateLimit::new(LOG_INTERVAL);
        let mut bound_logs = RateLimit::new(LOG_INTERVAL);
        loop {
            let accepted = tokio::select! {
                biased;
                () = asked_to_stop(&mut self.stop) => return,
                accepted = self.listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, peer)) => self.take(stream, peer, &mut bound_logs),
                Err(error) => {
                    if let Some(suppressed) = fault_logs.admit(Instant::now()) {
                        let listener = self.kind.label();
                        tracing::warn!(listener, %error, suppressed, "no connection can be taken");
                    }
                    // Out of descriptors, most likely: trying again at once would spin.
                    sleep(ACCEPT_BACKOFF).await;
                }
            }
        }
    }

    fn take(&self, stream: TcpStream, peer: SocketAddr, logs: &mut RateLimit) {
        let counters = self.endpoints.metrics().connections(self.kind);
        if let Ok(slot) = Arc::clone(&self.slots).try_acquire_owned() {
            counters.opened.increment(1);
            let closed = counters.closed.clone();
            let endpoints = Rc::clone(&self.endpoints);
            let (kind, limits, stop) = (self.kind, self.limits, self.stop.clone());
            drop(spawn_local(async move {
                connection::serve(stream, peer, kind, limits, endpoints, stop).await;
                closed.increment(1);
                drop(slot);
            }));
            return;
        }
        counters.refused.increment(1);
        if let Some(suppressed) = logs.admit(Instant::now()) {
            let listener = self.kind.label();
            tracing::warn!(listener, %peer, suppressed, "too many admin connections");
        }
        // Saying no takes a while too, and is bounded too; beyond that the connection is just dropped.
        if let Ok(slot) = Arc::clone(&self.refusals).try_acquire_owned() {
            let within = self.limits.refusal;
            drop(spawn_local(async move {
                connection::refuse(stream, within).await;
                drop(slot);
            }));
        }
    }
}

/// The most connections that are being refused at a time.
pub(super) const REFUSALS_MAX: usize = 32;

/// How long to wait after a connection could not be accepted.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);

/// At most one log line in this time of each kind.
const LOG_INTERVAL: Duration = Duration::from_secs(10);
