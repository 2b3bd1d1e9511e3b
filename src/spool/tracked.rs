//! A segment as its stream's reader knows it: what was noted, what is in the forwarder's hand, what waits.
//!
//! It reads frames and writes notes when it is told to. Which segment comes next, and when, is the reader's
//! matter.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use super::fs::{File, Storage};
use super::gone::Gone;
use super::noted::Noted;
use super::retry::Retry;
use super::scan::{Damage, Extent, Scanner};
use super::segment::{Laid, Seal};
use crate::pipeline::{PartitionKeys, Reservation};

/// See the module.
#[derive(Debug)]
pub(super) struct Tracked {
    pub(super) id: u64,
    pub(super) path: PathBuf,
    pub(super) note_path: PathBuf,
    pub(super) seal: Arc<Seal>,
    start: u64,
    pub(super) extent: Extent,
    /// Whether the writer still has it.
    pub(super) is_open: bool,
    /// Whether it is of an earlier life, and its records are counted only as they are read.
    pub(super) is_uncounted: bool,
    pub(super) noted: Noted,
    pub(super) note: Option<Box<dyn File>>,
    /// Whether something was written into the note since it was synced.
    pub(super) is_note_unsynced: bool,
    /// How long the note is, as far as its room is not taken yet.
    pub(super) note_bytes: usize,
    /// Frames that the forwarder has in memory, and how many records each has in all.
    in_hand: BTreeMap<u32, u32>,
    gone: Gone,
    /// How many frames there are, as far as it is known, with those that are gone.
    frames_seen: u32,
    pub(super) is_damaged: bool,
    scan: Option<Scan>,
    /// Whether all frames were read once, in a segment of an earlier life.
    is_read: bool,
    /// Whether frames behind the scanner are to be read again.
    rewinds: bool,
    pub(super) room: Option<Reservation>,
    /// When it is tried again what the disk refused.
    pub(super) retry: Retry,
    /// When its note is tried again: a disk that takes none, being full or read-only, is read all the same.
    pub(super) note_retry: Retry,
}

#[derive(Debug)]
struct Scan {
    scanner: Scanner,
    file: Option<Box<dyn File>>,
}

/// What became of the records of a frame that was let go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Released {
    /// So many of them are to be read again.
    Waits(u64),
    /// So many of them can not be read again.
    Lost(u64),
}

/// A frame that was read.
#[derive(Debug)]
pub(super) struct ReadFrame {
    pub(super) frame: u32,
    pub(super) opened_unix_ms: u64,
    pub(super) bytes: Vec<u8>,
    /// The partition keys of all its records, by their numbers.
    pub(super) keys: PartitionKeys,
    /// The records that are not noted: where each lies, and its number.
    pub(super) wanted: Vec<(std::ops::Range<usize>, u16)>,
}

/// What came of reading on.
#[derive(Debug)]
pub(super) enum Read {
    Frame(ReadFrame),
    /// A frame of so many bytes comes next.
    Next(usize),
    Damage(Damage),
    /// Nothing is left to read, for now.
    Nothing,
}

impl Tracked {
    /// A segment that the writer has just begun.
    pub(super) fn begun(
        id: u64,
        path: PathBuf,
        note_path: PathBuf,
        start: u64,
        seal: Arc<Seal>,
    ) -> Self {
        let extent = Extent { bytes: start, frames: 0, records: 0, is_final: false };
        Self { is_open: true, is_read: true, ..Self::new(id, path, note_path, start, seal, extent) }
    }

    /// A segment of an earlier life, with what its note says.
    pub(super) fn found(
        id: u64,
        paths: (PathBuf, PathBuf),
        start: u64,
        seal: Arc<Seal>,
        extent: Extent,
        noted: Noted,
    ) -> Self {
        Self { noted, ..Self::new(id, paths.0, paths.1, start, seal, extent) }
    }

