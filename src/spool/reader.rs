//! The reader of one stream: what lies on disk is handed to the forwarder again, noted when it is settled,
//! and taken away when all of it is.
//!
//! ```text
//!  writer ──► begun, synced, ended ─┐                      ┌─► batches of the backlog, as far as wanted
//!  forwarder ► noted, let go ───────┼─► Tracked segments ──┼─► notes
//!  the last life ─► files found ────┘    oldest first      └─► unlinked, or moved to quarantine
//! ```
//!
//! Only what is durable is read. An error of the disk is tried again after a while, and is never damage.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender};

use super::counts::Counts;
use super::frame::HEAD_BYTES;
use super::fs;
use super::handle::{ReaderJob, Wake};
use super::header::Kind;
use super::names;
use super::old::{Eye, Found, Loaded};
use super::pool::{Actor, Turn};
use super::scan::Damage;
use super::shared::Shared;
use super::tracked::{Read, ReadFrame, Tracked};
use super::words::{Word, instant};
use crate::pipeline::{Batch, Lane, Origin, Reservation, Share};
use crate::record::StreamName;

/// How much is handed over in one turn, in bytes.
const TURN_BYTES_MAX: usize = 4 * 1024 * 1024;

/// How many files of an earlier life are looked at in one turn.
const TURN_FILES_MAX: usize = 8;

/// How long it waits before it tries again what the disk, or a key, refused.
const RETRY_MIN: Duration = Duration::from_millis(500);
const RETRY_MAX: Duration = Duration::from_secs(30);

/// How long it waits for memory before it asks again.
const ROOM_WAIT: Duration = Duration::from_millis(20);

/// See the module.
pub(super) struct Reader {
    pub(super) stream: StreamName,
    pub(super) lane: Arc<Lane>,
    pub(super) shared: Arc<Shared>,
    pub(super) disk: Arc<Share>,
    pub(super) jobs: Receiver<ReaderJob>,
    /// How it tells itself something.
    pub(super) to_self: Sender<ReaderJob>,
    pub(super) wake: Wake,
    /// Where it says that it is at its end.
    pub(super) done: Sender<()>,
    pub(super) is_wanted: Arc<AtomicBool>,
    pub(super) counts: Arc<Counts>,
    /// Files of an earlier life that were not looked at yet, each with its room.
    pub(super) found: BTreeMap<u64, (Found, Reservation)>,
    pub(super) segments: BTreeMap<u64, Tracked>,
    pub(super) looks_at: Option<Instant>,
    pub(super) retry: Retry,
    pub(super) is_over: bool,
}

/// When something that failed is tried again.
#[derive(Debug, Default)]
pub(super) struct Retry {
    wait: Option<Duration>,
    at: Option<Instant>,
}

impl Retry {
    fn failed(&mut self, now: Instant) {
        let wait = self.wait.map_or(RETRY_MIN, |wait| (wait * 2).min(RETRY_MAX));
        self.wait = Some(wait);
        self.at = Some(now + wait);
    }

    fn worked(&mut self) {
        *self = Self::default();
    }

    fn is_waiting(&self, now: Instant) -> bool {
        self.at.is_some_and(|at| at > now)
    }
}

/// What reading came to.
enum Reading {
    /// There is more.
    More,
    /// There is nothing to read, or nobody wants it.
    Nothing,
    /// There is no memory for what comes next.
    NoRoom,
}

impl Actor for Reader {
    fn turn(&mut self, now: Instant) -> Turn {
        let is_end = self.take_jobs(now);
        if self.is_over {
            return Turn::Idle;
        }
        let worked = self.work(now);
        if is_end {
            self.finish();
            return Turn::Idle;
        }
        match worked {
            Ok(Reading::More) => Turn::Again,
            Ok(Reading::NoRoom) => Turn::At(now + ROOM_WAIT),
            Ok(Reading::Nothing) => self.looks_at.map_or(Turn::Idle, Turn::At),
            Err(error) => {
                self.failed(now, &error);
                self.retry.at.map_or(Turn::Idle, Turn::At)
            }
        }
    }
}

