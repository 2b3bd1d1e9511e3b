//! The spools of the streams: each is opened when its stream is first asked for, with two actors of its own.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
#[expect(
    clippy::disallowed_types,
    reason = "asked once per stream and scrape, never per record"
)]
use std::sync::{Mutex, RwLock};
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender};

use super::counts::Counts;
use super::handle::{Inner, ReaderJob, StreamSpool, Wake, WriterJob};
use super::header::Kind;
use super::log::Log;
use super::metrics::WriterMetrics;
use super::names::{self, FileName};
use super::old::Found;
use super::onward::Onward;
use super::pool::Places;
use super::reader::{Reader, Waits};
use super::shared::Shared;
use super::shelf::Shelf;
use super::status::StreamStatus;
use super::trouble::Trouble;
use super::writer::Writer;
use crate::pipeline::{Lane, Outflow, Reservation, Share, durable_way};
use crate::record::StreamName;

/// The spools of the streams. Cloning gives another handle to the same ones.
#[derive(Debug, Clone)]
pub struct Spools {
    pub(super) registry: Arc<Registry>,
}

pub(super) struct Registry {
    pub(super) shared: Arc<Shared>,
    pub(super) places: Places,
    pub(super) done: Sender<()>,
    #[expect(
        clippy::disallowed_types,
        reason = "asked once per stream and scrape, never per record"
    )]
    pub(super) known: RwLock<BTreeMap<StreamName, StreamSpool>>,
    /// What the start found of streams that are not open yet.
    #[expect(clippy::disallowed_types, reason = "asked once per stream")]
    pub(super) found: Mutex<BTreeMap<StreamName, Vec<Found>>>,
}

impl Spools {
    /// The spool of the lane's stream, which is opened here when it is not open yet.
    #[must_use]
    pub fn open(&self, lane: &Arc<Lane>) -> Option<StreamSpool> {
        let registry = &self.registry;
        if let Some(spool) = registry.known.read().ok()?.get(lane.name()) {
            return Some(spool.clone());
        }
        let mut known = registry.known.write().ok()?;
        if let Some(spool) = known.get(lane.name()) {
            return Some(spool.clone());
        }
        let found = registry.found.lock().ok()?.remove(lane.name()).unwrap_or_default();
        let spool = registry.begin(lane, found);
        known.insert(lane.name().clone(), spool.clone());
        Some(spool)
    }

    /// How each stream's spool does, in the order of their names; after a stop, how it was left.
    #[must_use]
    pub fn status(&self) -> Vec<StreamStatus> {
        self.all().iter().map(|(stream, spool)| spool.status(stream.clone())).collect()
    }

    pub(super) fn all(&self) -> Vec<(StreamName, StreamSpool)> {
        let known = self.registry.known.read();
        known.map_or_else(
            |_| Vec::new(),
            |known| known.iter().map(|(stream, spool)| (stream.clone(), spool.clone())).collect(),
        )
    }
}

/// What the two actors of a stream and its handle share.
struct Ends {
    stream: StreamName,
    disk: Arc<Share>,
    counts: Arc<Counts>,
    is_wanted: Arc<AtomicBool>,
    to_reader: Sender<ReaderJob>,
    wake_reader: Wake,
}

impl Registry {
    /// Starts the two actors of a stream.
    fn begin(&self, lane: &Arc<Lane>, found: Vec<Found>) -> StreamSpool {
        let shared = &self.shared;
        let (writer, reader) = (self.places.place(), self.places.place());
        let wake_writer = writer.wake();
        let (inlet, outflow) = durable_way(Arc::clone(&wake_writer));
        let (to_writer, writer_jobs) = crossbeam_channel::unbounded();
        let (to_reader, reader_jobs) = crossbeam_channel::unbounded();
        let ends = Ends {
            stream: lane.name().clone(),
            disk: shared.disk.share_with_floor_inside(shared.config.stream_floor_bytes),
            counts: Arc::default(),
            is_wanted: Arc::default(),
            to_reader,
            wake_reader: reader.wake(),
        };
        let last_id = found.iter().map(|found| found.id).max().unwrap_or(0);
        let found = ends.room_for(found);
        writer.settle(Box::new(self.writer(&ends, outflow, writer_jobs, last_id)));
        reader.settle(Box::new(self.reader(&ends, Arc::clone(lane), reader_jobs, found)));
        let Ends { counts, is_wanted, to_reader, wake_reader, .. } = ends;
        let inner = Inner {
            inlet,
            counts,
            is_wanted,
            spilling_bytes: Arc::clone(&shared.spilling_bytes),
            spilling_bytes_max: shared.config.group_bytes_max,
            to_writer,
            wake_writer,
            to_reader,
            wake_reader,
        };
        StreamSpool { inner: Arc::new(inner) }
    }

