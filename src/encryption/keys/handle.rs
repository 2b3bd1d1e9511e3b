//! The handle that the rest of the process has on the keys: start, ring, look, stop.
//!
//! Starting waits for nothing but the thread itself: neither for credentials nor for KMS.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Instant;

use super::super::running::{Running, View};
use super::file::FileError;
use super::providers::Providers;
use super::ring::Ring;
use super::state::State;
use super::status::Status;
use super::thread::Thread;
use super::{Config, metrics};
use crate::aws::BadUpstream;
use crate::record::StreamName;
use crate::spool::{KeyRing, Provider};

/// The running keys. Dropping it ends the thread; a ring that is left then gives what it has.
#[derive(Debug)]
pub struct Keys {
    watcher: Watcher,
    _thread: Running<State>,
}

/// Looks at the keys, from anywhere. Cloning gives another view of the same keys.
#[derive(Debug, Clone)]
pub struct Watcher {
    view: View<State>,
    provider: &'static str,
    key_id: Arc<str>,
}

/// Why there are no keys.
#[derive(Debug)]
pub enum StartError {
    /// KMS is to wrap new data keys, and no key of it is named.
    NoKey,
    /// A key file is to wrap new data keys, and none is named.
    NoFile,
    /// The key file can not be used.
    File(FileError),
    /// The configuration names something that can not be used.
    Upstream(BadUpstream),
    /// The operating system gives no thread, or its runtime no event queue.
    Thread(io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoKey => f.write_str("no KMS key is named; set keys.key to its ARN"),
            Self::NoFile => f.write_str("no key file is named; set keys.file to its path"),
            Self::File(error) => error.fmt(f),
            Self::Upstream(bad) => write!(f, "KMS can not be asked: {bad}"),
            Self::Thread(error) => write!(f, "the encryption thread can not be started: {error}"),
        }
    }
}

impl std::error::Error for StartError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::NoKey | Self::NoFile => None,
            Self::File(error) => Some(error),
            Self::Upstream(bad) => Some(bad),
            Self::Thread(error) => Some(error),
        }
    }
}

impl StartError {
    /// Whether the configuration is at fault, and not the machine.
    #[must_use]
    pub const fn is_configuration(&self) -> bool {
        matches!(self, Self::NoKey | Self::NoFile | Self::File(_) | Self::Upstream(_))
    }
}

impl Keys {
    /// Starts the thread, which asks for a key for each of `streams` at once. Others are asked for when they
    /// are first used.
    ///
    /// # Errors
    /// When the configuration names something that can not be used, or there is no thread to be had.
    pub fn start(config: &Config, streams: &[StreamName]) -> Result<Self, StartError> {
        let (providers, listed) = Providers::open(config)?;
        let key_id: Arc<str> = providers.key_id().unwrap_or_default().into();
        let provider = match config.provider {
            Provider::Kms => "kms",
            Provider::File => "file",
        };
        let mut state = State::new(config, listed);
        let now = Instant::now();
        streams.iter().for_each(|stream| state.want(stream, now));
        let thread = Running::start("encryption", state, |shared, runtime| {
            Thread::new(shared, providers).run(runtime);
        })
        .map_err(StartError::Thread)?;
        let view = thread.view().clone();
        Ok(Self { watcher: Watcher { view, provider, key_id }, _thread: thread })
    }

    /// The key ring for the spool.
    #[must_use]
    pub fn ring(&self) -> Arc<dyn KeyRing> {
        Arc::new(Ring(Arc::clone(&self.watcher.view.shared)))
    }

    /// How it stands with the keys.
    #[must_use]
    pub fn status(&self) -> Status {
        self.watcher.status()
    }

    /// Shows the gauges of this room.
    pub fn show_metrics(&self) {
        self.watcher.show_metrics();
    }

    /// Looks at the keys from elsewhere.
    #[must_use]
    pub fn watcher(&self) -> Watcher {
        self.watcher.clone()
    }

    /// Ends the thread. A ring that is left gives what it has, and asks for nothing more.
    pub fn stop(self) {
        drop(self);
    }
}

impl Watcher {
    /// How it stands with the keys.
    #[must_use]
    pub fn status(&self) -> Status {
        let now = Instant::now();
        self.view.shared.with(|state| state.status(self.provider, &self.key_id, now))
    }

    /// Shows the gauges of this room.
    pub fn show_metrics(&self) {
        metrics::show(&self.status());
    }

    /// Whether the thread is there.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.view.is_alive()
    }
}
