//! The words between the plan and the worker: what a request is made of, and what became of it.
//!
//! Plain data. It decides nothing.

use std::time::Instant;

use super::blobs::Form;
use crate::pipeline::{Batch, Origin, Ticket};
use crate::record::billed_bytes;

/// The most that one request takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bounds {
    /// Records as the service counts them, 1 to 500: where records are joined, that many blobs.
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
    /// The raw bytes that are sent, without partition keys.
    pub(super) bytes: usize,
    /// Whether it is part of finding out who is at fault.
    pub(super) is_inquest: bool,
    /// How the records are joined. Without that each goes by itself, as it is.
    pub(super) blobs: Option<Blobs>,
}

/// The records of the service that the records of a request become.
#[derive(Debug)]
pub(super) struct Blobs {
    pub(super) form: Form,
    /// The blob of each record, by the record's place in the request.
    pub(super) of: Vec<u16>,
    pub(super) blobs: Vec<Blob>,
}

/// One record of the service, made of one or more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Blob {
    /// How many records are in it. One that is by itself is sent as it is, but for a newline at its end.
    pub(super) records: usize,
    /// Its size, without its partition key.
    pub(super) bytes: usize,
    /// The partition key that its records share, for a data stream.
    pub(super) key: Option<Box<str>>,
}

/// What of a request was delivered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Sent {
    /// Records as they were taken.
    pub(super) records: u64,
    /// Their raw bytes.
    pub(super) bytes: u64,
    /// Records of the service.
    pub(super) blobs: u64,
    /// What those are billed as, in bytes.
    pub(super) billed: u64,
    /// What is saved by it: each record by itself would have been billed so much more.
    pub(super) saved: u64,
}

impl Request {
    /// How many records it has for the service: that many entries its answer has.
    pub(super) fn entries(&self) -> usize {
        self.blobs.as_ref().map_or(self.picks.len(), |blobs| blobs.blobs.len())
    }

    /// The entry of the answer that is about the record at this place.
    pub(super) fn entry_of(&self, place: usize) -> usize {
        self.blobs.as_ref().map_or(place, |blobs| blobs.entry_of(place))
    }

    /// How many records the entry at this place is about.
    pub(super) fn records_of(&self, entry: usize) -> usize {
        let blob = self.blobs.as_ref().and_then(|blobs| blobs.blobs.get(entry));
        blob.map_or(1, |blob| blob.records)
    }

    /// What of it was delivered, when the entries that `is_put` names were.
    pub(super) fn sent(&self, is_put: impl Fn(usize) -> bool) -> Sent {
        let mut sent = Sent::default();
        let mut by_itself = 0;
        for (place, pick) in self.picks.iter().enumerate() {
            if is_put(self.entry_of(place)) {
                sent.records += 1;
                sent.bytes += u64::from(pick.bytes);
                by_itself += billed_bytes(pick.bytes as usize) as u64;
            }
        }
        sent.billed = by_itself;
        sent.blobs = sent.records;
        if let Some(blobs) = &self.blobs {
            let put = blobs.blobs.iter().enumerate().filter(|(entry, _)| is_put(*entry));
            let billed = put.map(|(_, blob)| billed_bytes(blob.bytes) as u64);
            (sent.blobs, sent.billed) = billed.fold((0, 0), |(n, sum), one| (n + 1, sum + one));
            sent.saved = by_itself.saturating_sub(sent.billed);
        }
        sent
    }

    /// Takes the records at these places, which grow, out of it.
    pub(super) fn take_out(&mut self, places: &[usize]) -> Vec<Pick> {
        let mut taken = Vec::with_capacity(places.len());
        let mut place = 0;
        self.picks.retain(|pick| {
            let is_out = places.binary_search(&place).is_ok();
            taken.extend(is_out.then_some(*pick));
            place += 1;
            !is_out
        });
        match &mut self.blobs {
            Some(blobs) => {
                blobs.take_out(places);
                self.bytes = blobs.bytes();
            }
            None => self.bytes -= taken.iter().map(|pick| pick.bytes as usize).sum::<usize>(),
        }
        taken
    }
}

impl Blobs {
    /// The blob of the record at this place.
    pub(super) fn entry_of(&self, place: usize) -> usize {
        self.of.get(place).map_or(place, |blob| usize::from(*blob))
    }

    /// What they are in bytes, all together.
    pub(super) fn bytes(&self) -> usize {
        self.blobs.iter().map(|blob| blob.bytes).sum()
    }

    /// Takes the records at these places out. They are by themselves, so that their blobs go too.
    fn take_out(&mut self, places: &[usize]) {
        let is_out = |place: usize| places.binary_search(&place).is_ok();
        let out: Vec<u16> =
            places.iter().filter_map(|place| self.of.get(*place).copied()).collect();
        debug_assert!(
            out.iter()
                .all(|blob| self.blobs.get(usize::from(*blob)).is_some_and(|b| b.records == 1)),
            "what is too large for a data stream is in no blob with others"
        );
        let mut place = 0;
        self.of.retain(|_| {
            place += 1;
            !is_out(place - 1)
        });
        let mut blob = 0;
        self.blobs.retain(|_| {
            blob += 1;
            !out.contains(&(blob - 1))
        });
        for of in &mut self.of {
            let before = out.iter().filter(|gone| *gone < of).count();
            *of -= u16::try_from(before).unwrap_or(0);
        }
    }
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
    /// It was in a blob with others that was refused: who of them is at fault is to be found out.
    Suspect,
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
