//! The admin thread: its listeners, its runtime, its beginning and its end.
//!
//! It knows nothing of what is served, and of no other stage.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::net::TcpListener as AsyncListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::{LocalSet, spawn_local};
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::Config;
use super::accept::{Accepting, REFUSALS_MAX};
use super::connection::{Limits, asked_to_stop};
use super::endpoints::{Endpoints, Sources};
use super::routes::Listener;
use crate::token::{Token, TokenError};

/// Binds the listeners of `config` and serves `sources` on a thread of their own.
///
/// # Errors
///
/// When an address can not be bound, the token is not fit, or `listen` would be open to others. Nothing is
/// left behind then.
pub fn start(config: &Config, sources: Sources) -> Result<Admin, StartError> {
    start_within(config, Limits::default(), sources)
}

pub(super) fn start_within(
    config: &Config,
    limits: Limits,
    sources: Sources,
) -> Result<Admin, StartError> {
    let outside = !config.listen.ip().to_canonical().is_loopback();
    if outside && config.token_file.is_none() && !config.allow_unprotected {
        return Err(StartError::Unprotected { address: config.listen });
    }
    let token =
        config.token_file.as_deref().map(|path| Token::read("admin.token_file", path)).transpose();
    let token = token.map_err(StartError::Token)?;
    let admin = bind("admin.listen", config.listen)?;
    let health = config.health_listen.map(|address| bind("admin.health_listen", address));
    let health = health.transpose()?;
    let local_addr = admin.local_addr().map_err(StartError::Runtime)?;
    let health_addr = health.as_ref().map(TcpListener::local_addr).transpose();
    let health_addr = health_addr.map_err(StartError::Runtime)?;

    let (stop, stopped) = watch::channel(false);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build();
    let runtime = runtime.map_err(StartError::Runtime)?;
    // Counters are resolved here, with the recorder of whoever starts us.
    let exposed = outside && !config.allow_unprotected;
    let endpoints =
        Endpoints::new(sources, token, (exposed, config.manage_encryption), limits.body);
    let connections_max = config.connections_max.clamp(1, CONNECTIONS_MAX);
    let listeners = [(Listener::Admin, Some(admin)), (Listener::Health, health)];
    let thread = thread::Builder::new().name("admin".to_owned()).spawn(move || {
        let endpoints = Rc::new(endpoints);
        let rooms = listeners.into_iter().filter_map(|(kind, listener)| {
            Some(Room { kind, listener: listener?, connections_max, limits })
        });
        let served = serve(rooms.collect(), endpoints, limits.stop, stopped);
        if let Err(error) = LocalSet::new().block_on(&runtime, served) {
            tracing::error!(%error, "the admin listeners can not be served");
        }
    });
    let thread = Some(thread.map_err(StartError::Runtime)?);
    tracing::info!(address = %local_addr, "admin listens");
    if let Some(address) = health_addr {
        tracing::info!(%address, "health and metrics listen");
    }
    Ok(Admin { local_addr, health_addr, stop, thread })
}

fn bind(key: &'static str, address: SocketAddr) -> Result<TcpListener, StartError> {
    let bound = TcpListener::bind(address).and_then(|listener| {
        listener.set_nonblocking(true)?;
        Ok(listener)
    });
    bound.map_err(|error| StartError::Bind { key, address, error })
}

/// The running admin listeners. Dropping it stops them.
#[derive(Debug)]
pub struct Admin {
    local_addr: SocketAddr,
    health_addr: Option<SocketAddr>,
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

impl Admin {
    /// Where everything is served.
    #[must_use]
    pub const fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Where health and metrics alone are served.
    #[must_use]
    pub const fn health_addr(&self) -> Option<SocketAddr> {
        self.health_addr
    }

    /// Whether the thread still runs.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.thread.as_ref().is_some_and(|thread| !thread.is_finished())
    }

    /// Takes no more connections, answers what was asked, and waits for the thread: about a second at most.
    pub fn stop(self) {
        drop(self);
    }
}

impl Drop for Admin {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        let Some(thread) = self.thread.take() else { return };
        // The last handle may be dropped on the thread itself, which can not wait for its own end.
        if thread.thread().id() != thread::current().id() && thread.join().is_err() {
            tracing::error!("the admin thread panicked");
        }
    }
}

/// A listener and its bounds. Each has its own, so that who fills one does not shut the other.
struct Room {
    kind: Listener,
    listener: TcpListener,
    connections_max: usize,
    limits: Limits,
}

async fn serve(
    rooms: Vec<Room>,
    endpoints: Rc<Endpoints>,
    grace: Duration,
    mut stop: watch::Receiver<bool>,
) -> io::Result<()> {
    let mut open = Vec::new();
    for room in rooms {
        let listener = AsyncListener::from_std(room.listener)?;
        let slots = Arc::new(Semaphore::new(room.connections_max));
        open.push((Arc::clone(&slots), room.connections_max));
        let accepting = Accepting {
            kind: room.kind,
            listener,
            slots,
            refusals: Arc::new(Semaphore::new(REFUSALS_MAX)),
            limits: room.limits,
            endpoints: Rc::clone(&endpoints),
            stop: stop.clone(),
        };
        drop(spawn_local(accepting.run()));
    }
    drop(spawn_local(async move {
        let mut ticks = interval(UPKEEP_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            endpoints.upkeep();
        }
    }));
    asked_to_stop(&mut stop).await;
    let all_closed = async {
        for (slots, connections_max) in open {
            // All slots back means that no connection is left.
            let all = u32::try_from(connections_max).unwrap_or(u32::MAX);
            let _closed = slots.acquire_many(all).await.is_ok();
        }
    };
    // What is not answered by then is cut off with the runtime.
    let _in_time = timeout(grace, all_closed).await.is_ok();
    Ok(())
}

/// The most connections that can be configured for a listener.
const CONNECTIONS_MAX: usize = 65_536;

/// How often histograms are put in order: at 100,000 values a second this keeps about 2 MiB of them.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(1);

const _: () = assert!(CONNECTIONS_MAX <= Semaphore::MAX_PERMITS, "a slot for each connection");

/// Why the admin listeners did not start.
#[derive(Debug)]
pub enum StartError {
    /// An address can not be bound.
    Bind {
        /// The setting that names it.
        key: &'static str,
        /// The address.
        address: SocketAddr,
        /// What the system says.
        error: io::Error,
    },
    /// `listen` is open to others, and nothing protects it.
    Unprotected {
        /// The address.
        address: SocketAddr,
    },
    /// The token is not fit.
    Token(TokenError),
    /// The system gives no thread or no event queue.
    Runtime(io::Error),
}

impl StartError {
    /// Whether the configuration is at fault, and not what the machine has to give.
    #[must_use]
    pub const fn is_configuration(&self) -> bool {
        matches!(self, Self::Unprotected { .. } | Self::Token(_))
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bind { key, address, error } if error.kind() == io::ErrorKind::AddrInUse => {
                write!(
                    f,
                    "{key}: {address} is already in use; choose another port, or stop what listens there"
                )
            }
            Self::Bind { key, address, error } => {
                write!(f, "{key}: {address} can not be listened on: {error}")
            }
            Self::Unprotected { address } => write!(
                f,
                "admin.listen: {address} is open to others than this machine; set admin.token_file, or \
                 admin.allow_unprotected = true if that is meant (for probes and scrapes alone there is \
                 admin.health_listen)"
            ),
            Self::Token(error) => error.fmt(f),
            Self::Runtime(error) => write!(f, "the admin thread can not be started: {error}"),
        }
    }
}

impl std::error::Error for StartError {}
