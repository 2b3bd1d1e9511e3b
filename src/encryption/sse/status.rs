//! What is shown of a stream's encryption. A plain snapshot.

use std::sync::Arc;
use std::time::Instant;

use super::declared::{Declared, Key, Target};
use crate::gate::{Passage, Route};
use crate::record::StreamName;

/// How it stands with the encryption of one stream.
#[derive(Debug, Clone)]
pub struct StreamStatus {
    /// The delivery stream.
    pub stream: StreamName,
    /// What is declared.
    pub declared: Declared,
    /// What a person has asked for in this life; it is in force instead of the declaration until a restart.
    pub by_hand: Option<Target>,
    /// Where its records go.
    pub route: Route,
    /// Whether that was assumed, since the service can not be asked.
    pub is_route_assumed: bool,
    /// What the delivery stream reads from, as the service writes it, when it was asked.
    pub source: Option<Arc<str>>,
    /// What the service says of its encryption, or the answers.
    pub state: State,
    /// Since when.
    pub since: Instant,
    /// One sentence about it.
    pub detail: Arc<str>,
    /// The key that the service names.
    pub key: Option<Key>,
    /// Why the last change failed: the service's type and its details.
    pub failure: Option<(Arc<str>, Arc<str>)>,
    /// Whether records may leave.
    pub passage: Passage,
    /// Since when.
    pub passage_since: Instant,
    /// Records delivered while the answers said: encrypted, not encrypted, nothing.
    pub records: Records,
    /// When an answer last confirmed the encryption.
    pub confirmed_at: Option<Instant>,
    /// When the service was last asked, with success.
    pub described_at: Option<Instant>,
    /// When it is asked next.
    pub describe_at: Option<Instant>,
    /// Why it can not be asked or changed, if that is so.
    pub trouble: Option<Arc<str>>,
    /// How many calls that change the encryption are left of the last 24 hours, as far as this process counts.
    pub calls_left: u32,
    /// What the owner does about it, in a word: `idle`, `calling`, `changing`, `waiting`.
    pub doing: &'static str,
}

/// Records by what the answers said.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Records {
    /// The stream was encrypted.
    pub confirmed: u64,
    /// It was not.
    pub unencrypted: u64,
    /// Nothing was said.
    pub unverified: u64,
}

/// The encryption of a stream, as far as it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// Nobody has said anything yet.
    Unknown,
    /// It is off.
    Disabled,
    /// It is being switched on: not encrypted yet.
    Enabling,
    /// It is on.
    Enabled,
    /// The last attempt to switch it on or to change its key failed.
    EnablingFailed,
    /// It is being switched off.
    Disabling,
    /// The last attempt to switch it off failed.
    DisablingFailed,
    /// The service says that it is on, and answers say that it is not.
    Contradicted,
}

impl State {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Unknown,
        Self::Disabled,
        Self::Enabling,
        Self::Enabled,
        Self::EnablingFailed,
        Self::Disabling,
        Self::DisablingFailed,
        Self::Contradicted,
    ];

    /// The state as it is shown to people and programs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Disabled => "disabled",
            Self::Enabling => "enabling",
            Self::Enabled => "enabled",
            Self::EnablingFailed => "enabling_failed",
            Self::Disabling => "disabling",
            Self::DisablingFailed => "disabling_failed",
            Self::Contradicted => "contradicted",
        }
    }
}
