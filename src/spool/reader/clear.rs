//! What is settled: noted beside its segment, and taken away with it when all of it is.
//!
//! A segment goes before its note, and is gone for good before that: whoever finds a segment again finds its
//! note too, and delivers again only what the note does not know.

use std::io;
use std::path::Path;
use std::time::Instant;

use super::Reader;
use crate::spool::fs;
use crate::spool::tracked::Tracked;

/// How many notes of a stream are kept open.
const NOTES_OPEN_MAX: usize = 4;

impl Reader {
    /// Writes down what was noted. Where that is refused nothing waits for it: what is delivered is taken away
    /// all the same, which is what makes room on a disk that is full.
    pub(super) fn write_notes(&mut self, now: Instant) {
        let storage = self.shared.storage.as_ref();
        let mut failed = None;
        let mut has_written = false;
        let had_failed = self.segments.values().any(|tracked| tracked.note_retry.has_failed());
        for tracked in self.segments.values_mut() {
            if !tracked.is_dirty() || tracked.note_retry.waits_until(now).is_some() {
                continue;
            }
            match tracked.write_note(storage) {
                Ok(()) => {
                    tracked.note_retry.worked();
                    has_written = true;
                }
                Err(error) => {
                    tracked.note_retry.failed(now);
                    self.counts.failures.add(1);
                    failed = Some(error);
                }
            }
        }
        if let Some(error) = failed.filter(|_| !had_failed) {
            tracing::warn!(
                stream = %self.stream,
                %error,
                "what is delivered can not be noted: until it can, a start delivers it again"
            );
        }
        if has_written {
            self.close_notes();
        }
    }

    fn close_notes(&mut self) {
        let kept = if self.shared.is_short_of_files() { 0 } else { NOTES_OPEN_MAX };
        let open = self.segments.values_mut().rev().filter(|tracked| tracked.has_open_note());
        open.skip(kept).for_each(Tracked::close_note);
    }

    /// Unlinks segments of which everything is settled, or moves them to quarantine, and syncs the folder.
    pub(super) fn take_away(&mut self, now: Instant) {
        let mut notes = Vec::new();
        let done: Vec<u64> = self
            .segments
            .values_mut()
            .filter_map(|tracked| {
                let is_due = tracked.retry.waits_until(now).is_none() && tracked.is_done(now);
                is_due.then_some(tracked.id)
            })
            .collect();
        for id in done {
            let Some(tracked) = self.segments.get(&id) else { continue };
            let (path, is_damaged) = (tracked.path.clone(), tracked.is_damaged);
            let taken = if is_damaged {
                self.quarantine(&path)
            } else {
                gone(self.shared.storage.remove(&path))
            };
            if let Err(error) = taken {
                self.failed(now, id, &error);
                continue;
            }
            let Some(tracked) = self.segments.remove(&id) else { continue };
            notes.push(tracked.note_path().to_owned());
            self.counts.segments.sub(1);
            self.counts.segments_uncounted.sub(u64::from(tracked.is_uncounted));
        }
        self.notes_left.extend(notes);
    }

    /// Makes it durable that segments are gone; then their notes go.
    pub(super) fn sync_folder(&mut self, now: Instant) {
        if self.notes_left.is_empty() || self.waits.folder.waits_until(now).is_some() {
            return;
        }
        let quarantined = self.sync_quarantine();
        let storage = self.shared.storage.as_ref();
        let cleared = quarantined.and_then(|()| {
            storage.sync_dir(&self.shared.stream_dir(&self.stream))?;
            while let Some(note) = self.notes_left.last() {
                gone(storage.remove(note))?;
                self.notes_left.pop();
            }
            Ok(())
        });
        match cleared {
            Ok(()) => self.waits.folder.worked(),
            Err(error) => {
                self.waits.folder.failed(now);
                self.disk_failed(&error);
            }
        }
    }

    /// Moves a segment to quarantine. That is made durable with the stream's folder.
    pub(super) fn quarantine(&mut self, path: &Path) -> io::Result<()> {
        let storage = self.shared.storage.as_ref();
        let dir = self.shared.quarantine_dir(&self.stream);
        fs::ensure_dir(storage, &dir)?;
        if let Some(name) = path.file_name() {
            gone(storage.rename(path, &dir.join(name)))?;
        }
        self.is_quarantine_unsynced = true;
        self.counts.quarantined_segments.add(1);
        Ok(())
    }

    /// What was moved to quarantine is there for good, before it is gone for good from where it was.
    fn sync_quarantine(&mut self) -> io::Result<()> {
        if self.is_quarantine_unsynced {
            self.shared.storage.sync_dir(&self.shared.quarantine_dir(&self.stream))?;
            self.is_quarantine_unsynced = false;
        }
        Ok(())
    }

    /// Writes down what is noted, and makes it durable, whatever was refused before.
    pub(super) fn finish(&mut self, now: Instant) {
        for tracked in self.segments.values_mut() {
            tracked.retry.worked();
            tracked.note_retry.worked();
        }
        self.waits.folder.worked();
        self.take_away(now);
        self.sync_folder(now);
        self.write_notes(now);
        let storage = self.shared.storage.as_ref();
        let mut has_synced = false;
        let mut refused = None;
        for tracked in self.segments.values_mut() {
            match tracked.sync_note(storage) {
                Ok(is_new) => has_synced |= is_new,
                Err(error) => refused = Some(error),
            }
        }
        if has_synced {
            refused = refused.or(storage.sync_dir(&self.shared.stream_dir(&self.stream)).err());
        }
        let has_failed = self.segments.values().any(|tracked| tracked.retry.has_failed());
        let why = refused.map(|error| error.to_string());
        if let Some(why) = why.or(self.waits.why_disk.clone().filter(|_| has_failed)) {
            tracing::warn!(
                stream = %self.stream,
                %why,
                "not all that was delivered could be noted: the next start delivers it again"
            );
        }
        self.is_over = true;
        // Who stopped it may have stopped waiting.
        let _is_heard = self.done.send(()).is_ok();
    }
}

/// That a file is gone already is as good as taking it away.
pub(super) fn gone(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}
