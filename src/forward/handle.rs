//! The handle that the rest of the process has on the forward thread: start, look, stop.
//!
//! Starting waits for nothing but the thread itself: neither for credentials nor for the network.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

use tokio::sync::{oneshot, watch};

use super::Config;
use super::sink::Services;
use super::status::StreamStatus;
use super::thread::{OpenSpool, Order, SpoolEnds, Thread};
use crate::aws::BadUpstream;
use crate::gate::Gates;
use crate::pipeline::{Intake, Lane, Post};
use crate::spool::{Spools, Words};

/// One entry for each stream that has had a batch.
pub(super) type Statuses = Vec<watch::Receiver<StreamStatus>>;

/// The running forwarder. Dropped without [`Forward::stop`], it stops at once.
#[derive(Debug)]
pub struct Forward {
    orders: watch::Sender<Order>,
    statuses: watch::Receiver<Statuses>,
    over: Option<oneshot::Receiver<()>>,
    thread: Option<JoinHandle<()>>,
}

/// Stops the forwarder at once, from anywhere. Cloning gives another handle to the same forwarder.
#[derive(Debug, Clone)]
pub struct Stopper {
    orders: watch::Sender<Order>,
}

/// Looks at the streams, from anywhere. Cloning gives another handle to the same forwarder.
#[derive(Debug, Clone)]
pub struct Watcher {
    statuses: watch::Receiver<Statuses>,
}

/// Why the forwarder can not start.
#[derive(Debug)]
pub enum StartError {
    /// The configuration names something that can not be used.
    Upstream(BadUpstream),
    /// The operating system gives no thread, or its runtime no event queue.
    Thread(io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Upstream(bad) => bad.fmt(f),
            Self::Thread(error) => write!(f, "the forward thread can not be started: {error}"),
        }
    }
}

impl std::error::Error for StartError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Thread(error) => Some(error),
            Self::Upstream(bad) => Some(bad),
        }
    }
}

impl Forward {
    /// Starts the forward thread. What it can not send goes to `spool`, and comes back from there.
    ///
    /// `streams` are those that may have a backlog there: each is asked for it at once. `gates` say of each
    /// stream where its records go and whether they may.
    ///
    /// # Errors
    /// When the configuration names something that can not be used, or there is no thread to be had.
    pub fn start(
        config: Config,
        intake: Intake,
        post: Post,
        spool: Option<(Spools, Words)>,
        streams: Vec<Arc<Lane>>,
        gates: Gates,
    ) -> Result<Self, StartError> {
        let spool = spool.map(|(spools, words)| {
            let open: OpenSpool = Box::new(move |lane| spools.open(lane));
            SpoolEnds { open, words, streams }
        });
        Self::start_with(config, intake, post, spool, gates)
    }

    /// Starts it with the ends of any spool.
    pub(super) fn start_with(
        config: Config,
        intake: Intake,
        post: Post,
        spool: Option<SpoolEnds>,
        gates: Gates,
    ) -> Result<Self, StartError> {
        let services = Services::new(&config).map_err(StartError::Upstream)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(StartError::Thread)?;
        let (orders, order) = watch::channel(Order::Run);
        let (statuses, status) = watch::channel(Statuses::new());
        let (done, over) = oneshot::channel();
        let thread = std::thread::Builder::new()
            .name("forward".to_owned())
            .spawn(move || {
                let thread = Thread {
                    config,
                    services,
                    intake,
                    spool,
                    gates,
                    post,
                    orders: order,
                    statuses,
                };
                thread.run(&runtime);
                // A look-up of a name that is under way is not waited for.
                runtime.shutdown_background();
                // A handle that is gone wants no answer.
                let _nobody_asks = done.send(()).is_err();
            })
            .map_err(StartError::Thread)?;
        Ok(Self { orders, statuses: status, over: Some(over), thread: Some(thread) })
    }

    /// How the delivery of each stream goes that has had a batch, in the order of their names.
    #[must_use]
    pub fn status(&self) -> Vec<StreamStatus> {
        self.watcher().status()
    }

    /// Looks at the streams from elsewhere.
    #[must_use]
    pub fn watcher(&self) -> Watcher {
        Watcher { statuses: self.statuses.clone() }
    }

    /// Stops it at once from elsewhere, also while [`Forward::stop`] waits.
    #[must_use]
    pub fn stopper(&self) -> Stopper {
        Stopper { orders: self.orders.clone() }
    }

    /// Delivers what was handed over until now, spools what can not be delivered in time, and ends the
    /// thread.
    ///
    /// Ends when nothing is left in memory alone, at `deadline`, or when a [`Stopper`] says so. What is left
    /// is lost with the process; the lanes count it. The spool has to go on until then. It needs no runtime
    /// of its own.
    pub async fn stop(mut self, deadline: Instant) {
        // An order to stop at once that came before stands.
        self.orders.send_if_modified(|order| {
            let is_first = *order == Order::Run;
            if is_first {
                *order = Order::Drain(deadline);
            }
            is_first
        });
        if let Some(over) = self.over.take() {
            // A thread that is gone without a word has panicked, which the join says.
            let _is_said = over.await.is_ok();
        }
        if let Some(thread) = self.thread.take() {
            // It is at its end. A panic in it has ended the process already, or ends this thread now.
            if let Err(panic) = thread.join() {
                std::panic::resume_unwind(panic);
            }
        }
    }
}

impl Drop for Forward {
    fn drop(&mut self) {
        self.orders.send_replace(Order::Now);
    }
}

impl Stopper {
    /// Stops at once. What is neither delivered nor spooled is lost; the lanes count it.
    pub fn stop_now(&self) {
        self.orders.send_replace(Order::Now);
    }
}

impl Watcher {
    /// Whether the forward thread is there.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        // The thread owns the sender, and drops it only at its end.
        self.statuses.has_changed().is_ok()
    }

    /// How the delivery of each stream goes that has had a batch, in the order of their names.
    #[must_use]
    pub fn status(&self) -> Vec<StreamStatus> {
        let statuses = self.statuses.borrow();
        let mut all: Vec<StreamStatus> =
            statuses.iter().map(|status| status.borrow().clone()).collect();
        all.sort_by(|a, b| a.stream.cmp(&b.stream));
        all
    }
}
