//! The words between the plan and the worker: what a request is made of, and what became of it.
//!
//! Plain data. It decides nothing.

use std::time::Instant;

use crate::pipeline::{Batch, Origin, Ticket};

/// The most that one request takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bounds {
    /// Records: 1 to 500.
    pub(super) records_max: usize,
    /// Raw bytes. A single larger record goes alone.
    pub(super) bytes_max: usize,
    /// What each record takes of them beside its own.
    pub(super) record_bytes_more: usize,
}

/// Names one record of the plan while it is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pick {
    pub(super) batch: u64,
    pub(super) index: u32,
    pub(super) bytes: u32,
}

/// The records of one request, of each batch in a run, in the order in which they are sent.
#[derive(Debug)]
#[must_use = "its records are marked as under way until they are settled or put back"]
pub(super) struct Request {
    pub(super) picks: Vec<Pick>,
    pub(super) bytes: usize,
    /// Whether it is part of finding out who is at fault.
    pub(super) is_inquest: bool,
}

/// The part of a batch that one request delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Part {
    /// When the oldest record of its batch was accepted.
    pub(super) opened_at: Instant,
}

/// What settling has brought.
#[derive(Debug, Default)]
pub(super) struct Settlement {
    /// The parts of batches that were delivered.
    pub(super) parts: Vec<Part>,
    /// Batches of which everything is settled, to be told so: dropped, they would count as lost.
    pub(super) done: Vec<Batch>,
    /// How many records wait to be sent again.
    pub(super) again: usize,
    /// What is to be noted in the spool.
    pub(super) notes: Vec<Note>,
    /// The records that are to become dead letters: the place of each in the request, and its name.
    pub(super) letters: Vec<(usize, u64)>,
}

/// Records that are settled, by their numbers in a frame of the spool.
pub(super) type Note = (Origin, Vec<u16>);

/// What it has brought that a copy lies on disk.
#[derive(Debug, Default)]
pub(super) struct Secured {
    /// The records that were settled meanwhile.
    pub(super) note: Option<Note>,
    /// Who waits for the others.
    pub(super) tickets: Vec<Ticket>,
    /// How many records were copied.
    pub(super) records: usize,
}

/// A batch that is let go, since the disk has it.
#[derive(Debug)]
pub(super) struct LetGo {
    /// Where it lies.
    pub(super) origin: Origin,
    /// It; nothing is lost when it is dropped.
    pub(super) batch: Box<Batch>,
}

/// A record that has become a dead letter.
#[derive(Debug, Default)]
pub(super) struct Buried {
    /// What is to be noted, where the spool does not do that itself.
    pub(super) note: Option<Note>,
    /// Its batch, if everything in it is settled.
    pub(super) done: Option<Batch>,
}

/// What the answer says of one record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// The service has it.
    Put,
    /// It failed, and is sent again.
    Again,
    /// It alone is at fault, and is set aside.
    Aside,
}

/// Records of a request that are not sent with it, since they are at fault.
#[derive(Debug, Default)]
pub(super) struct TakenOut {
    /// How large each is, and its name as a letter, where there is a store for that.
    pub(super) letters: Vec<(usize, Option<u64>)>,
    /// Batches of which everything is settled.
    pub(super) done: Vec<Batch>,
}

/// What a refusal has brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The refused records are looked into.
    Open,
    /// One record was set aside.
    SetAside {
        /// How large it is.
        bytes: usize,
        /// Its name as a letter, where there is a store for that.
        letter: Option<u64>,
    },
    /// The stream is at fault and is to be held.
    Hold,
}

/// The picks of each batch, which stand together.
pub(super) fn runs(picks: &[Pick]) -> impl Iterator<Item = (u64, &[Pick])> {
    picks
        .chunk_by(|a, b| a.batch == b.batch)
        .filter_map(|run| run.first().map(|first| (first.batch, run)))
}
