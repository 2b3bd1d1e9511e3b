//! The spool as a whole: its directory, its threads, and the stream spools in it.
//!
//! A start makes and locks the directory and reads listings, and nothing else: it takes as long with a
//! backlog as without. A stop ends what is written and notes what is delivered.

use std::collections::BTreeSet;
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
#[expect(
    clippy::disallowed_types,
    reason = "asked once per stream and scrape, never per record"
)]
use std::sync::{Mutex, RwLock};
use std::time::Instant;

use crossbeam_channel::Receiver;

use super::config::Config;
use super::dirs::{self, RESERVE, RUNNING, StartError};
use super::fs::{Disk, Lock, Storage};
use super::handle::{ReaderJob, WriterJob};
use super::keyring::KeyRing;
use super::metrics::{self, Whole};
use super::pool::Pool;
use super::registry::{Registry, Spools};
use super::shared::{STREAMS, Shared};
use super::status::StreamStatus;
use super::words::{Words, unix_ms, words};
use crate::pipeline::{Budget, Post};
use crate::record::StreamName;

/// The running spool. Dropped without [`Spool::stop`], its threads go on until the process ends.
#[derive(Debug)]
pub struct Spool {
    spools: Spools,
    pool: Pool,
    pub(super) done: Receiver<()>,
    was_unclean: bool,
    _lock: Lock,
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
        let threads = config.threads;
        Self::start_in(storage, config, ring, post, || Pool::start(threads))
    }

    pub(super) fn start_in(
        storage: Arc<dyn Storage>,
        config: Config,
        ring: Arc<dyn KeyRing>,
        post: Post,
        pool: impl FnOnce() -> io::Result<Pool>,
    ) -> Result<(Self, Words), StartError> {
        let dir = config.dir.clone();
        let lock = dirs::prepare(storage.as_ref(), &config)?;
        let was_unclean = dirs::mark_running(storage.as_ref(), &dir)?;
        dirs::reserve(storage.as_ref(), &config);
        let found = dirs::look_around(storage.as_ref(), &dir.join(STREAMS))?;
        let pool = pool().map_err(StartError::Thread)?;
        let (speaker, words) = words();
        let (done_sender, done) = crossbeam_channel::unbounded();
        let shared = Arc::new(Shared {
            disk: Budget::new(config.bytes_max.saturating_sub(config.reserve_bytes)),
            letters: Budget::new(config.dead_letter_bytes_max).share(0),
            read_ahead: Budget::new(config.read_ahead_bytes_max),
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

    /// The streams that an earlier life left something of: records, or dead letters.
    #[must_use]
    pub fn leftovers(&self) -> Vec<StreamName> {
        let registry = &self.spools.registry;
        let found = registry.found.lock();
        let mut streams: BTreeSet<StreamName> =
            found.map(|found| found.keys().cloned().collect()).unwrap_or_default();
        streams.extend(dirs::streams_with_letters(&registry.shared));
        streams.into_iter().collect()
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
        self.spools.status()
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
        // Who had no room has some now.
        self.spools.all().iter().for_each(|(_, spool)| (spool.inner.wake_writer)());
    }

    /// Writes what was handed over until now, notes what is delivered, and ends the threads.
    ///
    /// Waits for the disk until `deadline`. It may take that long.
    #[must_use]
    pub fn stop(self, deadline: Instant) -> Left {
        let wait_for =
            |actors: usize| (0..actors).all(|_| self.done.recv_deadline(deadline).is_ok());
        let writers = self.end_writers();
        let are_writers_over = wait_for(writers);
        let readers = self.end_readers();
        let is_whole = wait_for(readers) && are_writers_over;
        self.ended(is_whole)
    }

    /// Tells all writers to write what they have and end. Says how many there are.
    pub(super) fn end_writers(&self) -> usize {
        let all = self.spools.all();
        all.iter().for_each(|(_, spool)| spool.tell_writer(WriterJob::End));
        all.len()
    }

    /// Tells all readers, which may still hear of the writers, to end. Says how many there are.
    pub(super) fn end_readers(&self) -> usize {
        let all = self.spools.all();
        all.iter().for_each(|(_, spool)| spool.tell_reader(ReaderJob::End));
        all.len()
    }

    /// Everything has ended, if it `is_whole`.
    pub(super) fn ended(self, is_whole: bool) -> Left {
        let Self { spools, pool, done: _, was_unclean: _, _lock: lock } = self;
        let all = spools.all();
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
        if is_whole {
            drop(lock);
        } else {
            // A thread may still write: nobody else is to have the directory while the process is there.
            lock.keep();
        }
        left
    }
}
