//! The handle that the rest of the process has on the control: start, gates, look, change, stop.
//!
//! Starting waits for nothing but the thread itself: neither for credentials nor for the service.

use std::fmt;
use std::io;

use super::Config;
use super::declared::Target;
use super::status::StreamStatus;
use crate::aws::BadUpstream;
use crate::gate::Gates;
use crate::record::StreamName;

/// The running control. Dropping it ends the thread; gates that are left then stay as they are.
#[derive(Debug)]
pub struct Control {
    watcher: Watcher,
}

/// Looks at the streams and changes them, from anywhere. Cloning gives another view of the same control.
#[derive(Debug, Clone)]
pub struct Watcher {}

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
    TooManyCalls(String),
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
            Self::Impossible(why)
            | Self::Busy(why)
            | Self::TooManyCalls(why)
            | Self::Unanswered(why) => f.write_str(why),
            Self::Service { code, message } => write!(f, "{code}: {message}"),
            Self::Stopping => f.write_str("the process stops; ask again when that is over"),
        }
    }
}

impl std::error::Error for ChangeRefused {}

impl Control {
    /// Starts the thread, which asks about each stream that it has to know more of.
    ///
    /// # Errors
    /// When the configuration names something that can not be used, or there is no thread to be had.
    pub fn start(_config: Config) -> Result<Self, StartError> {
        Ok(Self { watcher: Watcher {} })
    }

    /// The gates for the forwarder.
    #[must_use]
    pub fn gates(&self) -> Gates {
        Gates::unminded()
    }

    /// Looks from elsewhere.
    #[must_use]
    pub fn watcher(&self) -> Watcher {
        self.watcher.clone()
    }

    /// Ends the thread. Calls that are under way come to nothing.
    pub fn stop(self) {}
}

impl Watcher {
    /// How it stands with each stream that is minded, in the order of their names.
    #[must_use]
    pub fn status(&self) -> Vec<StreamStatus> {
        Vec::new()
    }

    /// Shows the gauges of this room.
    pub fn show_metrics(&self) {}

    /// Whether the thread is there.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        true
    }

    /// Changes a stream's encryption, as a person asks: it is in force until a restart.
    ///
    /// # Errors
    /// [`ChangeRefused`], and nothing has changed, but for [`ChangeRefused::Unanswered`].
    pub async fn change(&self, _change: Change) -> Result<Changed, ChangeRefused> {
        Err(ChangeRefused::Stopping)
    }
}
