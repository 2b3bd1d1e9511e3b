//! The spool of one stream, as the stages around it see it: what may be asked of it, none of it waiting.
//!
//! Everything is a message to the stream's writer or reader. It does no work and touches no disk.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crossbeam_channel::{Receiver, Sender};

use super::counts::Counts;
use super::replay::{Replay, ReplayAsk, Replayed};
use super::segment::{Laid, Seal};
use super::status::StreamStatus;
use super::words::{Letter, Spill};
use crate::pipeline::{Inlet, NotDurable, Origin, Reservation, Ticket};
use crate::record::StreamName;

/// Schedules an actor of the spool.
pub(super) type Wake = Arc<dyn Fn() + Send + Sync>;

/// What the writer of a stream is told, beside the groups that come through its inlet.
#[derive(Debug)]
pub(super) enum WriterJob {
    /// To keep a copy.
    Spill(Spill, SpillRoom),
    /// To set a record aside.
    SetAside(Letter, Option<Ticket>),
    /// To send dead letters on their way again.
    Replay(Replay),
    /// To end what is open and take nothing more.
    End,
}

/// Room for a copy on its way to the writer, until this is dropped.
#[derive(Debug)]
pub struct SpillRoom {
    bytes: usize,
    /// The bytes that are on their way, over all streams.
    of: Arc<AtomicUsize>,
}

impl SpillRoom {
    /// The copy has turned out to have so many.
    fn set(&mut self, bytes: usize) {
        self.of.fetch_add(bytes, Ordering::AcqRel);
        self.of.fetch_sub(std::mem::replace(&mut self.bytes, bytes), Ordering::AcqRel);
    }
}

impl Drop for SpillRoom {
    fn drop(&mut self) {
        self.of.fetch_sub(self.bytes, Ordering::AcqRel);
    }
}

/// What the reader of a stream is told.
#[derive(Debug)]
pub(super) enum ReaderJob {
    /// The service has these records of a frame, or they are dead letters.
    Note { origin: Origin, numbers: Vec<u16> },
    /// A batch has left memory with records that are not settled: they are to be read again.
    LetGo(Origin),
    /// The writer has begun a segment.
    Begun { segment: u64, path: PathBuf, start: u64, seal: Arc<Seal> },
    /// The writer has made frames durable. The forwarder has their records in memory.
    Synced { segment: u64, frames: Vec<Laid> },
    /// The writer is done with a segment. What lies above `frames` in it was never promised.
    Ended { segment: u64, frames: u32, records: u64, room: Reservation },
    /// A key that was waited for may be there.
    Key,
    /// To write down what is noted and do nothing more.
    End,
}

/// What the spool holds of a stream and has not handed over.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Records that wait on disk alone, as far as they are counted.
    pub records: u64,
    /// All records on disk that are not delivered, as far as they are counted.
    pub undelivered: u64,
    /// Those of them that linger with the writer before the forwarder has them.
    pub lingering: u64,
    /// Whether something is on its way to the disk. What of it is not among the others yet will be.
    pub is_growing: bool,
    /// Segments of an earlier life that were not looked into yet.
    pub segments_uncounted: u64,
    /// When the oldest of them was accepted, in milliseconds since 1970, where it is known.
    pub oldest_unix_ms: Option<u64>,
}

/// The spool of one stream. Cloning gives another handle to the same one.
#[derive(Clone)]
pub struct StreamSpool {
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub(super) inlet: Inlet,
    pub(super) counts: Arc<Counts>,
    pub(super) is_wanted: Arc<AtomicBool>,
    /// Bytes of copies that are on their way to the writer.
    pub(super) spilling_bytes: Arc<AtomicUsize>,
    pub(super) spilling_bytes_max: usize,
    pub(super) to_writer: Sender<WriterJob>,
    pub(super) wake_writer: Wake,
    pub(super) to_reader: Sender<ReaderJob>,
    pub(super) wake_reader: Wake,
}

impl StreamSpool {
    /// The way for durable records.
    #[must_use]
    pub fn inlet(&self) -> Inlet {
        self.inner.inlet.clone()
    }

    /// Keeps a copy of records. [`super::Word::Spooled`] says what became of it.
    ///
    /// # Errors
    /// Gives the copy back when as many bytes as allowed are on their way, over all streams. One copy may
    /// always go when none is.
    pub fn spill(&self, spill: Spill) -> Result<(), Box<Spill>> {
        match self.spill_room(spill.memory_bytes()) {
            Some(room) => {
                self.spill_into(room, spill);
                Ok(())
            }
            None => Err(Box::new(spill)),
        }
    }

    /// Room for a copy of about so many bytes, by the same bound, before it is made.
    #[must_use]
    pub fn spill_room(&self, bytes: usize) -> Option<SpillRoom> {
        let of = Arc::clone(&self.inner.spilling_bytes);
        self.takes_on_its_way(bytes).then(|| SpillRoom { bytes, of })
    }

