//! The backlog: read oldest first, as far as it is wanted and there is memory for it, and counted as it is.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::Reader;
use crate::pipeline::{Batch, Origin, Reservation};
use crate::spool::frame::HEAD_BYTES;
use crate::spool::scan::Damage;
use crate::spool::tracked::{Read, ReadFrame, Tracked};
use crate::spool::words::{Word, instant};

/// How much is handed over in one turn, in bytes.
const TURN_BYTES_MAX: usize = 4 * 1024 * 1024;

/// What it counts as that a segment was gone through to its end, in bytes.
const PASS_BYTES: usize = 256 * 1024;

/// What reading came to.
pub(super) enum Reading {
    /// There is more.
    More,
    /// There is nothing to read now, or nobody wants it.
    Nothing,
    /// There is no memory for what comes next.
    NoRoom,
}

/// What one read of a segment gave.
enum Step {
    Batch(Box<Batch>),
    /// Something that is counted, and nothing to hand over.
    Counted,
    /// The segment was gone through.
    Passed,
    NoRoom,
}

impl Reader {
    /// Hands over what is wanted, oldest first, as far as there is memory for it.
    pub(super) fn read(&mut self, now: Instant) -> Reading {
        if !self.is_wanted.load(Ordering::Acquire) {
            self.segments.values_mut().for_each(Tracked::rest);
            return Reading::Nothing;
        }
        let mut bytes = 0;
        let mut has_passed = false;
        let mut reading = Reading::More;
        while bytes < TURN_BYTES_MAX {
            let is_next = |tracked: &&Tracked| {
                tracked.has_unread() && tracked.retry.waits_until(now).is_none()
            };
            let Some(id) = self.segments.values().find(is_next).map(|tracked| tracked.id) else {
                reading = Reading::Nothing;
                break;
            };
            match self.read_one(id) {
                Ok(Step::Batch(batch)) => {
                    bytes += batch.bytes() + HEAD_BYTES;
                    self.say(id, batch);
                }
                Ok(Step::Counted) => bytes += HEAD_BYTES,
                Ok(Step::Passed) => {
                    bytes += PASS_BYTES;
                    has_passed = true;
                }
                Ok(Step::NoRoom) => {
                    reading = Reading::NoRoom;
                    break;
                }
                Err(error) => self.failed(now, id, &error),
            }
        }
        match reading {
            // It may be done with.
            Reading::Nothing if has_passed => Reading::More,
            reading => reading,
        }
    }

    /// Hands a batch over; only then does it wait no longer, so that nobody sees neither.
    fn say(&self, id: u64, batch: Box<Batch>) {
        let records = batch.len() as u64;
        self.shared.speaker.say([Word::Batch(batch)]);
        if self.segments.get(&id).is_some_and(|tracked| !tracked.is_uncounted) {
            self.counts.waiting.sub(records);
        }
    }

    /// Reads on in one segment.
    fn read_one(&mut self, id: u64) -> io::Result<Step> {
        let Some(tracked) = self.segments.get_mut(&id) else { return Ok(Step::Counted) };
        let storage = self.shared.storage.as_ref();
        let mut room = self.read_ahead.empty_reservation();
        let mut read = tracked.read(storage, 0)?;
        if let Read::Next(bytes) = read {
            // What it takes in memory is a little more: that is taken beyond the bound, and so is the only
            // frame that is read, which may be longer than the bound.
            let (used, free) = (self.read_ahead.used_bytes(), self.read_ahead.room_bytes());
            // Who has something leaves as much to the other streams as it takes more.
            if used > 0 && bytes > free / 2 {
                return Ok(Step::NoRoom);
            }
            if room.grow(bytes).is_err() {
                if free < self.shared.config.read_ahead_bytes_max {
                    return Ok(Step::NoRoom);
                }
                room.grow_anyway(bytes);
            }
            read = tracked.read(storage, bytes)?;
        }
        tracked.retry.worked();
        Ok(match read {
            Read::Frame(frame) => Step::Batch(Box::new(self.handed(id, frame, room))),
            Read::Damage(damage) => {
                self.damaged(id, &damage);
                Step::Counted
            }
            Read::Nothing => {
                self.is_counted(id);
                Step::Passed
            }
            Read::Next(_) => Step::Counted,
        })
    }

    /// All of a segment was read once: what is left of it is counted.
    fn is_counted(&mut self, id: u64) {
        if let Some(tracked) = self.segments.get_mut(&id)
            && std::mem::take(&mut tracked.is_uncounted)
        {
            self.counts.segments_uncounted.sub(1);
        }
    }

    fn handed(&self, id: u64, read: ReadFrame, room: Reservation) -> Batch {
        let ReadFrame { frame, opened_unix_ms, bytes, keys, wanted } = read;
        let records = wanted.len() as u64;
        let is_uncounted = self.segments.get(&id).is_some_and(|tracked| tracked.is_uncounted);
        self.counts.frames_read.add(1);
        if is_uncounted {
            self.counts.recovered.add(records);
            self.counts.records.add(records);
        }
        self.counts.oldest_unix_ms.set(opened_unix_ms);
        let origin = Origin { segment: id, frame };
        let lane = Arc::clone(&self.lane);
        let opened_at = instant(opened_unix_ms);
        Batch::of_frame(lane, room, origin, opened_at, bytes, wanted.into_iter())
            .with_frame_keys(&keys)
    }

    fn damaged(&mut self, id: u64, damage: &Damage) {
        let Some(tracked) = self.segments.get_mut(&id) else { return };
        let Some(records) = tracked.damaged(damage) else { return };
        let bytes = damage.to_offset.saturating_sub(damage.from_offset);
        if damage.is_torn {
            self.counts.torn_bytes.add(bytes);
            tracing::warn!(
                stream = %self.stream,
                segment = format!("{id:016x}"),
                offset = damage.from_offset,
                bytes,
                "a torn tail was cut off: nobody was told that it is durable"
            );
            return;
        }
        if tracked.is_uncounted {
            self.counts.recovered.add(records);
        } else {
            self.counts.records.sub(records);
            self.counts.waiting.sub(records);
        }
        self.counts.quarantined.add(records);
        tracing::error!(
            stream = %self.stream,
            segment = format!("{id:016x}"),
            offset = damage.from_offset,
            bytes,
            frames = damage.frames,
            records,
            "a segment is damaged: these records can not be read; it goes to quarantine when the others are \
             delivered"
        );
    }
}
