//! The spool as a whole: its directory, its threads, and the stream spools in it.
//!
//! A start makes and locks the directory and reads listings, and nothing else: it takes as long with a
//! backlog as without. A stop ends what is written and notes what is delivered.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
#[expect(
    clippy::disallowed_types,
    reason = "asked once per stream and scrape, never per record"
)]
use std::sync::{Mutex, RwLock};
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender};

use super::config::Config;
use super::counts::Counts;
use super::fs::{self, Disk, Lock, LockError, Storage};
use super::handle::{Inner, ReaderJob, StreamSpool, WriterJob};
use super::header::Kind;
use super::keyring::KeyRing;
use super::log::Log;
use super::metrics::{self, Whole, WriterMetrics};
use super::names::{self, FileName};
use super::old::Found;
use super::pool::{Places, Pool};
use super::reader::{Reader, Retry};
use super::shared::{DEAD_LETTERS, QUARANTINE, STREAMS, Shared};
use super::status::StreamStatus;
use super::trouble::Trouble;
use super::words::{Words, unix_ms, words};
use super::writer::Writer;
use crate::pipeline::{Budget, Lane, Post, durable_way};
use crate::record::StreamName;

/// The running spool. Dropped without [`Spool::stop`], its threads go on until the process ends.
#[derive(Debug)]
pub struct Spool {
    spools: Spools,
    pool: Pool,
    done: Receiver<()>,
    was_unclean: bool,
    _lock: Lock,
}

/// The spools of the streams. Cloning gives another handle to the same ones.
#[derive(Debug, Clone)]
pub struct Spools {
    registry: Arc<Registry>,
}

struct Registry {
    shared: Arc<Shared>,
    places: Places,
    done: Sender<()>,
    #[expect(
        clippy::disallowed_types,
        reason = "asked once per stream and scrape, never per record"
    )]
    known: RwLock<BTreeMap<StreamName, StreamSpool>>,
    /// What the start found of streams that are not open yet.
    #[expect(clippy::disallowed_types, reason = "asked once per stream")]
    found: Mutex<BTreeMap<StreamName, Vec<Found>>>,
}

/// What a stop leaves on the disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Left {
    /// Records that are not delivered, as far as they are counted.
    pub records: u64,
    /// Bytes of segments and notes.
    pub bytes: u64,
    /// Segments that were never counted.
    pub segments_uncounted: u64,
    /// Whether everything was written down in time.
    pub is_whole: bool,
}

/// Why the spool can not be used.
#[derive(Debug)]
pub enum StartError {
    /// Another process has the directory.
    InUse {
        /// The directory.
        dir: PathBuf,
    },
    /// The directory is in memory.
    Volatile {
        /// The directory.
        dir: PathBuf,
    },
    /// The file system refuses.
    Io {
        /// The path.
        path: PathBuf,
        /// What it says.
        error: io::Error,
    },
    /// There is no thread to be had.
    Thread(io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InUse { dir } => write!(
                f,
                "the spool {} is in use by another process; stop it, or choose another spool.dir",
                dir.display()
            ),
            Self::Volatile { dir } => write!(
                f,
                "the spool {} is on a file system in memory, which a restart of the machine empties; choose \
                 another spool.dir, or write allow_tmpfs = true below [spool]",
                dir.display()
            ),
            Self::Io { path, error } => {
                write!(f, "the spool can not use {}: {error}", path.display())
            }
            Self::Thread(error) => write!(f, "a thread of the spool can not be started: {error}"),
        }
    }
}

impl std::error::Error for StartError {}

/// The file that is locked.
const LOCK: &str = "lock";

/// The file that is there while the process lives.
const RUNNING: &str = "running";

/// The file that keeps room for a stop.
const RESERVE: &str = "reserve";

impl Spool {
    /// Opens the spool and starts its threads.
    ///
    /// # Errors
    /// [`StartError`] when the directory can not be used, or there are no threads.
    pub fn start(
        config: Config,
        ring: Arc<dyn KeyRing>,
        post: Post,
    ) -> Result<(Self, Words), StartError> {
        Self::start_on(Arc::new(Disk), config, ring, post)
    }