    fn new(
        id: u64,
        path: PathBuf,
        note_path: PathBuf,
        start: u64,
        seal: Arc<Seal>,
        extent: Extent,
    ) -> Self {
        Self {
            id,
            path,
            note_path,
            seal,
            start,
            extent,
            is_open: false,
            is_uncounted: false,
            noted: Noted::default(),
            note: None,
            is_note_unsynced: false,
            note_bytes: 0,
            in_hand: BTreeMap::new(),
            gone: Gone::default(),
            frames_seen: 0,
            is_damaged: false,
            scan: None,
            is_read: false,
            rewinds: false,
            room: None,
            retry: Retry::default(),
            note_retry: Retry::default(),
        }
    }

    pub(super) fn note_path(&self) -> &Path {
        &self.note_path
    }

    /// Where its first frame begins.
    pub(super) const fn start(&self) -> u64 {
        self.start
    }

    /// What is noted of it.
    pub(super) const fn noted(&self) -> &Noted {
        &self.noted
    }

    /// The writer has made these frames durable, and the forwarder has them.
    pub(super) fn synced(&mut self, frames: &[Laid]) {
        for laid in frames {
            self.in_hand.insert(laid.frame, laid.records);
            self.extent.bytes = laid.end;
            self.extent.frames = laid.frame.saturating_add(1);
            self.extent.records += u64::from(laid.records);
            self.frames_seen = self.frames_seen.max(self.extent.frames);
        }
        self.extend();
    }

    /// The writer is done with it: it has so many frames, and nothing above them was promised.
    pub(super) fn ended(&mut self, frames: u32, records: u64, mut room: Reservation) {
        self.is_open = false;
        room.grow_anyway(std::mem::take(&mut self.note_bytes));
        self.extent = Extent { frames, records, is_final: true, ..self.extent };
        self.room = Some(room);
        self.extend();
    }

    fn extend(&mut self) {
        if let Some(scan) = &mut self.scan {
            scan.scanner.extend(self.extent);
        }
    }

    /// These records of a frame are settled. Says how many of them were not before, and whether the frame was
    /// in hand.
    pub(super) fn note(&mut self, frame: u32, numbers: &[u16]) -> (u64, bool) {
        let in_hand = self.in_hand.get(&frame).copied();
        if in_hand.is_none() && self.gone.has(frame) {
            // It was counted as lost when it was let go.
            return (0, true);
        }
        let mut news = 0;
        for number in numbers {
            news += u64::from(self.noted.note(frame, *number, in_hand.unwrap_or(u32::MAX)));
        }
        if self.noted.is_whole(frame) {
            self.in_hand.remove(&frame);
        }
        (news, in_hand.is_some())
    }

    /// The forwarder has let a frame go.
    pub(super) fn let_go(&mut self, frame: u32) -> Released {
        let Some(records) = self.in_hand.remove(&frame) else { return Released::Waits(0) };
        let left = u64::from(records.saturating_sub(self.noted.noted_in(frame, records)));
        if left > 0 {
            if self.gone.count(frame, left) {
                self.is_damaged = true;
                return Released::Lost(left);
            }
            let is_ahead =
                self.scan.as_ref().is_some_and(|scan| scan.scanner.position().1 <= frame);
            self.rewinds |= !is_ahead;
        }
        Released::Waits(left)
    }

    /// Whether there is a frame that may be read.
    pub(super) fn has_unread(&self) -> bool {
        self.scan.is_some() || !self.is_read || self.rewinds
    }

    /// Whether everything in it is settled: nothing is left to do but to take it away.
    ///
    /// What is not settled although nobody has it is read again, after a while.
    pub(super) fn is_done(&mut self, now: Instant) -> bool {
        if self.is_open || !self.in_hand.is_empty() || self.has_unread() {
            return false;
        }
        let is_settled = self.is_settled();
        debug_assert!(is_settled, "what is let go is read again: {self:?}");
        if !is_settled {
            self.rewinds = true;
            self.retry.failed(now);
        }
        is_settled
    }