    /// Keeps a copy for which there is room, as [`StreamSpool::spill`] does.
    pub fn spill_into(&self, mut room: SpillRoom, spill: Spill) {
        room.set(spill.memory_bytes());
        self.tell_writer(WriterJob::Spill(spill, room));
    }

    /// Sets a record aside as a dead letter. [`super::Word::SetAside`] says what became of it.
    pub fn set_aside(&self, letter: Letter) {
        self.tell_writer(WriterJob::SetAside(letter, None));
    }

    /// Sets a record aside that a request waits for: its part of a receipt says what became of it.
    ///
    /// # Errors
    /// Gives the record back as [`StreamSpool::spill`] does, of whose bound this is a part.
    pub fn set_aside_for(&self, ticket: Ticket, letter: Letter) -> Result<(), Vec<u8>> {
        if !self.takes_on_its_way(letter.record.capacity()) {
            return Err(letter.record);
        }
        self.tell_writer(WriterJob::SetAside(letter, Some(ticket)));
        Ok(())
    }

    /// Counts `bytes` as on their way to the writer, if they may be.
    fn takes_on_its_way(&self, bytes: usize) -> bool {
        let Inner { spilling_bytes, spilling_bytes_max: most, .. } = &*self.inner;
        let taken = spilling_bytes.fetch_update(Ordering::AcqRel, Ordering::Acquire, |used| {
            (used == 0 || used + bytes <= *most).then_some(used + bytes)
        });
        taken.is_ok()
    }

    /// Sends dead letters on their way again. What became of it comes once, at the latest a little after
    /// [`ReplayAsk::until`]; nothing comes when the process ends first, or the disk does not answer.
    #[must_use]
    pub fn replay(&self, ask: ReplayAsk) -> Receiver<Replayed> {
        let (answer, answers) = crossbeam_channel::bounded(1);
        // A writer that is at its end reads no jobs any more.
        if self.inner.inlet.obstacle() != Some(NotDurable::Stopping) {
            self.tell_writer(WriterJob::Replay(Replay::new(ask, answer)));
        }
        answers
    }

    /// Says that these records of a frame are settled.
    pub fn note(&self, origin: Origin, numbers: Vec<u16>) {
        self.tell_reader(ReaderJob::Note { origin, numbers });
    }

    /// Says that a batch has left memory with records that are not settled.
    pub fn let_go(&self, origin: Origin) {
        self.tell_reader(ReaderJob::LetGo(origin));
    }

    /// Says whether batches of the backlog are wanted. At first they are not.
    pub fn want(&self, is_wanted: bool) {
        if self.inner.is_wanted.swap(is_wanted, Ordering::AcqRel) != is_wanted && is_wanted {
            (self.inner.wake_reader)();
        }
    }

    /// What there is that is not handed over.
    #[must_use]
    pub fn backlog(&self) -> Backlog {
        // Asked first: what is written until then is counted.
        let is_growing = self.inner.inlet.is_busy();
        Backlog { is_growing, ..self.inner.counts.backlog() }
    }

    /// How it does.
    pub(super) fn status(&self, stream: StreamName) -> StreamStatus {
        let Inner { counts, inlet, .. } = &*self.inner;
        let oldest = counts.oldest_unix_ms.get();
        StreamStatus {
            stream,
            records: counts.records.get(),
            records_waiting: counts.waiting.get(),
            bytes: counts.bytes.get(),
            segments: counts.segments.get(),
            segments_uncounted: counts.segments_uncounted.get(),
            oldest_unix_ms: (oldest != 0).then_some(oldest),
            obstacle: inlet.obstacle(),
            obstacle_detail: counts.writing.get(),
            waits_for: counts.reading.get(),
            records_recovered: counts.recovered.get(),
            records_quarantined: counts.quarantined.get(),
            segments_quarantined: counts.quarantined_segments.get(),
            torn_bytes: counts.torn_bytes.get(),
            unverified_note_bytes: counts.unverified_note_bytes.get(),
            dead_letters: counts.dead_letters.get(),
            dead_letters_found: counts.dead_letters_found.get(),
            dead_letters_replayed: counts.dead_letters_replayed.get(),
            dead_letter_segments_uncounted: counts.dead_letter_segments_uncounted.get(),
            dead_letter_bytes: counts.dead_letter_bytes.get(),
            records_written: counts.written.get(),
            bytes_written: counts.written_bytes.get(),
            frames_read: counts.frames_read.get(),
            failures: counts.failures.get(),
        }
    }

    pub(super) fn tell_writer(&self, job: WriterJob) {
        // A writer that is gone has told everybody that it takes nothing more.
        if self.inner.to_writer.send(job).is_ok() {
            (self.inner.wake_writer)();
        }
    }

    pub(super) fn tell_reader(&self, job: ReaderJob) {
        // Without a reader nothing is noted: the next life delivers it again.
        if self.inner.to_reader.send(job).is_ok() {
            (self.inner.wake_reader)();
        }
    }
}

impl std::fmt::Debug for StreamSpool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StreamSpool").field("backlog", &self.backlog()).finish_non_exhaustive()
    }
}