impl Reader {
    /// Hears everything. Says whether it is to be the last time.
    fn take_jobs(&mut self, now: Instant) -> bool {
        let mut is_end = false;
        while let Ok(job) = self.jobs.try_recv() {
            match job {
                ReaderJob::Note { origin, numbers } => self.note(origin, &numbers),
                ReaderJob::LetGo(origin) => self.let_go(origin),
                ReaderJob::Begun { segment, path, start, seal } => {
                    let note_path = path.with_file_name(names::note_file(segment));
                    let tracked = Tracked::begun(segment, path, note_path, start, seal);
                    self.segments.insert(segment, tracked);
                    self.counts.segments.add(1);
                }
                ReaderJob::Synced { segment, frames } => {
                    if let Some(tracked) = self.segments.get_mut(&segment) {
                        tracked.synced(&frames);
                    }
                }
                ReaderJob::Ended { segment, frames, records, room } => {
                    if let Some(tracked) = self.segments.get_mut(&segment) {
                        tracked.ended(frames, records, room);
                    }
                }
                ReaderJob::Key => self.looks_at = Some(now),
                ReaderJob::End => is_end = true,
            }
        }
        is_end
    }

    fn note(&mut self, origin: Origin, numbers: &[u16]) {
        if let Some(tracked) = self.segments.get_mut(&origin.segment) {
            self.counts.records.sub(tracked.note(origin.frame, numbers));
        }
    }

    fn let_go(&mut self, origin: Origin) {
        if let Some(tracked) = self.segments.get_mut(&origin.segment) {
            self.counts.waiting.add(tracked.let_go(origin.frame));
        }
    }

    /// Writes notes, takes away what is done, looks at what was found and reads what is wanted.
    fn work(&mut self, now: Instant) -> io::Result<Reading> {
        if self.retry.is_waiting(now) {
            return Ok(Reading::Nothing);
        }
        self.write_notes()?;
        self.take_away()?;
        let more_files = self.look_at_files(now)?;
        let reading = self.read()?;
        self.show();
        self.retry.worked();
        Ok(if more_files { Reading::More } else { reading })
    }

    fn write_notes(&mut self) -> io::Result<()> {
        let storage = self.shared.storage.as_ref();
        for tracked in self.segments.values_mut().filter(|tracked| tracked.is_dirty()) {
            let bytes = tracked.write_note(storage)?;
            self.counts.bytes.add(bytes);
            if let Some(room) = &mut tracked.room {
                room.grow_anyway(usize::try_from(bytes).unwrap_or(0));
            }
        }
        Ok(())
    }

    /// Unlinks segments of which everything is settled, or moves them to quarantine, and syncs the folder.
    fn take_away(&mut self) -> io::Result<()> {
        let done: Vec<u64> = self
            .segments
            .values()
            .filter(|tracked| tracked.is_done())
            .map(|tracked| tracked.id)
            .collect();
        if done.is_empty() {
            return Ok(());
        }
        for id in done {
            let Some(tracked) = self.segments.get(&id) else { continue };
            let (path, note_path) = (tracked.path.clone(), tracked.note_path().to_owned());
            if tracked.is_damaged {
                self.quarantine(&path)?;
            } else {
                gone(self.shared.storage.remove(&path))?;
            }
            // After its segment: a note without one is nothing, a segment without its note is delivered again.
            gone(self.shared.storage.remove(&note_path))?;
            if self.segments.remove(&id).is_some_and(|tracked| tracked.is_uncounted) {
                self.counts.segments_uncounted.sub(1);
            }
            self.counts.segments.sub(1);
        }
        self.shared.storage.sync_dir(&self.shared.stream_dir(&self.stream))
    }

    fn quarantine(&self, path: &Path) -> io::Result<()> {
        let storage = self.shared.storage.as_ref();
        let dir = self.shared.quarantine_dir(&self.stream);
        fs::create_dirs(storage, &dir)?;
        if let Some(name) = path.file_name() {
            gone(storage.rename(path, &dir.join(name)))?;
        }
        storage.sync_dir(&dir)?;
        self.counts.quarantined_segments.add(1);
        Ok(())
    }

