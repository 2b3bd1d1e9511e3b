//! A log of one stream: where its frames go, one segment after the other, each with its room on the disk.
//!
//! It begins a segment when one is needed, and says why it can not: no key, no room, no disk. It never
//! retries, and knows nothing of who waits for what.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::frame::{HEAD_BYTES, PAYLOAD_BYTES_MAX};
use super::header::{HEADER_BYTES_MAX, Kind};
use super::keyring::{DataKey, NoKey};
use super::seal::TAG_BYTES;
use super::segment::{BeginError, Birth, OpenSegment};
use super::shared::{Shared, obstacle_of};
use super::words::unix_ms;
use crate::pipeline::{NotDurable, Reservation, Share};
use crate::record::StreamName;

/// A log. See the module.
pub(super) struct Log {
    pub(super) shared: Arc<Shared>,
    pub(super) stream: StreamName,
    pub(super) kind: Kind,
    pub(super) dir: PathBuf,
    /// Whether this life made sure that the folder is there for good.
    pub(super) has_dir: bool,
    /// Whose room it takes.
    pub(super) share: Arc<Share>,
    /// The most bytes that may be taken of it.
    pub(super) bytes_max: usize,
    pub(super) last_id: u64,
    pub(super) open: Option<Open>,
    /// The room of segments that are over and stay here.
    pub(super) left: BTreeMap<u64, Reservation>,
    pub(super) looked_at: Option<Instant>,
    /// What found no room the last time: with less than that there is still none.
    pub(super) refused_bytes: usize,
    /// Files of segments that could not be begun. They hold nothing.
    pub(super) litter: Vec<PathBuf>,
}

/// The segment that is written now.
pub(super) struct Open {
    pub(super) segment: OpenSegment,
    pub(super) room: Reservation,
    /// Whether the reader knows of it.
    pub(super) is_told: bool,
}

/// Why nothing can be written.
#[derive(Debug)]
pub(super) struct LogError {
    pub(super) why: NotDurable,
    /// In words, for people.
    pub(super) message: String,
}

/// A segment that is over.
#[derive(Debug)]
pub(super) struct Over {
    pub(super) segment: u64,
    pub(super) frames: u32,
    pub(super) records: u64,
    pub(super) bytes: u64,
    pub(super) room: Reservation,
    /// The end frame could not be written.
    pub(super) error: Option<io::Error>,
}

/// How often it is looked whether the key is still fit and the bounds leave room.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);

/// What a frame and the end of its segment take beside the records, in bytes.
const FRAME_EXTRA_BYTES: usize = 2 * (HEAD_BYTES + TAG_BYTES) + 4 * 500 + 64;

const _: () = assert!(PAYLOAD_BYTES_MAX < 8 * 1024 * 1024, "a segment holds a frame");

impl LogError {
    fn new(why: NotDurable, message: impl Into<String>) -> Self {
        Self { why, message: message.into() }
    }

    pub(super) fn not_begun() -> Self {
        Self::new(NotDurable::DiskFailed, "the segment was not begun")
    }

    pub(super) fn of_disk(error: &io::Error) -> Self {
        Self::new(obstacle_of(error.kind()), error.to_string())
    }
}

impl From<BeginError> for LogError {
    fn from(error: BeginError) -> Self {
        match error {
            BeginError::Io(error) | BeginError::Unborn(error, _) => Self::of_disk(&error),
            BeginError::Unfit(message) => Self::new(NotDurable::DiskFailed, message),
        }
    }
}

impl Log {
    /// Whether a frame could be written now, as far as can be known without writing one.
    ///
    /// What is free on the disk is asked before each group: no more than one goes into what others are to have.
    pub(super) fn look(&mut self, now: Instant) -> Result<(), LogError> {
        let free = self.shared.has_free_space(self.refused_bytes as u64);
        free.map_err(|why| LogError::new(why, why.sentence()))?;
        if self.looked_at.is_some_and(|at| now.saturating_duration_since(at) < LOOK_INTERVAL) {
            return Ok(());
        }
        match (self.key(), &self.open) {
            // What is open goes on as long as its key may be used.
            (Err(error), Some(_)) if error.why != NotDurable::KeyTooOld => {}
            (key, _) => drop(key?),
        }
        self.has_room(self.refused_bytes)?;
        if !self.shared.is_stopping() {
            let room = self.share.reserve(self.refused_bytes);
            drop(room.map_err(|_| self.no_room(NotDurable::SpoolFull))?);
        }
        self.looked_at = Some(now);
        Ok(())
    }

    /// The segment for a frame of `bytes`, begun now if there is none.
    pub(super) fn ready(
        &mut self,
        now: Instant,
        bytes: usize,
    ) -> Result<&mut OpenSegment, LogError> {
        let whole = bytes + FRAME_EXTRA_BYTES;
        self.refused_bytes = whole;
        self.has_room(whole)?;
        if self.open.is_none() {
            self.begin(now, whole)?;
        }
        let is_stopping = self.shared.is_stopping();
        let no_room = self.no_room(NotDurable::SpoolFull);
        let open = self.open.as_mut().ok_or_else(LogError::not_begun)?;
        let end = usize::try_from(open.segment.bytes_in_all()).unwrap_or(usize::MAX);
        let missing = end.saturating_add(whole).saturating_sub(open.room.bytes());
        if is_stopping {
            open.room.grow_anyway(missing);
        } else if open.room.grow(missing).is_err() {
            return Err(no_room);
        }
        self.refused_bytes = 0;
        Ok(&mut open.segment)
    }

