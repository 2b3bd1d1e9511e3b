//! A segment as its stream's reader knows it: what was noted, what is in the forwarder's hand, what waits.
//!
//! It reads frames and writes notes when it is told to. Which segment comes next, and when, is the reader's
//! matter.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::fs::{File, Storage};
use super::note;
use super::noted::Noted;
use super::scan::{Damage, Extent, Scanner};
use super::segment::{Laid, Seal};
use crate::pipeline::Reservation;

/// See the module.
#[derive(Debug)]
pub(super) struct Tracked {
    pub(super) id: u64,
    pub(super) path: PathBuf,
    note_path: PathBuf,
    pub(super) seal: Arc<Seal>,
    start: u64,
    pub(super) extent: Extent,
    /// Whether the writer still has it.
    pub(super) is_open: bool,
    /// Whether it is of an earlier life, and its records are counted only as they are read.
    pub(super) is_uncounted: bool,
    noted: Noted,
    note: Option<Box<dyn File>>,
    /// Frames that the forwarder has in memory, and how many records each has in all.
    in_hand: BTreeMap<u32, u32>,
    /// Damage that was met, by its first frame.
    gone: BTreeMap<u32, u32>,
    pub(super) is_damaged: bool,
    scan: Option<Scan>,
    /// Whether all frames were read once, in a segment of an earlier life.
    is_read: bool,
    /// Whether frames behind the scanner are to be read again.
    rewinds: bool,
    pub(super) room: Option<Reservation>,
}

#[derive(Debug)]
struct Scan {
    scanner: Scanner,
    file: Box<dyn File>,
}

/// A frame that was read.
#[derive(Debug)]
pub(super) struct ReadFrame {
    pub(super) frame: u32,
    pub(super) opened_unix_ms: u64,
    pub(super) bytes: Vec<u8>,
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
            in_hand: BTreeMap::new(),
            gone: BTreeMap::new(),
            is_damaged: false,
            scan: None,
            is_read: false,
            rewinds: false,
            room: None,
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
        }
        self.extend();
    }

    /// The writer is done with it: it has so many frames, and nothing above them was promised.
    pub(super) fn ended(&mut self, frames: u32, records: u64, room: Reservation) {
        self.is_open = false;
        self.extent = Extent { frames, records, is_final: true, ..self.extent };
        self.room = Some(room);
        self.extend();
    }

    fn extend(&mut self) {
        if let Some(scan) = &mut self.scan {
            scan.scanner.extend(self.extent);
        }
    }

    /// These records of a frame are settled. Says how many of them were not before.
    pub(super) fn note(&mut self, frame: u32, numbers: &[u16]) -> u64 {
        let records = self.in_hand.get(&frame).copied().unwrap_or(u32::MAX);
        let mut news = 0;
        for number in numbers {
            news += u64::from(self.noted.note(frame, *number, records));
        }
        if self.noted.is_whole(frame) {
            self.in_hand.remove(&frame);
        }
        news
    }

    /// The forwarder has let a frame go. Says how many of its records are to be read again.
    pub(super) fn let_go(&mut self, frame: u32) -> u64 {
        let Some(records) = self.in_hand.remove(&frame) else { return 0 };
        let left = records.saturating_sub(self.noted.noted_in(frame, records));
        if left > 0 {
            let is_ahead =
                self.scan.as_ref().is_some_and(|scan| scan.scanner.position().1 <= frame);
            self.rewinds |= !is_ahead;
        }
        u64::from(left)
    }

    /// Whether there is a frame that may be read.
    pub(super) fn has_unread(&self) -> bool {
        self.scan.is_some() || !self.is_read || self.rewinds
    }

    /// Whether everything in it is settled: nothing is left to do but to take it away.
    pub(super) fn is_done(&self) -> bool {
        !self.is_open && self.in_hand.is_empty() && !self.has_unread() && !self.noted.is_dirty()
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
            let file = storage.open_read(&self.path)?;
            self.scan = Some(Scan { scanner, file });
        }
        let Self { scan: Some(scan), noted, in_hand, .. } = self else { return Ok(Read::Nothing) };
        let is_needed = |frame: u32| !noted.is_whole(frame) && !in_hand.contains_key(&frame);
        loop {
            let next = scan.scanner.next_frame();
            if let Some((frame, bytes)) = next
                && bytes > bytes_max
                && is_needed(frame)
            {
                return Ok(Read::Next(bytes));
            }
            match scan.scanner.next(is_needed) {
                super::scan::Event::NeedBytes => {
                    scan.scanner.fill(|offset, into| scan.file.read_at(offset, into))?;
                }
                super::scan::Event::Frame { head, payload, .. } => {
                    if !is_needed(head.index) {
                        continue;
                    }
                    let numbered = payload.places().zip(0_u16..);
                    let wanted =
                        numbered.filter(|(_, number)| !noted.is_noted(head.index, *number));
                    let read = ReadFrame {
                        frame: head.index,
                        opened_unix_ms: payload.opened_unix_ms(),
                        bytes: payload.bytes().to_vec(),
                        wanted: wanted.collect(),
                    };
                    in_hand.insert(head.index, head.records);
                    return Ok(Read::Frame(read));
                }
                super::scan::Event::Skipped { .. } => {}
                super::scan::Event::Damage(damage) => return Ok(Read::Damage(damage)),
                super::scan::Event::Wait | super::scan::Event::End { .. } => {
                    self.scan = None;
                    self.is_read = true;
                    return Ok(Read::Nothing);
                }
            }
        }
    }

    /// Takes note of damage. Says how many records are missing through it, if it was not known yet.
    pub(super) fn damaged(&mut self, damage: &Damage) -> Option<u64> {
        let is_known = self.gone.insert(damage.first, damage.frames).is_some();
        if is_known {
            return None;
        }
        self.is_damaged |= !damage.is_torn;
        let records = damage.records.unwrap_or(0);
        Some(self.noted.missing_in(damage.first, damage.frames, records))
    }

    /// Whether something is to be written into the note.
    pub(super) fn is_dirty(&self) -> bool {
        self.noted.is_dirty()
    }

    /// Writes down what was noted since the last time. Says how many bytes.
    pub(super) fn write_note(&mut self, storage: &dyn Storage) -> io::Result<u64> {
        let entries = self.noted.take_entries();
        let written = self.append(storage, &entries);
        if written.is_err() {
            self.note = None;
            self.noted.give_back(&entries);
        }
        written
    }

    fn append(&mut self, storage: &dyn Storage, entries: &[note::Entry]) -> io::Result<u64> {
        let mut out = Vec::new();
        if self.note.is_none() {
            let file = storage.open_append(&self.note_path)?;
            if file.bytes()? == 0 {
                out.extend_from_slice(&note::file_header(self.id));
            }
            self.note = Some(file);
        }
        for entry in entries {
            note::encode(&self.seal.keys, self.id, entry, &mut out);
        }
        if let Some(file) = &mut self.note {
            file.append(&out)?;
        }
        Ok(out.len() as u64)
    }

    /// Makes the note durable. Nothing depends on it but how much is delivered twice after a crash.
    pub(super) fn sync_note(&mut self) -> io::Result<()> {
        self.note.as_mut().map_or(Ok(()), |file| file.sync_data())
    }

    /// Gives back what is held open for reading.
    pub(super) fn rest(&mut self) {
        if let Some(scan) = &mut self.scan {
            scan.scanner.release();
        }
    }
}