    pub(super) fn start_on(
        storage: Arc<dyn Storage>,
        config: Config,
        ring: Arc<dyn KeyRing>,
        post: Post,
    ) -> Result<(Self, Words), StartError> {
        let dir = config.dir.clone();
        let lock = prepare(storage.as_ref(), &config)?;
        let was_unclean = mark_running(storage.as_ref(), &dir)?;
        reserve(storage.as_ref(), &config);
        let found = look_around(storage.as_ref(), &dir.join(STREAMS))?;
        let pool = Pool::start(config.threads).map_err(StartError::Thread)?;
        let (speaker, words) = words();
        let (done_sender, done) = crossbeam_channel::unbounded();
        let shared = Arc::new(Shared {
            disk: Budget::new(config.bytes_max.saturating_sub(config.reserve_bytes)),
            letters: Budget::new(config.dead_letter_bytes_max).share(0),
            read_ahead: Budget::new(config.read_ahead_bytes_max).share(0),
            spilling_bytes: Arc::new(AtomicUsize::new(0)),
            files: AtomicUsize::new(0),
            is_stopping: AtomicBool::new(false),
            storage,
            ring,
            speaker,
            post,
            config,
        });
        #[expect(clippy::disallowed_types, reason = "asked once per stream and scrape")]
        let (known, found) = (RwLock::default(), Mutex::new(found));
        let registry = Registry { shared, places: pool.places(), done: done_sender, known, found };
        let spools = Spools { registry: Arc::new(registry) };
        Ok((Self { spools, pool, done, was_unclean, _lock: lock }, words))
    }

    /// The spools of the streams.
    #[must_use]
    pub fn spools(&self) -> Spools {
        self.spools.clone()
    }

    /// The streams that an earlier life left something of.
    #[must_use]
    pub fn leftovers(&self) -> Vec<StreamName> {
        let found = self.spools.registry.found.lock();
        found.map(|found| found.keys().cloned().collect()).unwrap_or_default()
    }

    /// Whether the last life of the process did not end cleanly: what it had in memory alone is lost.
    #[must_use]
    pub const fn was_unclean(&self) -> bool {
        self.was_unclean
    }

    /// The names of the threads that are gone.
    #[must_use]
    pub fn stalled(&self) -> Vec<String> {
        self.pool.stalled()
    }

    /// How each stream's spool does, in the order of their names.
    #[must_use]
    pub fn status(&self) -> Vec<StreamStatus> {
        self.spools.all().iter().map(|(stream, spool)| spool.status(stream.clone())).collect()
    }

    /// Brings the metrics up to date for a scrape.
    pub fn show_metrics(&self) {
        let shared = &self.spools.registry.shared;
        let whole = Whole {
            bytes_max: shared.config.bytes_max,
            dead_letter_bytes: shared.letters.used_bytes(),
            was_unclean: self.was_unclean,
        };
        metrics::show(whole, &self.status(), unix_ms(Instant::now()));
    }

    /// The process stops: the room that is kept for that is free from now on.
    pub fn begin_stop(&self) {
        let shared = &self.spools.registry.shared;
        shared.is_stopping.store(true, Ordering::Release);
        let reserve = shared.config.dir.join(RESERVE);
        if let Err(error) = shared.storage.remove(&reserve)
            && error.kind() != ErrorKind::NotFound
        {
            tracing::warn!(%error, path = %reserve.display(), "the reserve of the spool can not be freed");
        }
    }

    /// Writes what was handed over until now, notes what is delivered, and ends the threads.
    ///
    /// Waits for the disk until `deadline`. It may take that long.
    #[must_use]
    pub fn stop(self, deadline: Instant) -> Left {
        let Self { spools, pool, done, was_unclean: _, _lock: lock } = self;
        let all = spools.all();
        let wait_for_all = || all.iter().all(|_| done.recv_deadline(deadline).is_ok());
        all.iter().for_each(|(_, spool)| spool.tell_writer(WriterJob::End));
        let mut is_whole = wait_for_all();
        all.iter().for_each(|(_, spool)| spool.tell_reader(ReaderJob::End));
        is_whole &= wait_for_all();
        let mut left = Left { is_whole, ..Left::default() };
        for (_, spool) in &all {
            let counts = &spool.inner.counts;
            left.records += counts.records.get();
            left.bytes += counts.bytes.get();
            left.segments_uncounted += counts.segments_uncounted.get();
        }
        if is_whole {
            pool.stop();
            let shared = &spools.registry.shared;
            let dir = &shared.config.dir;
            let ended = shared.storage.remove(&dir.join(RUNNING));
            if let Err(error) = ended.and_then(|()| shared.storage.sync_dir(dir)) {
                tracing::warn!(%error, "the next start will say that this life did not end cleanly");
            }
        }
        drop(lock);
        left
    }
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

