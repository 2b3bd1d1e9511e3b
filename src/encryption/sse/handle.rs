//! The handle that the rest of the process has on the control: start, gates, look, change, stop.
//!
//! Starting waits for nothing but the thread itself: neither for credentials nor for the service.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::oneshot;

use super::super::running::{Running, View};
use super::book::Book;
use super::declared::Target;
use super::file::Store;
use super::owner::Now;
use super::service::Service;
use super::status::StreamStatus;
use super::thread::Thread;
use super::trouble::{Class, Trouble};
use super::{Config, metrics};
use crate::aws::BadUpstream;
use crate::gate::Gates;
use crate::record::StreamName;

/// The running control. Dropping it ends the thread; gates that are left then stay as they are.
#[derive(Debug)]
pub struct Control(Running<Book>);

/// Looks at the streams and changes them, from anywhere. Cloning gives another view of the same control.
#[derive(Debug, Clone)]
pub struct Watcher(View<Book>);

/// Why there is no control.
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
            Self::Thread(error) => write!(f, "the control thread can not be started: {error}"),
        }
    }
}

impl std::error::Error for StartError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Upstream(bad) => Some(bad),
            Self::Thread(error) => Some(error),
        }
    }
}

/// A change that a person asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The delivery stream.
    pub stream: StreamName,
    /// What its encryption is to be.
    pub target: Target,
}

/// What came of it: the service took the call, or nothing had to be done.
#[derive(Debug, Clone)]
pub struct Changed {
    /// The call that was made, if one was.
    pub call: Option<&'static str>,
    /// How the stream stands now.
    pub status: StreamStatus,
}

/// Why nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChangeRefused {
    /// The stream is not known here.
    UnknownStream,
    /// It can not be what was asked for, and why.
    Impossible(String),
    /// A change is under way, or the stream is not `ACTIVE`.
    Busy(String),
    /// The calls of the last 24 hours are used up, by our count or the service's.
    TooManyCalls {
        /// When the next one is free, as far as that is known.
        retry_after_seconds: Option<u64>,
    },
    /// The service refuses it, by its code and words.
    Service {
        /// The code.
        code: String,
        /// The words.
        message: String,
    },
    /// No answer: it may have been done or not.
    Unanswered(String),
    /// The process stops.
    Stopping,
}

impl fmt::Display for ChangeRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownStream => f.write_str("no stream of that name is configured"),
            Self::Impossible(why) | Self::Busy(why) | Self::Unanswered(why) => f.write_str(why),
            Self::TooManyCalls { retry_after_seconds: None } => {
                f.write_str("the calls that the service allows in 24 hours are used up")
            }
            Self::TooManyCalls { retry_after_seconds: Some(seconds) } => write!(
                f,
                "the calls that the service allows in 24 hours are used up; the next one is free in {seconds} s"
            ),
            Self::Service { code, message } => write!(f, "{code}: {message}"),
            Self::Stopping => f.write_str("the process stops; ask again when that is over"),
        }
    }
}

impl std::error::Error for ChangeRefused {}

impl ChangeRefused {
    /// What a failed call means to who asked for it.
    pub(super) fn of(trouble: &Trouble) -> Self {
        match trouble.class {
            Class::Unanswered => Self::Unanswered(format!(
                "the service gave no answer, so that it may be done or not: {}",
                trouble.sentence()
            )),
            Class::Limit => Self::TooManyCalls { retry_after_seconds: None },
            Class::Busy => Self::Busy(trouble.sentence().to_string()),
            Class::Passing | Class::NotFound | Class::Operator => Self::Service {
                code: trouble.code.to_string(),
                message: trouble.message.to_string(),
            },
        }
    }
}

impl Control {
    /// Starts the thread, which asks about each stream that it has to know more of.
    ///
    /// # Errors
    /// When the configuration names something that can not be used, or there is no thread to be had.
    pub fn start(config: Config) -> Result<Self, StartError> {
        let service = Service::new(&config).map_err(StartError::Upstream)?;
        let store = Store::new(config.dir.as_deref());
        let is_owner = config.streams.values().chain([&config.others]).any(|s| s.manage.is_some());
        if is_owner && !store.is_kept() {
            tracing::warn!(
                "this process sees to the encryption of streams and has no directory: how many calls it made in \
                 the last 24 hours is forgotten with it"
            );
        }
        let book = Book::new(config, store.read(), Instant::now());
        let thread = Running::start("control", book, |shared, runtime| {
            Thread::new(shared, service, store).run(runtime);
        });
        thread.map(Self).map_err(StartError::Thread)
    }

    /// The gates for the forwarder.
    #[must_use]
    pub fn gates(&self) -> Gates {
        let shared = Arc::clone(&self.0.view().shared);
        Gates::new(move |stream| {
            let gate = shared.with(|book| book.open(stream, Instant::now()));
            shared.wake.notify_one();
            gate
        })
    }

    /// Looks from elsewhere.
    #[must_use]
    pub fn watcher(&self) -> Watcher {
        Watcher(self.0.view().clone())
    }

    /// Ends the thread. Calls that are under way come to nothing.
    pub fn stop(self) {
        drop(self);
    }
}

impl Watcher {
    /// How it stands with each stream that is minded, in the order of their names.
    #[must_use]
    pub fn status(&self) -> Vec<StreamStatus> {
        self.0.shared.with(|book| book.status(now()))
    }

    /// Shows the gauges of this room.
    pub fn show_metrics(&self) {
        metrics::show(&self.status(), Instant::now());
    }

    /// Whether the thread is there.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.0.is_alive()
    }

    /// Changes a stream's encryption, as a person asks: it is in force until a restart.
    ///
    /// # Errors
    /// [`ChangeRefused`], and nothing has changed, but for [`ChangeRefused::Unanswered`].
    pub async fn change(&self, change: Change) -> Result<Changed, ChangeRefused> {
        let (reply, answer) = oneshot::channel();
        let Change { stream, target } = change;
        self.0.shared.with(|book| book.order(&stream, target, reply, now()))?;
        self.0.shared.wake.notify_one();
        answer.await.unwrap_or(Err(ChangeRefused::Stopping))
    }
}

/// The time by both clocks.
pub(super) fn now() -> Now {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Now { at: Instant::now(), unix_ms: u64::try_from(since.as_millis()).unwrap_or(u64::MAX) }
}