    fn writer(
        &self,
        ends: &Ends,
        outflow: Outflow,
        jobs: Receiver<WriterJob>,
        last_id: u64,
    ) -> Writer {
        let shared = &self.shared;
        let quarantined = self.ids_in(&shared.quarantine_dir(&ends.stream)).into_iter().max();
        let log = |kind| {
            let (dir, share, bytes_max) = match kind {
                Kind::Records => {
                    (shared.stream_dir(&ends.stream), &ends.disk, shared.config.stream_bytes_max)
                }
                Kind::DeadLetters => (
                    shared.letters_dir(&ends.stream),
                    &shared.letters,
                    shared.config.dead_letter_bytes_max,
                ),
            };
            Log {
                shared: Arc::clone(shared),
                stream: ends.stream.clone(),
                kind,
                dir,
                has_dir: false,
                share: Arc::clone(share),
                bytes_max,
                last_id: last_id.max(quarantined.unwrap_or(0)),
                open: None,
                left: BTreeMap::new(),
                looked_at: None,
                refused_bytes: 0,
                litter: Vec::new(),
            }
        };
        let mut letters = log(Kind::DeadLetters);
        self.count_letters(&mut letters);
        let shelf = Shelf::found(letters.left.keys().copied());
        ends.counts.dead_letter_bytes.set(letters.bytes());
        Writer {
            stream: ends.stream.clone(),
            shared: Arc::clone(shared),
            outflow,
            jobs,
            to_reader: ends.to_reader.clone(),
            wake_reader: Arc::clone(&ends.wake_reader),
            counts: Arc::clone(&ends.counts),
            records: log(Kind::Records),
            letters,
            trouble: Trouble::default(),
            metrics: WriterMetrics::new(),
            is_over: false,
            done: self.done.clone(),
            pending: Vec::new(),
            pending_letters: Vec::new(),
            onward: Onward::default(),
            shelf,
        }
    }

    fn reader(
        &self,
        ends: &Ends,
        lane: Arc<Lane>,
        jobs: Receiver<ReaderJob>,
        found: BTreeMap<u64, (Found, Reservation)>,
    ) -> Reader {
        Reader {
            stream: ends.stream.clone(),
            lane,
            shared: Arc::clone(&self.shared),
            disk: Arc::clone(&ends.disk),
            read_ahead: self.shared.read_ahead.share(0),
            jobs,
            to_self: ends.to_reader.clone(),
            wake: Arc::clone(&ends.wake_reader),
            done: self.done.clone(),
            is_wanted: Arc::clone(&ends.is_wanted),
            counts: Arc::clone(&ends.counts),
            looks_at: (!found.is_empty()).then(Instant::now),
            found,
            segments: BTreeMap::new(),
            pass: None,
            notes_left: Vec::new(),
            is_quarantine_unsynced: false,
            waits: Waits::default(),
            is_over: false,
        }
    }

    fn ids_in(&self, dir: &Path) -> Vec<u64> {
        let entries = self.shared.storage.read_dir(dir).unwrap_or_default();
        let files = entries.iter().filter_map(|entry| names::parse_file(&entry.name));
        files.map(|(FileName::Segment(id) | FileName::Note(id))| id).collect()
    }

    /// Counts the room of the dead letters that are there.
    fn count_letters(&self, letters: &mut Log) {
        for entry in self.shared.storage.read_dir(&letters.dir).unwrap_or_default() {
            if let Some(FileName::Segment(id)) = names::parse_file(&entry.name) {
                let mut room = letters.share.empty_reservation();
                room.grow_anyway(usize::try_from(entry.bytes).unwrap_or(usize::MAX));
                letters.left.insert(id, room);
                letters.last_id = letters.last_id.max(id);
            }
        }
    }
}

impl Ends {
    /// The files that were found, each with its room on the disk, and counted.
    fn room_for(&self, found: Vec<Found>) -> BTreeMap<u64, (Found, Reservation)> {
        self.counts.segments.set(found.len() as u64);
        self.counts.segments_uncounted.set(found.len() as u64);
        let with_room = found.into_iter().map(|found| {
            let mut room = self.disk.empty_reservation();
            let bytes = found.bytes.saturating_add(found.note_bytes.unwrap_or(0));
            room.grow_anyway(usize::try_from(bytes).unwrap_or(usize::MAX));
            (found.id, (found, room))
        });
        let with_room = with_room.collect();
        self.counts.bytes.set(self.disk.used_bytes() as u64);
        with_room
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry").field("shared", &self.shared).finish_non_exhaustive()
    }
}