    /// Looks at a few files of an earlier life. Says whether there are more to look at now.
    fn look_at_files(&mut self, now: Instant) -> io::Result<bool> {
        if self.looks_at.is_none_or(|at| at > now) {
            return Ok(false);
        }
        self.looks_at = None;
        let mut waits = None;
        let ids: Vec<u64> = self.found.keys().copied().collect();
        for (count, id) in ids.into_iter().enumerate() {
            if count >= TURN_FILES_MAX && waits.is_none() {
                self.looks_at = Some(now);
                return Ok(true);
            }
            let Some((found, _)) = self.found.get(&id) else { continue };
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
            // Woken for a key, it looks at everything that waits.
            match eye.load(found, Box::new(ready))? {
                Loaded::Pending => waits = waits.or(Some("the key is on its way".to_owned())),
                Loaded::Waits(why) => waits = waits.or(Some(why)),
                loaded => self.loaded(id, loaded)?,
            }
        }
        if let Some(why) = &waits {
            self.looks_at = Some(now + RETRY_MAX.min(Duration::from_secs(2)));
            if self.counts.reading.get().as_ref() != Some(why) {
                tracing::warn!(stream = %self.stream, segments = self.found.len(), reason = %why, "segments wait");
            }
        }
        self.counts.reading.set(waits);
        Ok(false)
    }

    fn loaded(&mut self, id: u64, loaded: Loaded) -> io::Result<()> {
        let Some((found, room)) = self.found.remove(&id) else { return Ok(()) };
        match loaded {
            Loaded::Ready { mut segment, records, unverified_note_bytes } => {
                self.counts.unverified_note_bytes.add(unverified_note_bytes);
                if let Some(records) = records {
                    self.counts.segments_uncounted.sub(1);
                    self.counts.recovered.add(records);
                    self.counts.records.add(records);
                    self.counts.waiting.add(records);
                }
                segment.room = Some(room);
                self.segments.insert(id, *segment);
            }
            Loaded::Unfit { why, records } => {
                tracing::error!(
                    stream = %self.stream,
                    segment = %found.path.display(),
                    records_claimed = records,
                    reason = %why,
                    "a segment can not be opened and goes to quarantine"
                );
                self.quarantine(&found.path)?;
                let records = records.unwrap_or(0);
                self.counts.recovered.add(records);
                self.counts.quarantined.add(records);
                self.forget(&found)?;
            }
            Loaded::Unborn => {
                self.counts.torn_bytes.add(found.bytes);
                gone(self.shared.storage.remove(&found.path))?;
                self.forget(&found)?;
            }
            Loaded::Pending | Loaded::Waits(_) => {}
        }
        Ok(())
    }

    fn forget(&self, found: &Found) -> io::Result<()> {
        gone(self.shared.storage.remove(&found.note_path))?;
        self.counts.segments.sub(1);
        self.counts.segments_uncounted.sub(1);
        self.shared.storage.sync_dir(&self.shared.stream_dir(&self.stream))
    }

    /// Hands over what is wanted, oldest first, as far as there is memory for it.
    fn read(&mut self) -> io::Result<Reading> {
        if !self.is_wanted.load(Ordering::Acquire) {
            self.segments.values_mut().for_each(Tracked::rest);
            return Ok(Reading::Nothing);
        }
        let mut words = Vec::new();
        let mut bytes = 0;
        let mut reading = Reading::More;
        while bytes < TURN_BYTES_MAX {
            let Some(id) =
                self.segments.values().find(|segment| segment.has_unread()).map(|s| s.id)
            else {
                reading = Reading::Nothing;
                break;
            };
            match self.read_one(id) {
                Ok(Some(Some(batch))) => {
                    bytes += batch.bytes() + HEAD_BYTES;
                    words.push(Word::Batch(Box::new(batch)));
                }
                Ok(Some(None)) => {}
                Ok(None) => {
                    reading = Reading::NoRoom;
                    break;
                }
                Err(error) => {
                    self.shared.speaker.say(words);
                    return Err(error);
                }
            }
        }
        self.shared.speaker.say(words);
        Ok(reading)
    }

