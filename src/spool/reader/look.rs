//! Files of an earlier life: looked at a few at a time, oldest first, until each is a segment that can be
//! read, is in quarantine, or waits for somebody.

use std::io;
use std::ops::Bound;
use std::sync::Arc;
use std::time::Instant;

use super::Reader;
use super::clear::gone;
use crate::spool::handle::ReaderJob;
use crate::spool::header::Kind;
use crate::spool::old::{Eye, Found, Loaded};

/// How many files are looked at in one turn.
const TURN_FILES_MAX: usize = 8;

/// Why a file waits for its key at first.
const KEY_COMES: &str = "the key is on its way";

/// A look at all files that were found, as far as it has come.
#[derive(Debug, Default)]
pub(in crate::spool) struct Pass {
    /// The last file that was looked at.
    after: Option<u64>,
    /// Why one of them waits.
    why: Option<String>,
    has_failed: bool,
}

impl Reader {
    /// Looks at a few files. Says whether there are more to look at now.
    pub(super) fn look_at_files(&mut self, now: Instant) -> bool {
        if self.pass.is_none() {
            if self.looks_at.is_none_or(|at| at > now) {
                return false;
            }
            self.looks_at = None;
            self.pass = Some(Pass::default());
        }
        for _ in 0..TURN_FILES_MAX {
            let after = self.pass.as_ref().and_then(|pass| pass.after);
            let from = after.map_or(Bound::Unbounded, Bound::Excluded);
            let Some(id) = self.found.range((from, Bound::Unbounded)).next().map(|(id, _)| *id)
            else {
                self.passed(now);
                return false;
            };
            let looked = self.look_at(id);
            let Some(pass) = &mut self.pass else { return false };
            pass.after = Some(id);
            match looked {
                Ok(None) => {}
                Ok(Some(why)) => drop(pass.why.get_or_insert(why)),
                Err(error) => {
                    pass.has_failed = true;
                    self.waits.has_files_failed = true;
                    self.disk_failed(&error);
                }
            }
        }
        true
    }

    /// All files were looked at once.
    fn passed(&mut self, now: Instant) {
        let Some(Pass { after: _, why, has_failed }) = self.pass.take() else { return };
        if why.is_some() && self.waits.why_files != why {
            let reason = why.as_deref().unwrap_or_default();
            let segments = self.found.len();
            if reason == KEY_COMES {
                // At each start with a backlog, for a moment.
                tracing::debug!(stream = %self.stream, segments, %reason, "segments wait");
            } else {
                tracing::warn!(stream = %self.stream, segments, %reason, "segments wait");
            }
        }
        if why.is_some() || has_failed {
            let at = self.waits.files.failed(now);
            self.looks_at = Some(self.looks_at.map_or(at, |looks_at| looks_at.min(at)));
        } else {
            self.waits.files.worked();
        }
        self.waits.has_files_failed = has_failed;
        self.waits.why_files = why;
    }

    /// Looks at a file. Says why it waits, if it does.
    fn look_at(&mut self, id: u64) -> io::Result<Option<String>> {
        let Some((found, _)) = self.found.get(&id) else { return Ok(None) };
        let (wake, to_self) = (Arc::clone(&self.wake), self.to_self.clone());
        let ready = move || {
            // A reader that is gone looks at nothing any more.
            drop(to_self.send(ReaderJob::Key));
            wake();
        };
        let eye = Eye {
            storage: self.shared.storage.as_ref(),
            ring: self.shared.ring.as_ref(),
            stream: &self.stream,
            kind: Kind::Records,
        };
        match eye.load(found, Box::new(ready))? {
            Loaded::Pending => return Ok(Some(KEY_COMES.to_owned())),
            Loaded::Waits(why) => return Ok(Some(why)),
            Loaded::Ready { mut segment, records, unverified_note_bytes } => {
                let Some((_, room)) = self.found.remove(&id) else { return Ok(None) };
                self.counts.unverified_note_bytes.add(unverified_note_bytes);
                if let Some(records) = records {
                    self.counts.recovered.add(records);
                    self.counts.records.add(records);
                    self.counts.waiting.add(records);
                    // Last: who looks finds them here or there.
                    self.counts.segments_uncounted.sub(1);
                }
                segment.room = Some(room);
                self.segments.insert(id, *segment);
            }
            Loaded::Unfit { why, records } => {
                let path = found.path.clone();
                self.quarantine(&path)?;
                tracing::error!(
                    stream = %self.stream,
                    segment = %path.display(),
                    records_claimed = records,
                    reason = %why,
                    "a segment can not be opened and was moved to quarantine"
                );
                let records = records.unwrap_or(0);
                self.counts.recovered.add(records);
                self.counts.quarantined.add(records);
                self.forget(id);
            }
            Loaded::Unborn => {
                gone(self.shared.storage.remove(&found.path))?;
                let Found { bytes, path, .. } = found;
                self.counts.torn_bytes.add(*bytes);
                let segment = path.display();
                tracing::info!(stream = %self.stream, %segment, bytes, "a segment that was only being made is taken away");
                self.forget(id);
            }
        }
        Ok(None)
    }

    /// A file is not where it was found any more. Its note goes with the next sync of the folder.
    fn forget(&mut self, id: u64) {
        if let Some((found, _)) = self.found.remove(&id) {
            self.notes_left.push(found.note_path);
            self.counts.segments.sub(1);
            self.counts.segments_uncounted.sub(1);
        }
    }
}