    /// Whether a frame of `bytes` belongs into the next segment.
    pub(super) fn is_full_for(&self, bytes: usize) -> bool {
        self.open.as_ref().is_some_and(|open| {
            let segment = &open.segment;
            segment.records() > 0
                && segment.bytes_in_all() + (bytes + FRAME_EXTRA_BYTES) as u64
                    > self.shared.config.segment_bytes_max as u64
        })
    }

    /// Makes what was sealed durable. After an error the segment is over, without an end frame.
    pub(super) fn flush(&mut self) -> Result<(), (LogError, Option<Over>)> {
        let Some(open) = &mut self.open else { return Ok(()) };
        let bytes = open.segment.unwritten_bytes();
        if let Err(error) = open.segment.flush() {
            let error = LogError::of_disk(&error);
            if error.why == NotDurable::DiskFull {
                // With less than this there is still no room.
                self.refused_bytes = bytes;
            }
            return Err((error, self.abandon()));
        }
        Ok(())
    }

    /// Gives the segment up as it is: nobody knows what of its last group is on the disk.
    pub(super) fn abandon(&mut self) -> Option<Over> {
        let Open { segment, room, is_told: _ } = self.open.take()?;
        self.shared.files.fetch_sub(1, Ordering::Relaxed);
        self.looked_at = None;
        Some(Over {
            segment: segment.id,
            frames: segment.durable_frames(),
            records: segment.durable_records(),
            bytes: segment.bytes(),
            room,
            error: None,
        })
    }

    /// Ends the segment with its counts.
    pub(super) fn end(&mut self) -> Option<Over> {
        let error = self.open.as_mut()?.segment.end().err();
        let mut over = self.abandon()?;
        over.room.shrink_to(usize::try_from(over.bytes).unwrap_or(usize::MAX));
        over.error = error;
        Some(over)
    }

    /// The room that its segments take on the disk, in bytes.
    pub(super) fn bytes(&self) -> u64 {
        let open = self.open.as_ref().map_or(0, |open| open.room.bytes());
        let left: usize = self.left.values().map(Reservation::bytes).sum();
        (open + left) as u64
    }

    /// Takes away what is left of segments that could not be begun; what the disk refuses now, the next time.
    pub(super) fn tidy(&mut self) {
        while let Some(path) = self.litter.last() {
            match self.shared.storage.remove(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return,
                _ => drop(self.litter.pop()),
            }
        }
    }

    fn begin(&mut self, now: Instant, bytes: usize) -> Result<(), LogError> {
        let key = self.key()?;
        let needed = (bytes + HEADER_BYTES_MAX) as u64;
        let free = self.shared.has_free_space(needed);
        free.map_err(|why| LogError::new(why, why.sentence()))?;
        let id = unix_ms(Instant::now()).max(self.last_id.saturating_add(1));
        self.last_id = id;
        let Self { dir, kind, stream, has_dir, .. } = &*self;
        let birth = Birth { dir, has_dir: *has_dir, id, kind: *kind, stream, now };
        let begun = OpenSegment::begin(self.shared.storage.as_ref(), birth, &key);
        if let Err(BeginError::Unborn(_, path)) = &begun {
            self.litter.push(path.clone());
        }
        let segment = begun?;
        self.has_dir = true;
        self.shared.files.fetch_add(1, Ordering::Relaxed);
        let mut room = self.share.empty_reservation();
        // The header is there already.
        room.grow_anyway(usize::try_from(segment.bytes()).unwrap_or(usize::MAX));
        self.open = Some(Open { segment, room, is_told: false });
        Ok(())
    }

    fn key(&self) -> Result<Arc<DataKey>, LogError> {
        self.shared.ring.current(&self.stream).map_err(|error| match error {
            NoKey::NotYet => LogError::new(NotDurable::NoKey, "the first data key is on its way"),
            NoKey::Unavailable { message } => LogError::new(NotDurable::NoKey, message),
            NoKey::TooOld { age } => LogError::new(
                NotDurable::KeyTooOld,
                format!("the data key is {} s old and no new one could be had", age.as_secs()),
            ),
        })
    }

    fn has_room(&self, bytes: usize) -> Result<(), LogError> {
        let used = self.share.used_bytes();
        if self.shared.is_stopping() || used.saturating_add(bytes) <= self.bytes_max {
            return Ok(());
        }
        Err(self.no_room(NotDurable::StreamFull))
    }

    /// There is no room for records, for this reason; or none for dead letters.
    fn no_room(&self, for_records: NotDurable) -> LogError {
        let why = match self.kind {
            Kind::Records => for_records,
            Kind::DeadLetters => NotDurable::DeadLettersFull,
        };
        LogError::new(why, why.sentence())
    }
}
