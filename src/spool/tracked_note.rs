//! The note of a tracked segment: what is settled of it, written down and made durable.
//!
//! Nothing depends on a note but how much is delivered twice.

use std::io;

use super::fs::Storage;
use super::note;
use super::tracked::Tracked;

impl Tracked {
    /// Whether something is to be written into the note.
    pub(super) fn is_dirty(&self) -> bool {
        self.noted.is_dirty()
    }

    /// Writes down what was noted since the last time.
    pub(super) fn write_note(&mut self, storage: &dyn Storage) -> io::Result<()> {
        let entries = self.noted.take_entries();
        let written = self.append(storage, &entries);
        if written.is_err() {
            self.note = None;
            self.noted.give_back(&entries);
        }
        written
    }

    fn append(&mut self, storage: &dyn Storage, entries: &[note::Entry]) -> io::Result<()> {
        let mut out = Vec::new();
        let file = match &mut self.note {
            Some(file) => file,
            none => {
                let file = storage.open_append(&self.note_path)?;
                if file.bytes()? == 0 {
                    out.extend_from_slice(&note::file_header(self.id));
                }
                none.insert(file)
            }
        };
        for entry in entries {
            note::encode(&self.seal.keys, self.id, entry, &mut out);
        }
        // Whether or not all of it comes there.
        match &mut self.room {
            Some(room) => room.grow_anyway(out.len()),
            None => self.note_bytes += out.len(),
        }
        self.is_note_unsynced = true;
        file.append(&out)
    }

    /// What was written into the note and is not counted in its room, in bytes.
    pub(super) fn take_note_bytes(&mut self) -> usize {
        std::mem::take(&mut self.note_bytes)
    }

    /// Whether the note is held open.
    pub(super) fn has_open_note(&self) -> bool {
        self.note.is_some()
    }

    /// Gives back what is held open for the note.
    pub(super) fn close_note(&mut self) {
        self.note = None;
    }

    /// Makes the note durable. Says whether anything was to be done. Nothing depends on it but how much is
    /// delivered twice after a crash.
    pub(super) fn sync_note(&mut self, storage: &dyn Storage) -> io::Result<bool> {
        if !self.is_note_unsynced {
            return Ok(false);
        }
        match &mut self.note {
            Some(file) => file.sync_data()?,
            None => storage.open_append(&self.note_path)?.sync_data()?,
        }
        self.is_note_unsynced = false;
        Ok(true)
    }
}
