//! The directory of the spool: made, locked and marked at the start, and looked through by names alone.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::config::Config;
use super::fs::{self, Lock, LockError, Storage};
use super::names::{self, FileName};
use super::old::Found;
use super::shared::{DEAD_LETTERS, QUARANTINE, STREAMS, Shared};
use crate::record::StreamName;

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
pub(super) const LOCK: &str = "lock";

/// The file that is there while the process lives.
pub(super) const RUNNING: &str = "running";

/// The file that keeps room for a stop.
pub(super) const RESERVE: &str = "reserve";

/// Makes the directory and takes it for this process.
pub(super) fn prepare(storage: &dyn Storage, config: &Config) -> Result<Lock, StartError> {
    let dir = &config.dir;
    let io = |path: &Path| {
        let path = path.to_owned();
        move |error| StartError::Io { path, error }
    };
    match fs::ensure_dir(storage, dir) {
        // Who may not even read the folder above has not made this one.
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            fs::create_dirs(storage, dir).map_err(io(dir))?;
        }
        made => made.map_err(io(dir))?,
    }
    let lock_path = dir.join(LOCK);
    let lock = locked(storage, &lock_path).map_err(|error| match error {
        LockError::InUse => StartError::InUse { dir: dir.clone() },
        LockError::Io(error) => StartError::Io { path: lock_path.clone(), error },
    })?;
    if !config.allow_tmpfs && storage.is_volatile(dir).map_err(io(dir))? {
        return Err(StartError::Volatile { dir: dir.clone() });
    }
    for name in [STREAMS, QUARANTINE, DEAD_LETTERS] {
        let path = dir.join(name);
        fs::ensure_dir(storage, &path).map_err(io(&path))?;
    }
    Ok(lock)
}

/// Locks the directory. Who only looks whether it is locked may be in the way for an instant, so that it is
/// asked for again before it counts as in use.
fn locked(storage: &dyn Storage, path: &Path) -> Result<Lock, LockError> {
    for _ in 1..LOCK_TRIES_MAX {
        match storage.lock(path) {
            Err(LockError::InUse) => {
                let _when = crossbeam_channel::after(LOCK_WAIT).recv();
            }
            locked => return locked,
        }
    }
    storage.lock(path)
}

/// How often the lock is asked for at a start.
const LOCK_TRIES_MAX: usize = 5;

/// How long it is waited before it is asked for again.
const LOCK_WAIT: Duration = Duration::from_millis(10);

/// Says that a life begins. Says in turn whether the last one did not end.
pub(super) fn mark_running(storage: &dyn Storage, dir: &Path) -> Result<bool, StartError> {
    let path = dir.join(RUNNING);
    let marked = match storage.create_new(&path) {
        Ok(_) => storage.sync_dir(dir).map(|()| false),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(true),
        Err(error) => Err(error),
    };
    marked.map_err(|error| StartError::Io { path, error })
}

/// Keeps room for a stop. Without it a stop has what is free then.
pub(super) fn reserve(storage: &dyn Storage, config: &Config) {
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

/// The streams that have dead letters. What can not be listed has none, for now.
pub(super) fn streams_with_letters(shared: &Shared) -> Vec<StreamName> {
    let storage = shared.storage.as_ref();
    let folders = storage.read_dir(&shared.config.dir.join(DEAD_LETTERS)).unwrap_or_default();
    let streams = folders.iter().filter_map(|folder| names::decode(&folder.name));
    let has_letters = |stream: &StreamName| {
        let files = storage.read_dir(&shared.letters_dir(stream)).unwrap_or_default();
        files.iter().any(|file| matches!(names::parse_file(&file.name), Some(FileName::Segment(_))))
    };
    streams.filter(has_letters).collect()
}

/// The files of all streams that are there.
pub(super) fn look_around(
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
