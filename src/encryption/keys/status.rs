//! How it stands with the keys, for people and for metrics. Pure data.

use std::time::{Duration, Instant};

use crate::record::StreamName;

/// How it stands with all keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// Who wraps new data keys: `kms` or `file`.
    pub provider: &'static str,
    /// The key that new data keys are wrapped under.
    pub key_id: String,
    /// One entry for each stream that a key was asked for, in the order of their names.
    pub streams: Vec<StreamKeyStatus>,
    /// How many data keys of old segments are kept in the clear.
    pub unwrapped: usize,
    /// How many data keys of old segments are being asked for.
    pub unwrapping: usize,
    /// The data keys of old segments that can not be had now.
    pub waiting: Vec<WaitingKey>,
}

/// How it stands with the key of one stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamKeyStatus {
    /// The stream.
    pub stream: StreamName,
    /// Whether there is a key.
    pub state: KeyState,
    /// How old it is.
    pub age: Option<Duration>,
    /// How many bytes were sealed since it came.
    pub sealed_bytes: u64,
    /// Why the last call for a new one failed, unless one has succeeded since.
    pub reason: Option<KeyReason>,
}

/// Whether a stream has a key for its next segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyState {
    /// It is asked for, and nothing has failed.
    Coming,
    /// It is there.
    Ready,
    /// It is there, and its renewal fails.
    Aging,
    /// It is there, and too old to be used.
    TooOld,
    /// There has been none yet, and none is to be had.
    Missing,
}

impl KeyState {
    /// The state as it is written in `/v1/status`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Coming => "coming",
            Self::Ready => "ready",
            Self::Aging => "aging",
            Self::TooOld => "too-old",
            Self::Missing => "missing",
        }
    }

    /// Whether a new segment can be begun.
    #[must_use]
    pub const fn is_usable(self) -> bool {
        matches!(self, Self::Ready | Self::Aging)
    }
}

/// Why a key can not be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyReason {
    /// The code: that of KMS, or one of ours.
    pub code: &'static str,
    /// What is said, with the code as it came.
    pub message: String,
    /// Whether it does not pass by itself.
    pub needs_operator: bool,
    /// Since when it is so.
    pub since: Instant,
    /// How many calls have failed in a row.
    pub failures: u32,
}

/// The data key of an old segment that can not be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaitingKey {
    /// The stream that its encryption context names.
    pub stream: String,
    /// The key that it is wrapped under.
    pub key_id: String,
    /// Why.
    pub message: String,
    /// Since when.
    pub since: Instant,
}
