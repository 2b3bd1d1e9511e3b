//! The emulator's hands on the file system: every use of `std::fs` is here.
//!
//! It owns the layout of the data directory and its lock. It decides nothing about when an object is
//! closed; that is the writer's.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use super::object::{object_path, stream_dir};

/// The data directory, locked for this process while this lives.
#[derive(Debug)]
pub(super) struct DataDir {
    root: PathBuf,
    _lock: File,
}

/// A file that outlives the process.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kept {
    name: &'static str,
    mode: u32,
}

/// The streams and their encryption.
pub(super) const STREAMS: Kept = Kept { name: "streams.json", mode: 0o666 };

/// The data streams and their encryption.
pub(super) const DATA_STREAMS: Kept = Kept { name: "data-streams.json", mode: 0o666 };

/// The keys of KMS, in the clear.
pub(super) const KEYS: Kept = Kept { name: "keys.json", mode: 0o600 };

/// Why a data directory cannot be used.
#[derive(Debug)]
pub(super) enum OpenDirError {
    /// Another emulator uses it.
    InUse,
    /// The file system refused.
    Io(io::Error),
}

impl From<io::Error> for OpenDirError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl DataDir {
    /// Makes and locks the directory.
    pub(super) fn open(root: &Path) -> Result<Self, OpenDirError> {
        fs::create_dir_all(root)?;
        let lock_path = root.join("emulator.lock");
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(lock_path)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { root: root.to_owned(), _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(OpenDirError::InUse),
            Err(TryLockError::Error(error)) => Err(error.into()),
        }
    }

    /// The text of a file that is kept; `None` when there is none yet.
    pub(super) fn read(&self, kept: Kept) -> io::Result<Option<String>> {
        match fs::read_to_string(self.path(kept)) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Replaces a file that is kept as a whole, or leaves it as it is.
    pub(super) fn replace(&self, kept: Kept, text: &str) -> io::Result<()> {
        let next = self.root.join(format!("{}.next", kept.name));
        // One that an earlier life left behind may have other rights.
        match fs::remove_file(&next) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file =
            OpenOptions::new().write(true).create_new(true).mode(kept.mode).open(&next)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&next, self.path(kept))
    }

    /// The path of a file that is kept, for messages.
    pub(super) fn path(&self, kept: Kept) -> PathBuf {
        self.root.join(kept.name)
    }

    /// The place for objects. Those that an earlier life left open are closed first.
    pub(super) fn objects(&self) -> io::Result<ObjectDir> {
        let objects = ObjectDir {
            open_dir: self.root.join("open"),
            delivered_dir: delivered_dir(&self.root),
        };
        fs::create_dir_all(&objects.open_dir)?;
        fs::create_dir_all(&objects.delivered_dir)?;
        for entry in fs::read_dir(&objects.open_dir)? {
            let left_open = entry?.path();
            if let Some(name) = left_open.file_name().and_then(OsStr::to_str) {
                objects.close(&left_open, name)?;
            }
        }
        Ok(objects)
    }
}

/// Where objects are written, and where they go.
#[derive(Debug)]
pub(super) struct ObjectDir {
    open_dir: PathBuf,
    delivered_dir: PathBuf,
}

impl ObjectDir {
    /// Begins an object of this name.
    pub(super) fn create(&self, name: String) -> io::Result<OpenObject> {
        let path = self.open_dir.join(&name);
        let file = OpenOptions::new().create_new(true).append(true).open(&path)?;
        Ok(OpenObject { file, path, name, bytes: 0 })
    }

    /// Moves a finished object to where its name says. A file with another name stays.
    fn close(&self, open: &Path, name: &str) -> io::Result<()> {
        let Some(place) = object_path(name) else { return Ok(()) };
        let place = self.delivered_dir.join(place);
        if let Some(parent) = place.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::rename(open, place)
    }
}

/// An object that is being written.
#[derive(Debug)]
pub(super) struct OpenObject {
    file: File,
    path: PathBuf,
    name: String,
    bytes: u64,
}

impl OpenObject {
    /// Appends all of `data`, or none of it.
    pub(super) fn append(&mut self, data: &[u8]) -> io::Result<()> {
        match self.file.write_all(data) {
            Ok(()) => {
                self.bytes = self.bytes.saturating_add(u64::try_from(data.len()).unwrap_or(0));
                Ok(())
            }
            Err(error) => {
                // What was written of it must not be delivered: its sender is told that it failed.
                self.file.set_len(self.bytes)?;
                Err(error)
            }
        }
    }

    /// How large it is.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Its name, for messages.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Puts it where finished objects are.
    pub(super) fn close(&self, objects: &ObjectDir) -> io::Result<()> {
        objects.close(&self.path, &self.name)
    }
}

/// The finished objects of a stream, in the order in which they were begun.
///
/// # Errors
///
/// Those of the file system. A stream without objects is an empty list.
pub fn delivered_objects(data_dir: &Path, stream: &str) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut to_visit = vec![delivered_dir(data_dir).join(stream_dir(stream))];
    while let Some(dir) = to_visit.pop() {
        let entries = match fs::read_dir(&dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        for entry in entries {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                to_visit.push(entry.path());
            } else {
                found.push(entry.path());
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Everything that a stream was given and that stands in finished objects, in order.
///
/// # Errors
///
/// Those of the file system.
pub fn read_delivered(data_dir: &Path, stream: &str) -> io::Result<Vec<u8>> {
    let objects = delivered_objects(data_dir, stream)?;
    let mut all = Vec::new();
    for object in objects {
        all.append(&mut fs::read(object)?);
    }
    Ok(all)
}

fn delivered_dir(root: &Path) -> PathBuf {
    root.join("delivered")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::embedded::object::object_name;

    const ID: &str = "00000001-0000-4000-8000-000000000000";

    #[test]
    fn a_directory_serves_one_emulator_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let first = DataDir::open(dir.path()).unwrap();
        assert!(matches!(DataDir::open(dir.path()), Err(OpenDirError::InUse)));
        drop(first);
        DataDir::open(dir.path()).unwrap();
    }

    #[test]
    fn an_object_that_was_left_open_is_delivered_at_the_next_start() {
        let dir = tempfile::tempdir().unwrap();
        let data_dir = DataDir::open(dir.path()).unwrap();
        let objects = data_dir.objects().unwrap();
        let mut open = objects.create(object_name("demo", 1, 0, ID)).unwrap();
        open.append(b"left ").unwrap();
        open.append(b"open").unwrap();
        assert!(delivered_objects(dir.path(), "demo").unwrap().is_empty());
        data_dir.objects().unwrap();
        assert_eq!(delivered_objects(dir.path(), "demo").unwrap().len(), 1);
        assert_eq!(read_delivered(dir.path(), "demo").unwrap(), b"left open");
    }
}
