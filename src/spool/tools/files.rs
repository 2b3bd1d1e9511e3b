//! A segment as it lies there: what its name, its header and its end say, all of it without a key.
//!
//! Plain data. What a header or an end frame says is not to be believed before it was opened: it is claimed.

use std::path::PathBuf;

use super::super::keyring::Provider;
use crate::record::StreamName;

/// Which part of the spool a segment lies in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// Records on their way.
    Streams,
    /// Dead letters.
    DeadLetters,
    /// Damaged segments, of which all that opens was delivered.
    Quarantine,
}

impl Place {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Streams, Self::DeadLetters, Self::Quarantine];

    /// A stable word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Streams => "streams",
            Self::DeadLetters => "dead_letters",
            Self::Quarantine => "quarantine",
        }
    }
}

/// How a segment was left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// The last one of a living process, without an end: most likely it is being written.
    Open,
    /// It has its end frame.
    Closed,
    /// It has none: the process that wrote it did not end it.
    NoEnd,
    /// Its making was cut short: there was never anything in it.
    Unborn,
    /// Its format is one that this version does not read.
    Foreign(String),
    /// It is no segment, or not the one that its name says.
    Unfit(String),
    /// The disk does not give it.
    Failed(String),
}

impl State {
    /// A stable word for it.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Closed => "closed",
            Self::NoEnd => "no_end",
            Self::Unborn => "unborn",
            Self::Foreign(_) => "foreign_format",
            Self::Unfit(_) => "unfit",
            Self::Failed(_) => "failed",
        }
    }

    /// Why it is so, where that is not in the word.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Foreign(why) | Self::Unfit(why) | Self::Failed(why) => Some(why),
            Self::Open | Self::Closed | Self::NoEnd | Self::Unborn => None,
        }
    }
}

/// What an end frame claims of its segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim {
    /// Frames.
    pub frames: u32,
    /// Records in all of them.
    pub records: u64,
}

/// What a header says of the segment's key. Nothing of it is secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyFacts {
    /// Who can unwrap it.
    pub provider: Provider,
    /// The ARN at KMS, or the id of a key file.
    pub key_id: String,
}

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentFile {
    /// The part of the spool.
    pub place: Place,
    /// The stream whose folder it lies in.
    pub stream: StreamName,
    /// Its id: about when it was begun, in milliseconds since 1970.
    pub id: u64,
    /// The file.
    pub path: PathBuf,
    /// How it was left.
    pub state: State,
    /// What its end claims.
    pub claim: Option<Claim>,
    /// When it was begun, in milliseconds since 1970, as its header says.
    pub created_unix_ms: Option<u64>,
    /// Its key.
    pub key: Option<KeyFacts>,
    /// How long it is.
    pub bytes: u64,
    /// How long its delivered note is; 0 without one.
    pub note_bytes: u64,
}
