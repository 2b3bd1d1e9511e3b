//! The spool's hands on the file system: every file and folder of it is touched here and nowhere else.
//!
//! [`Storage`] is what the spool needs of a file system, [`Disk`] the real one; the tests have another one,
//! in which each call can fail and a crash can be seen. Nothing here decides, retries or caches. Files are
//! made with mode 0600 and folders with 0700, so that there is no moment in which others can read them.

use std::any::Any;
use std::fmt;
use std::fs::{self, DirBuilder, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _};
use std::path::Path;

/// What the spool needs of a file system. Calls may wait for the disk.
///
/// What was written is durable only when `sync_data` of its file came back without an error; that a name is
/// there, is another one or is gone, only when `sync_dir` of its folder did. After an error of either,
/// nothing is known of what was written since the last success, and no later success says more.
pub(super) trait Storage: fmt::Debug + Send + Sync {
    /// Makes a file that must not be there yet, for appending and reading.
    fn create_new(&self, path: &Path) -> io::Result<Box<dyn File>>;
    /// Opens a file for reading. What is no file is refused, and not waited for.
    fn open_read(&self, path: &Path) -> io::Result<Box<dyn File>>;
    /// Opens a file for appending and reading, and makes it when it is not there.
    fn open_append(&self, path: &Path) -> io::Result<Box<dyn File>>;
    /// What is in a folder, in no order.
    fn read_dir(&self, path: &Path) -> io::Result<Vec<DirEntry>>;
    /// Makes a folder in one that is there. Says whether it was not there yet.
    fn create_dir(&self, path: &Path) -> io::Result<bool>;
    /// Makes what was said of the names in a folder durable.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
    /// Gives a file another name, in the same file system. A file that has that name is replaced.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Takes a file's name away.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// The bytes that may still be written into this folder's file system by who is not root.
    fn free_bytes(&self, path: &Path) -> io::Result<u64>;
    /// Whether what is in this folder is gone when the machine restarts: a file system in memory.
    fn is_volatile(&self, path: &Path) -> io::Result<bool>;
    /// Locks a file for this process, making it when it is not there.
    fn lock(&self, path: &Path) -> Result<Lock, LockError>;
    /// Whether somebody holds the lock of a file. Nothing is made and nobody waits; for an instant a share of
    /// the lock may be held, so that who wants all of it in that instant has to ask again.
    fn is_locked(&self, path: &Path) -> io::Result<bool>;
    /// Makes a file of `bytes`, or lengthens one to it, so that the room for them is taken on the disk.
    ///
    /// It is an [`ErrorKind::Unsupported`] where the file system can not do that.
    fn preallocate(&self, path: &Path, bytes: u64) -> io::Result<()>;
}

/// A file that is open.
pub(super) trait File: fmt::Debug + Send {
    /// Appends all of `bytes`. After an error, any part of them may have been written.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Makes what was appended durable.
    fn sync_data(&mut self) -> io::Result<()>;
    /// Reads what lies at `offset`; less than the buffer takes only at the end of the file.
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize>;
    /// How long it is.
    fn bytes(&self) -> io::Result<u64>;
}

/// What is in a folder.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct DirEntry {
    /// Its name. A name that is not UTF-8 is none of ours, and is not one of ours after its conversion.
    pub(super) name: String,
    /// How long it is.
    pub(super) bytes: u64,
    /// Whether it is a folder.
    pub(super) is_dir: bool,
}

/// A lock, held while this lives.
pub(super) struct Lock {
    held: Box<dyn Any + Send + Sync>,
}

impl Lock {
    pub(super) fn new(held: impl Any + Send + Sync) -> Self {
        Self { held: Box::new(held) }
    }

    /// Holds it for as long as the process lives.
    pub(super) fn keep(self) {
        let _for_ever = Box::leak(self.held);
    }
}

impl fmt::Debug for Lock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Lock")
    }
}

/// Why a file is not locked.
#[derive(Debug)]
pub(super) enum LockError {
    /// Another process, or another part of this one, holds it.
    InUse,
    /// The file system refused.
    Io(io::Error),
}

