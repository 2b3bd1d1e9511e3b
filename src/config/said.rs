//! What file and environment say, before it is believed. Pure data.

use crate::record::StreamName;

use super::draft::{Draft, StreamDraft};
use super::fault::{Fault, Place};
use super::keys::Key;
use super::kind::Raw;

/// All that one source says, and what is wrong with the way it says it.
#[derive(Debug, Default)]
pub(super) struct Said {
    pub(super) global: Vec<Statement<Draft>>,
    pub(super) defaults: Vec<Statement<StreamDraft>>,
    pub(super) streams: Vec<SaidStream>,
    /// Where it was said that any stream may be written to.
    pub(super) any_stream: Option<Place>,
    pub(super) faults: Vec<Fault>,
    /// Whether some of it could not be read at all, so that nothing follows from what is missing.
    pub(super) is_partial: bool,
}

/// A key, and what it is to be.
#[derive(Debug)]
pub(super) struct Statement<T: 'static> {
    pub(super) key: &'static Key<T>,
    pub(super) raw: Raw,
    pub(super) place: Place,
}

/// A stream and what is said of it.
#[derive(Debug)]
pub(super) struct SaidStream {
    /// `None` when the name is missing or wrong, which is a fault already; its settings are still looked at.
    pub(super) name: Option<StreamName>,
    pub(super) place: Place,
    pub(super) settings: Vec<Statement<StreamDraft>>,
}