    /// Reads on in one segment. Nothing at all when there is no memory for what comes next.
    fn read_one(&mut self, id: u64) -> io::Result<Option<Option<Batch>>> {
        let Some(tracked) = self.segments.get_mut(&id) else { return Ok(Some(None)) };
        let storage = self.shared.storage.as_ref();
        let mut room = self.shared.read_ahead.empty_reservation();
        let mut read = tracked.read(storage, 0)?;
        if let Read::Next(bytes) = read {
            // What it takes in memory is a little more: that is taken beyond the bound.
            if room.grow(bytes).is_err() {
                return Ok(None);
            }
            read = tracked.read(storage, bytes)?;
        }
        Ok(Some(match read {
            Read::Frame(frame) => self.handed(id, frame, room),
            Read::Damage(damage) => {
                self.damaged(id, &damage);
                None
            }
            Read::Nothing => {
                self.is_counted(id);
                None
            }
            Read::Next(_) => None,
        }))
    }

    /// All of a segment was read once: what is left of it is counted.
    fn is_counted(&mut self, id: u64) {
        if let Some(tracked) = self.segments.get_mut(&id)
            && std::mem::take(&mut tracked.is_uncounted)
        {
            self.counts.segments_uncounted.sub(1);
        }
    }

    fn handed(&mut self, id: u64, read: ReadFrame, room: Reservation) -> Option<Batch> {
        let ReadFrame { frame, opened_unix_ms, bytes, wanted } = read;
        let records = wanted.len() as u64;
        let is_uncounted = self.segments.get(&id).is_some_and(|tracked| tracked.is_uncounted);
        self.counts.frames_read.add(1);
        if is_uncounted {
            self.counts.recovered.add(records);
            self.counts.records.add(records);
        } else {
            self.counts.waiting.sub(records);
        }
        self.counts.oldest_unix_ms.set(opened_unix_ms);
        let origin = Origin { segment: id, frame };
        let lane = Arc::clone(&self.lane);
        let opened_at = instant(opened_unix_ms);
        (records > 0)
            .then(|| Batch::of_frame(lane, room, origin, opened_at, bytes, wanted.into_iter()))
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

    /// Brings up to date what is shown.
    fn show(&self) {
        let segments_bytes: usize = self.disk.used_bytes();
        self.counts.bytes.set(segments_bytes as u64);
        if self.counts.waiting.get() == 0 && self.found.is_empty() {
            self.counts.oldest_unix_ms.set(0);
        } else if let Some(oldest) = self.found.keys().chain(self.segments.keys()).min()
            && self.counts.oldest_unix_ms.get() == 0
        {
            // A segment's id is when it was begun.
            self.counts.oldest_unix_ms.set(*oldest);
        }
    }

    fn failed(&mut self, now: Instant, error: &io::Error) {
        let is_new = self.retry.wait.is_none();
        self.retry.failed(now);
        self.counts.failures.add(1);
        self.counts.reading.set(Some(format!("the disk fails: {error}")));
        if is_new {
            tracing::error!(stream = %self.stream, %error, "the spool can not be read; it is tried again");
        }
    }

    /// Writes down what is noted, and makes it durable.
    fn finish(&mut self) {
        let written = self.write_notes().and_then(|()| self.take_away());
        let synced = self.segments.values_mut().try_for_each(Tracked::sync_note);
        if let Err(error) = written.and(synced) {
            tracing::warn!(
                stream = %self.stream,
                %error,
                "not all that was delivered could be noted: the next start delivers it again"
            );
        }
        self.is_over = true;
        // Who stopped it may have stopped waiting.
        let _is_heard = self.done.send(()).is_ok();
    }
}

/// That a file is gone already is as good as taking it away.
fn gone(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}