impl fmt::Display for LockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InUse => f.write_str("it is in use"),
            Self::Io(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for LockError {}

impl From<io::Error> for LockError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Makes `path` and whatever folder above it is missing, and makes the names of all of those durable.
///
/// That of a folder which is there already was made by somebody else.
pub(super) fn create_dirs(storage: &dyn Storage, path: &Path) -> io::Result<()> {
    if create_all(storage, path)? { storage.sync_dir(above(path)) } else { Ok(()) }
}

/// Makes the folder `path` and makes its name durable, also when it is there already: whoever made it may
/// have died, or failed, just before that.
pub(super) fn ensure_dir(storage: &dyn Storage, path: &Path) -> io::Result<()> {
    create_all(storage, path)?;
    storage.sync_dir(above(path))
}

/// Makes `path`, and makes the names of those durable that are made above it. Says whether it was not there.
fn create_all(storage: &dyn Storage, path: &Path) -> io::Result<bool> {
    match storage.create_dir(path) {
        Err(error) if error.kind() == ErrorKind::NotFound && above(path) != path => {
            create_dirs(storage, above(path))?;
            storage.create_dir(path)
        }
        made => made,
    }
}

/// The folder that `path` lies in.
fn above(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Reads a whole file, or its first `bytes_max` when it is longer.
pub(super) fn read_start(file: &dyn File, bytes_max: u64) -> io::Result<Vec<u8>> {
    let bytes = file.bytes()?.min(bytes_max);
    let mut read = vec![0; usize::try_from(bytes).map_err(|_| ErrorKind::FileTooLarge)?];
    let count = file.read_at(0, &mut read)?;
    read.truncate(count);
    Ok(read)
}

const FILE_MODE: u32 = 0o600;
const DIR_MODE: u32 = 0o700;

/// File systems that are gone with the machine. Source: statfs(2).
const VOLATILE: [u32; 2] = [0x0102_1994 /* tmpfs */, 0x8584_58f6 /* ramfs */];

/// The real file system.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Disk;

impl Storage for Disk {
    fn create_new(&self, path: &Path) -> io::Result<Box<dyn File>> {
        let mut options = OpenOptions::new();
        options.create_new(true).append(true).read(true).mode(FILE_MODE);
        Ok(Box::new(DiskFile(options.open(path)?)))
    }

    fn open_read(&self, path: &Path) -> io::Result<Box<dyn File>> {
        // A pipe in the place of a file would be waited for until somebody writes into it.
        let waits_not = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
        let file = OpenOptions::new().read(true).custom_flags(waits_not).open(path)?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::other(format!("{} is no regular file", path.display())));
        }
        Ok(Box::new(DiskFile(file)))
    }

    fn open_append(&self, path: &Path) -> io::Result<Box<dyn File>> {
        let mut options = OpenOptions::new();
        options.create(true).append(true).read(true).mode(FILE_MODE);
        Ok(Box::new(DiskFile(options.open(path)?)))
    }

    fn read_dir(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(path)? {
            let entry = entry?;
            let metadata = match entry.metadata() {
                Ok(metadata) => metadata,
                // It was removed while we looked.
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            entries.push(DirEntry {
                name: entry.file_name().to_string_lossy().into_owned(),
                bytes: metadata.len(),
                is_dir: metadata.is_dir(),
            });
        }
        Ok(entries)
    }

    fn create_dir(&self, path: &Path) -> io::Result<bool> {
        match DirBuilder::new().mode(DIR_MODE).create(path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::AlreadyExists && path.is_dir() => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        fs::File::open(path)?.sync_all()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        let space = rustix::fs::statvfs(path)?;
        Ok(space.f_bavail.saturating_mul(space.f_frsize))
    }

    fn is_volatile(&self, path: &Path) -> io::Result<bool> {
        let kind = rustix::fs::statfs(path)?.f_type;
        // The type's width differs between architectures; the magic has 32 bits.
        Ok(VOLATILE.iter().any(|volatile| i128::from(kind) & 0xffff_ffff == i128::from(*volatile)))
    }

    fn lock(&self, path: &Path) -> Result<Lock, LockError> {
        let mut options = OpenOptions::new();
        let file = options.create(true).truncate(false).write(true).mode(FILE_MODE).open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Lock::new(file)),
            Err(TryLockError::WouldBlock) => Err(LockError::InUse),
            Err(TryLockError::Error(error)) => Err(error.into()),
        }
    }

    fn is_locked(&self, path: &Path) -> io::Result<bool> {
        match fs::File::open(path)?.try_lock_shared() {
            Ok(()) => Ok(false),
            Err(TryLockError::WouldBlock) => Ok(true),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    fn preallocate(&self, path: &Path, bytes: u64) -> io::Result<()> {
        let mut options = OpenOptions::new();
        let file = options.create(true).truncate(false).write(true).mode(FILE_MODE).open(path)?;
        if bytes > 0 {
            rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, bytes)?;
        }
        file.sync_all()
    }
}

/// A file of the real file system.
#[derive(Debug)]
struct DiskFile(fs::File);

impl File for DiskFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)
    }

    fn sync_data(&mut self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn read_at(&self, offset: u64, mut into: &mut [u8]) -> io::Result<usize> {
        let mut at = offset;
        let whole = into.len();
        while !into.is_empty() {
            match self.0.read_at(into, at) {
                Ok(0) => break,
                Ok(count) => {
                    into = into.get_mut(count..).unwrap_or_default();
                    at = at.saturating_add(u64::try_from(count).unwrap_or(u64::MAX));
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(whole - into.len())
    }

    fn bytes(&self) -> io::Result<u64> {
        self.0.metadata().map(|metadata| metadata.len())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn files_and_folders_are_nobody_else_s() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("a/b/c");
        create_dirs(&Disk, &folder).unwrap();
        create_dirs(&Disk, &folder).unwrap();
        for made in ["a", "a/b", "a/b/c"] {
            assert_eq!(mode(&dir.path().join(made)), 0o700);
        }
        for (name, make) in [
            ("new", &(|path: &Path| Disk.create_new(path).map(drop)) as &dyn Fn(&Path) -> _),
            ("append", &|path: &Path| Disk.open_append(path).map(drop)),
            ("reserve", &|path: &Path| Disk.preallocate(path, 8192)),
            ("lock", &|path: &Path| Disk.lock(path).map(drop).map_err(|_| ErrorKind::Other.into())),
        ] {
            make(&folder.join(name)).unwrap();
            assert_eq!(mode(&folder.join(name)), 0o600, "{name}");
        }
        assert_eq!(Disk.open_read(&folder.join("reserve")).unwrap().bytes().unwrap(), 8192);
        assert_eq!(
            Disk.create_new(&folder.join("new")).unwrap_err().kind(),
            ErrorKind::AlreadyExists
        );
        assert!(Disk.create_dir(&folder.join("new")).is_err(), "a file is no folder");
    }

    #[test]
    fn what_is_appended_is_read_back_and_what_is_removed_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let (one, two) = (dir.path().join("one"), dir.path().join("two"));
        let mut file = Disk.create_new(&one).unwrap();
        file.append(b"hello ").unwrap();
        file.sync_data().unwrap();
        drop(file);
        let mut file = Disk.open_append(&one).unwrap();
        file.append(b"world").unwrap();
        let mut into = [0; 100];
        assert_eq!(file.read_at(6, &mut into).unwrap(), 5);
        assert!(into.starts_with(b"world"));
        assert_eq!(file.read_at(11, &mut into).unwrap(), 0);
        assert_eq!(read_start(file.as_ref(), 12).unwrap(), b"hello world");
        assert_eq!(read_start(file.as_ref(), 10).unwrap(), b"hello worl");
        Disk.rename(&one, &two).unwrap();
        Disk.sync_dir(dir.path()).unwrap();
        let entry = DirEntry { name: "two".to_owned(), bytes: 11, is_dir: false };
        assert_eq!(Disk.read_dir(dir.path()).unwrap(), [entry]);
        Disk.remove(&two).unwrap();
        assert_eq!(Disk.open_read(&two).unwrap_err().kind(), ErrorKind::NotFound);
    }

    #[test]
    fn what_is_no_file_is_refused_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("pipe");
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, mode).unwrap();
        for path in [&pipe, dir.path()] {
            let error = Disk.open_read(path).unwrap_err().to_string();
            assert!(error.ends_with("is no regular file"), "{error}");
        }
    }

    #[test]
    fn a_lock_is_held_once_and_free_when_it_is_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        assert_eq!(Disk.is_locked(&path).unwrap_err().kind(), ErrorKind::NotFound);
        let held = Disk.lock(&path).unwrap();
        assert!(matches!(Disk.lock(&path), Err(LockError::InUse)));
        assert!(Disk.is_locked(&path).unwrap());
        let elsewhere = Disk.lock(&dir.path().join("not/there")).unwrap_err();
        assert!(matches!(&elsewhere, LockError::Io(error) if error.kind() == ErrorKind::NotFound));
        drop(held);
        assert!(!Disk.is_locked(&path).unwrap());
        Disk.lock(&path).unwrap();
    }

    #[test]
    fn the_file_system_says_what_it_is() {
        assert!(Disk.free_bytes(Path::new("/")).unwrap() > 0);
        assert!(Disk.is_volatile(Path::new("/dev/shm")).unwrap());
        assert!(!Disk.is_volatile(Path::new("/proc")).unwrap());
    }
}
