//! The reader of one stream: what lies on disk is handed to the forwarder again, noted when it is settled,
//! and taken away when all of it is.
//!
//! ```text
//!  writer ──► begun, synced, ended ─┐                      ┌─► batches of the backlog, as far as wanted
//!  forwarder ► noted, let go ───────┼─► Tracked segments ──┼─► notes
//!  the last life ─► files found ────┘    oldest first      └─► unlinked, or moved to quarantine
//! ```
//!
//! Only what is durable is read. An error of the disk is tried again after a while, and is never damage; it
//! stops the segment that it was met in, and no other one.

mod clear;
mod look;
mod read;

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender};

use super::counts::Counts;
use super::handle::{ReaderJob, Wake};
use super::names;
use super::old::Found;
use super::pool::{Actor, Turn};
use super::retry::Retry;
use super::shared::Shared;
use super::tracked::{Released, Tracked};
use crate::pipeline::{Lane, Origin, Reservation, Share};
use crate::record::StreamName;
use look::Pass;
use read::Reading;

/// How long it waits for memory before it asks again: longer each time that there is none.
const ROOM_WAIT_MIN: Duration = Duration::from_millis(20);
const ROOM_WAIT_MAX: Duration = Duration::from_millis(320);

/// See the module.
pub(super) struct Reader {
    pub(super) stream: StreamName,
    pub(super) lane: Arc<Lane>,
    pub(super) shared: Arc<Shared>,
    pub(super) disk: Arc<Share>,
    /// The memory for what it reads ahead.
    pub(super) read_ahead: Arc<Share>,
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
    /// When files that were found are looked at again.
    pub(super) looks_at: Option<Instant>,
    pub(super) pass: Option<Pass>,
    /// Notes of segments that are gone: they go when that is durable.
    pub(super) notes_left: Vec<PathBuf>,
    /// Whether something was moved to quarantine, and is not there for good yet.
    pub(super) is_quarantine_unsynced: bool,
    pub(super) waits: Waits,
    pub(super) is_over: bool,
}

/// What is waited for.
#[derive(Debug, Default)]
pub(super) struct Waits {
    /// Files that were found: for their keys, or for the disk.
    files: Retry,
    has_files_failed: bool,
    /// The stream's folder, which is to be synced.
    folder: Retry,
    /// For memory, the next time that there is none.
    room: Duration,
    /// Why files that were found wait.
    why_files: Option<String>,
    /// What the disk said at last.
    why_disk: Option<String>,
}

impl Actor for Reader {
    fn turn(&mut self, now: Instant) -> Turn {
        let is_end = self.take_jobs(now);
        if self.is_over {
            return Turn::Idle;
        }
        let turn = self.work(now);
        if is_end {
            self.finish(now);
            return Turn::Idle;
        }
        turn
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
                ReaderJob::Key => {
                    self.waits.files.worked();
                    self.looks_at = Some(now);
                }
                ReaderJob::End => is_end = true,
            }
        }
        is_end
    }

    fn note(&mut self, origin: Origin, numbers: &[u16]) {
        if let Some(tracked) = self.segments.get_mut(&origin.segment) {
            let (news, is_in_hand) = tracked.note(origin.frame, numbers);
            self.counts.records.sub(news);
            if !is_in_hand {
                self.counts.waiting.sub(news);
            }
        }
    }

    fn let_go(&mut self, origin: Origin) {
        let Some(tracked) = self.segments.get_mut(&origin.segment) else { return };
        match tracked.let_go(origin.frame) {
            Released::Waits(records) => self.counts.waiting.add(records),
            Released::Lost(records) => {
                self.counts.records.sub(records);
                self.counts.quarantined.add(records);
                tracing::error!(
                    stream = %self.stream,
                    segment = format!("{:016x}", origin.segment),
                    frame = origin.frame,
                    records,
                    "records were let go of whose segment was damaged meanwhile: they can not be read"
                );
            }
        }
    }

    /// Takes away what is done, writes notes, looks at what was found and reads what is wanted.
    fn work(&mut self, now: Instant) -> Turn {
        // First what makes room: on a disk that is full no note can be written.
        self.take_away(now);
        self.write_notes(now);
        let more_files = self.look_at_files(now);
        self.sync_folder(now);
        let reading = self.read(now);
        self.show();
        if more_files || matches!(reading, Reading::More) {
            return Turn::Again;
        }
        let lacks_room = matches!(reading, Reading::NoRoom);
        let room_wait = self.waits.room.clamp(ROOM_WAIT_MIN, ROOM_WAIT_MAX);
        let for_room = lacks_room.then(|| now + room_wait);
        self.waits.room = if lacks_room { room_wait * 2 } else { ROOM_WAIT_MIN };
        let retries = self.segments.values().flat_map(|tracked| {
            [tracked.retry.waits_until(now), tracked.note_retry.waits_until(now)]
        });
        let next = retries
            .flatten()
            .chain(self.waits.folder.waits_until(now))
            .chain(self.looks_at)
            .chain(for_room)
            .min();
        next.map_or(Turn::Idle, Turn::At)
    }

    /// The disk refused something that concerns this segment.
    fn failed(&mut self, now: Instant, id: u64, error: &io::Error) {
        if let Some(tracked) = self.segments.get_mut(&id) {
            tracked.retry.failed(now);
        }
        self.disk_failed(error);
    }

    fn disk_failed(&mut self, error: &io::Error) {
        self.counts.failures.add(1);
        // Once, and not for every segment.
        if self.waits.why_disk.is_none() {
            tracing::error!(stream = %self.stream, %error, "the spool can not be read; it is tried again");
        }
        self.waits.why_disk = Some(format!("the disk fails: {error}"));
    }

    /// Brings up to date what is shown.
    fn show(&mut self) {
        let has_failed = self.waits.folder.has_failed()
            || self.waits.has_files_failed
            || self.segments.values().any(|tracked| tracked.retry.has_failed());
        if !has_failed {
            self.waits.why_disk = None;
        }
        let waits = self.waits.why_disk.as_ref().or(self.waits.why_files.as_ref());
        self.counts.reading.set(waits.cloned());
        self.counts.bytes.set(self.disk.used_bytes() as u64);
        if self.counts.waiting.get() == 0 && self.found.is_empty() {
            self.counts.oldest_unix_ms.set(0);
        } else if let Some(oldest) = self.found.keys().chain(self.segments.keys()).min()
            && self.counts.oldest_unix_ms.get() == 0
        {
            // A segment's id is when it was begun.
            self.counts.oldest_unix_ms.set(*oldest);
        }
    }
}