    /// Whether every frame is noted, or gone.
    fn is_settled(&self) -> bool {
        let mut frame = 0;
        while frame < self.frames_seen {
            let next = self.gone.first_not_gone(self.noted.first_not_whole(frame));
            if next == frame {
                return false;
            }
            frame = next;
        }
        true
    }

    /// Reads on: what comes next. A frame of more than `bytes_max` is not read, but announced.
    pub(super) fn read(&mut self, storage: &dyn Storage, bytes_max: usize) -> io::Result<Read> {
        if self.scan.is_none() {
            if !self.has_unread() {
                return Ok(Read::Nothing);
            }
            self.rewinds = false;
            let keys = Arc::clone(&self.seal.keys);
            let scanner = Scanner::new(keys, self.seal.digest, self.start, self.extent);
            self.scan = Some(Scan { scanner, file: None });
        }
        let Self { scan: Some(scan), noted, in_hand, frames_seen, .. } = self else {
            return Ok(Read::Nothing);
        };
        let file = match &mut scan.file {
            Some(file) => file,
            none => none.insert(storage.open_read(&self.path)?),
        };
        loop {
            let is_needed = |frame: u32| !noted.is_whole(frame) && !in_hand.contains_key(&frame);
            let next = scan.scanner.next_frame();
            if let Some((frame, bytes)) = next
                && bytes > bytes_max
                && is_needed(frame)
            {
                return Ok(Read::Next(bytes));
            }
            match scan.scanner.next(is_needed) {
                super::scan::Event::NeedBytes => {
                    scan.scanner.fill(|offset, into| file.read_at(offset, into))?;
                }
                super::scan::Event::Frame { head, payload, .. } => {
                    *frames_seen = (*frames_seen).max(head.index.saturating_add(1));
                    if !is_needed(head.index) {
                        continue;
                    }
                    let numbered = payload.places().zip(0_u16..);
                    let wanted =
                        numbered.filter(|(_, number)| !noted.is_noted(head.index, *number));
                    let wanted: Vec<_> = wanted.collect();
                    if wanted.is_empty() {
                        // The last of them was noted after it was let go, when nobody knew that it was.
                        noted.complete(head.index);
                        continue;
                    }
                    let read = ReadFrame {
                        frame: head.index,
                        opened_unix_ms: payload.opened_unix_ms(),
                        bytes: payload.bytes().to_vec(),
                        keys: payload.keys(),
                        wanted,
                    };
                    in_hand.insert(head.index, head.records);
                    return Ok(Read::Frame(read));
                }
                super::scan::Event::Skipped { head, .. } => {
                    *frames_seen = (*frames_seen).max(head.index.saturating_add(1));
                }
                super::scan::Event::Damage(damage) => return Ok(Read::Damage(damage)),
                super::scan::Event::Wait | super::scan::Event::End { .. } => {
                    self.scan = None;
                    self.is_read = true;
                    return Ok(Read::Nothing);
                }
            }
        }
    }

    /// Takes note of damage. Says how many records are missing through it, if it was not known yet. What the
    /// forwarder has in hand is not missing.
    pub(super) fn damaged(&mut self, damage: &Damage) -> Option<u64> {
        let Damage { first, frames, .. } = *damage;
        let end = first.saturating_add(frames);
        if frames > 0 {
            self.frames_seen = self.frames_seen.max(end);
        }
        self.is_damaged |= !damage.is_torn;
        let left = |(frame, records): (&u32, &u32)| {
            u64::from(records.saturating_sub(self.noted.noted_in(*frame, *records)))
        };
        let in_hand: u64 = self.in_hand.range(first..end).map(left).sum();
        let all = self.noted.missing_in(first, frames, damage.records.unwrap_or(0));
        self.gone.add(first, frames, all.saturating_sub(in_hand))
    }

    /// Gives back what is held open for reading.
    pub(super) fn rest(&mut self) {
        if let Some(scan) = &mut self.scan {
            scan.scanner.release();
            scan.file = None;
        }
    }
}