    fn all(&self) -> Vec<(StreamName, StreamSpool)> {
        let known = self.registry.known.read();
        known.map_or_else(
            |_| Vec::new(),
            |known| known.iter().map(|(stream, spool)| (stream.clone(), spool.clone())).collect(),
        )
    }
}

impl Registry {
    /// Starts the two actors of a stream.
    fn begin(&self, lane: &Arc<Lane>, found: Vec<Found>) -> StreamSpool {
        let shared = &self.shared;
        let stream = lane.name().clone();
        let (writer, reader) = (self.places.place(), self.places.place());
        let (wake_writer, wake_reader) = (writer.wake(), reader.wake());
        let (inlet, outflow) = durable_way(Arc::clone(&wake_writer));
        let (to_writer, writer_jobs) = crossbeam_channel::unbounded();
        let (to_reader, reader_jobs) = crossbeam_channel::unbounded();
        let counts = Arc::new(Counts::default());
        let is_wanted = Arc::new(AtomicBool::new(false));
        let disk = shared.disk.share_with_floor_inside(shared.config.stream_floor_bytes);
        let ids = found.iter().map(|found| found.id);
        let last_id = ids.chain(self.ids_in(&shared.quarantine_dir(&stream))).max().unwrap_or(0);

        counts.segments.set(found.len() as u64);
        counts.segments_uncounted.set(found.len() as u64);
        let found = found.into_iter().map(|found| {
            let mut room = disk.empty_reservation();
            let bytes = found.bytes.saturating_add(found.note_bytes.unwrap_or(0));
            room.grow_anyway(usize::try_from(bytes).unwrap_or(usize::MAX));
            (found.id, (found, room))
        });
        let found: BTreeMap<_, _> = found.collect();
        counts.bytes.set(disk.used_bytes() as u64);
        let log = |kind, dir, share: &Arc<_>, bytes_max, last_id| Log {
            shared: Arc::clone(shared),
            stream: stream.clone(),
            kind,
            dir,
            share: Arc::clone(share),
            bytes_max,
            last_id,
            open: None,
            left: BTreeMap::new(),
            looked_at: None,
        };
        let config = &shared.config;
        let mut letters = log(
            Kind::DeadLetters,
            shared.letters_dir(&stream),
            &shared.letters,
            config.dead_letter_bytes_max,
            0,
        );
        self.count_letters(&mut letters);
        writer.settle(Box::new(Writer {
            stream: stream.clone(),
            shared: Arc::clone(shared),
            outflow,
            jobs: writer_jobs,
            to_reader: to_reader.clone(),
            wake_reader: Arc::clone(&wake_reader),
            counts: Arc::clone(&counts),
            records: log(
                Kind::Records,
                shared.stream_dir(&stream),
                &disk,
                config.stream_bytes_max,
                last_id,
            ),
            letters,
            trouble: Trouble::default(),
            metrics: WriterMetrics::new(),
            is_over: false,
            done: self.done.clone(),
            pending: Vec::new(),
            pending_letters: Vec::new(),
        }));
        reader.settle(Box::new(Reader {
            stream,
            lane: Arc::clone(lane),
            shared: Arc::clone(shared),
            disk: Arc::clone(&disk),
            jobs: reader_jobs,
            to_self: to_reader.clone(),
            wake: Arc::clone(&wake_reader),
            done: self.done.clone(),
            is_wanted: Arc::clone(&is_wanted),
            counts: Arc::clone(&counts),
            looks_at: (!found.is_empty()).then(Instant::now),
            found,
            segments: BTreeMap::new(),
            retry: Retry::default(),
            is_over: false,
        }));
        let inner = Inner {
            inlet,
            counts,
            is_wanted,
            spilling_bytes: Arc::clone(&shared.spilling_bytes),
            spilling_bytes_max: config.group_bytes_max,
            to_writer,
            wake_writer,
            to_reader,
            wake_reader,
        };
        StreamSpool { inner: Arc::new(inner) }
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

/// Makes the directory and takes it for this process.
fn prepare(storage: &dyn Storage, config: &Config) -> Result<Lock, StartError> {
    let dir = &config.dir;
    let io = |path: &Path| {
        let path = path.to_owned();
        move |error| StartError::Io { path, error }
    };
    fs::create_dirs(storage, dir).map_err(io(dir))?;
    let lock_path = dir.join(LOCK);
    let lock = storage.lock(&lock_path).map_err(|error| match error {
        LockError::InUse => StartError::InUse { dir: dir.clone() },
        LockError::Io(error) => StartError::Io { path: lock_path.clone(), error },
    })?;
    if !config.allow_tmpfs && storage.is_volatile(dir).map_err(io(dir))? {
        return Err(StartError::Volatile { dir: dir.clone() });
    }
    for name in [STREAMS, QUARANTINE, DEAD_LETTERS] {
        let path = dir.join(name);
        fs::create_dirs(storage, &path).map_err(io(&path))?;
    }
    Ok(lock)
}

/// Says that a life begins. Says in turn whether the last one did not end.
fn mark_running(storage: &dyn Storage, dir: &Path) -> Result<bool, StartError> {
    let path = dir.join(RUNNING);
    let marked = match storage.create_new(&path) {
        Ok(_) => storage.sync_dir(dir).map(|()| false),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(true),
        Err(error) => Err(error),
    };
    marked.map_err(|error| StartError::Io { path, error })
}

/// Keeps room for a stop. Without it a stop has what is free then.
fn reserve(storage: &dyn Storage, config: &Config) {
    let path = config.dir.join(RESERVE);
    if let Err(error) = storage.preallocate(&path, config.reserve_bytes as u64) {
        // Half of it would only be in the way.
        drop(storage.remove(&path));
        tracing::warn!(
            %error,
            path = %path.display(),
            bytes = config.reserve_bytes,
            "no room can be kept free for a stop; it will have what is free then"
        );
    }
}

/// The files of all streams that are there.
fn look_around(
    storage: &dyn Storage,
    streams: &Path,
) -> Result<BTreeMap<StreamName, Vec<Found>>, StartError> {
    let read = |path: &Path| {
        let error = |error| StartError::Io { path: path.to_owned(), error };
        storage.read_dir(path).map_err(error)
    };
    let mut all = BTreeMap::new();
    for folder in read(streams)?.into_iter().filter(|entry| entry.is_dir) {
        let Some(stream) = names::decode(&folder.name) else { continue };
        let dir = streams.join(&folder.name);
        let entries = read(&dir)?;
        let notes: BTreeMap<u64, u64> = entries
            .iter()
            .filter_map(|entry| match names::parse_file(&entry.name) {
                Some(FileName::Note(id)) => Some((id, entry.bytes)),
                _ => None,
            })
            .collect();
        let mut found: Vec<Found> = entries
            .iter()
            .filter_map(|entry| match names::parse_file(&entry.name) {
                Some(FileName::Segment(id)) => Some(Found {
                    id,
                    path: dir.join(&entry.name),
                    bytes: entry.bytes,
                    note_path: dir.join(names::note_file(id)),
                    note_bytes: notes.get(&id).copied(),
                }),
                _ => None,
            })
            .collect();
        for id in notes.keys().filter(|id| !found.iter().any(|found| found.id == **id)) {
            // Its segment is gone: it was taken away just before the end.
            drop(storage.remove(&dir.join(names::note_file(*id))));
        }
        found.sort_by_key(|found| found.id);
        if !found.is_empty() {
            all.insert(stream, found);
        }
    }
    Ok(all)
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry").field("shared", &self.shared).finish_non_exhaustive()
    }
}
