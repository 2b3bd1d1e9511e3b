//! A storage in memory that can fail and crash: the tests' second implementation of [`Storage`].
//!
//! Any call can be told to fail, an append to be cut short, the disk to be full, and everything to crash.
//! [`Faulty::crash`] gives the storage as it may be found afterwards, as bad as a file system may make it:
//!
//! - what a successful `sync_data` covers is there; of what was appended since, any part may be there, pages
//!   of zeros may stand where data was to be, or the file ends anywhere;
//! - what was appended before a `sync_data` that failed is as uncertain for ever, whatever later ones say;
//! - a name that was made, changed or removed is certain only after `sync_dir`; before, each of them has
//!   happened or not, whatever the others did. A file that was moved to another folder can be in both, but
//!   is never in none.
//!
//! Handles to a storage that crashed get errors. Everything that is random comes from the seed.

mod file;
#[cfg(test)]
mod tests;
mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
#[expect(clippy::disallowed_types, reason = "a storage of tests, on no record's way")]
use std::sync::Mutex;
use std::sync::{Arc, MutexGuard};

use super::fs::{DirEntry, File, Lock, LockError, Storage};
use super::window::to_u64;
use file::FaultyFile;
use world::{Change, Extent, Fault, Names, Node, World};

/// The kinds of calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Call {
    CreateNew,
    OpenRead,
    OpenAppend,
    ReadDir,
    CreateDir,
    SyncDir,
    Rename,
    Remove,
    FreeBytes,
    IsVolatile,
    Lock,
    Preallocate,
    Append,
    SyncData,
    ReadAt,
    Bytes,
}

/// See the module. Cloning gives another handle to the same storage.
#[derive(Debug, Clone)]
pub(super) struct Faulty {
    #[expect(clippy::disallowed_types, reason = "a storage of tests, on no record's way")]
    world: Arc<Mutex<World>>,
}

impl Faulty {
    /// A storage with nothing in it but the folder `/`.
    #[expect(clippy::disallowed_types, reason = "a storage of tests, on no record's way")]
    pub(super) fn new(seed: u64) -> Self {
        let names = Names::from([(PathBuf::from("/"), Node::Dir)]);
        let world = World {
            random: fastrand::Rng::with_seed(seed),
            files: Vec::new(),
            seen: names.clone(),
            certain: names,
            pending: Vec::new(),
            locks: BTreeSet::new(),
            calls: BTreeMap::new(),
            faults: Vec::new(),
            failures: BTreeMap::new(),
            open_files: 0,
            full_at: None,
            is_volatile: false,
            has_crashed: false,
        };
        Self { world: Arc::new(Mutex::new(world)) }
    }

    /// The `n`th call of this kind from now on fails; 1 is the next one.
    pub(super) fn fail_nth(&self, call: Call, n: u64, kind: ErrorKind) {
        self.add_fault(call, Some(n), kind, Extent::Whole);
    }

    /// Every call of this kind fails until [`Faulty::heal`].
    pub(super) fn fail_all(&self, call: Call, kind: ErrorKind) {
        self.add_fault(call, None, kind, Extent::Whole);
    }

    /// The `n`th append from now on writes a part of what it was given, and fails.
    pub(super) fn short_write_nth(&self, n: u64, kind: ErrorKind) {
        self.add_fault(Call::Append, Some(n), kind, Extent::Short);
    }

    /// The machine dies within the `n`th call of this kind from now on: see [`Faulty::crash`].
    pub(super) fn crash_nth(&self, call: Call, n: u64) {
        self.add_fault(call, Some(n), ErrorKind::BrokenPipe, Extent::Fatal);
    }

    /// Whether the machine is dead.
    pub(super) fn has_crashed(&self) -> bool {
        self.world().has_crashed
    }

    /// How many calls of this kind failed because they were told to; and those of appends that wrote a part.
    pub(super) fn failures(&self, call: Call, is_short: bool) -> u64 {
        self.world().failures.get(&(call, is_short)).copied().unwrap_or(0)
    }

    /// What is, or was, in all files that there ever were.
    pub(super) fn all_contents(&self) -> Vec<Vec<u8>> {
        self.world().files.iter().map(|file| file.bytes.clone()).collect()
    }

    /// Nothing is to fail any more, and the disk has room.
    pub(super) fn heal(&self) {
        let mut world = self.world();
        world.faults.clear();
        world.full_at = None;
    }

    /// Whether nothing is to fail.
    pub(super) fn is_sound(&self) -> bool {
        let world = self.world();
        world.faults.is_empty() && world.full_at.is_none()
    }

    /// The disk holds `bytes` in all; what goes beyond them is written in part, and fails.
    pub(super) fn fill_up_at(&self, bytes: u64) {
        self.world().full_at = Some(bytes);
    }

    /// The storage is one in memory, or is none.
    pub(super) fn set_volatile(&self, is_volatile: bool) {
        self.world().is_volatile = is_volatile;
    }

    /// How many calls of this kind there were, those that failed too.
    pub(super) fn calls(&self, call: Call) -> u64 {
        self.world().calls.get(&call).copied().unwrap_or(0)
    }

    /// What is in a file now.
    pub(super) fn contents(&self, path: &Path) -> Option<Vec<u8>> {
        let mut world = self.world();
        let node = world.seen.get(path).copied()?;
        world.file(node).map(|file| file.bytes.clone())
    }

    /// Changes what is in a file, for certain: damage.
    pub(super) fn damage(&self, path: &Path, how: impl FnOnce(&mut Vec<u8>)) {
        let mut world = self.world();
        let node = world.seen.get(path).copied().expect("the file to damage is there");
        let file = world.file(node).expect("what is damaged is a file");
        how(&mut file.bytes);
        file.synced = file.synced.min(file.bytes.len());
        file.certain = file.certain.min(file.bytes.len());
    }

    /// The paths of all files now.
    pub(super) fn paths(&self) -> Vec<PathBuf> {
        let world = self.world();
        let files = world.seen.iter().filter(|(_, node)| **node != Node::Dir);
        files.map(|(path, _)| path.clone()).collect()
    }

    /// The machine dies: the storage as it is found afterwards. This one gives errors from now on.
    pub(super) fn crash(&self) -> Self {
        let mut old = self.world();
        old.has_crashed = true;
        let after = Self::new(old.random.u64(..));
        let mut world = after.world();
        world.is_volatile = old.is_volatile;
        world.seen = old.names_after_a_crash();
        world.certain = world.seen.clone();
        let World { files, random, .. } = &mut *old;
        world.files = files.iter().map(|file| file.after_a_crash(random)).collect();
        drop(world);
        after
    }

    fn add_fault(&self, call: Call, n: Option<u64>, kind: ErrorKind, extent: Extent) {
        let mut world = self.world();
        let so_far = world.calls.get(&call).copied().unwrap_or(0);
        let number = n.map(|n| so_far + n);
        world.faults.push(Fault { call, number, kind, extent });
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().expect("no test panics within a call")
    }
}

impl Storage for Faulty {
    fn create_new(&self, path: &Path) -> io::Result<Box<dyn File>> {
        let mut world = self.world();
        world.call(Call::CreateNew)?;
        if world.seen.contains_key(path) {
            return Err(ErrorKind::AlreadyExists.into());
        }
        let inode = world.create(path)?;
        Ok(self.open(inode, &mut world))
    }

    fn open_read(&self, path: &Path) -> io::Result<Box<dyn File>> {
        let mut world = self.world();
        world.call(Call::OpenRead)?;
        let inode = world.inode(path)?;
        Ok(self.open(inode, &mut world))
    }

    fn open_append(&self, path: &Path) -> io::Result<Box<dyn File>> {
        let mut world = self.world();
        world.call(Call::OpenAppend)?;
        let inode = match world.inode(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => world.create(path)?,
            found => found?,
        };
        Ok(self.open(inode, &mut world))
    }

    fn read_dir(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        let mut world = self.world();
        world.call(Call::ReadDir)?;
        world.dir(path)?;
        let inside = world.seen.iter().filter(|(name, _)| name.parent() == Some(path));
        let entries = inside.map(|(name, node)| DirEntry {
            name: name.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            bytes: match node {
                Node::Dir => 0,
                Node::File(inode) => to_u64(world.files[*inode].bytes.len()),
            },
            is_dir: *node == Node::Dir,
        });
        Ok(entries.collect())
    }

    fn create_dir(&self, path: &Path) -> io::Result<bool> {
        let mut world = self.world();
        world.call(Call::CreateDir)?;
        if world.seen.contains_key(path) {
            return world.dir(path).map(|()| false);
        }
        world.parent(path)?;
        world.change(Change::Put(path.to_owned(), Node::Dir));
        Ok(true)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let mut world = self.world();
        world.call(Call::SyncDir)?;
        world.dir(path)?;
        let changes = std::mem::take(&mut world.pending);
        let left = changes.iter().filter(|change| change.is_of(path));
        let arrived: Vec<_> = left
            .filter_map(|change| change.arrival().map(|(to, node)| (to.to_owned(), node)))
            .collect();
        let (certain, pending) = changes.into_iter().partition::<Vec<_>, _>(|change| {
            change.is_of(path) || arrived.iter().any(|(to, node)| change.puts(to, *node))
        });
        world.pending = pending;
        for change in certain {
            change.happen(&mut world.certain);
        }
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut world = self.world();
        world.call(Call::Rename)?;
        let node = Node::File(world.inode(from)?);
        world.parent(to)?;
        if from.parent() == to.parent() {
            world.change(Change::Moved(from.to_owned(), to.to_owned(), node));
        } else {
            world.change(Change::Put(to.to_owned(), node));
            world.change(Change::Left(from.to_owned(), to.to_owned(), node));
        }
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut world = self.world();
        world.call(Call::Remove)?;
        world.inode(path)?;
        world.change(Change::Gone(path.to_owned()));
        Ok(())
    }

    fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        let mut world = self.world();
        world.call(Call::FreeBytes)?;
        world.dir(path)?;
        Ok(world.room())
    }

    fn is_volatile(&self, path: &Path) -> io::Result<bool> {
        let mut world = self.world();
        world.call(Call::IsVolatile)?;
        world.dir(path)?;
        Ok(world.is_volatile)
    }

    fn lock(&self, path: &Path) -> Result<Lock, LockError> {
        let mut world = self.world();
        world.call(Call::Lock)?;
        if !world.seen.contains_key(path) {
            world.create(path)?;
        }
        if !world.locks.insert(path.to_owned()) {
            return Err(LockError::InUse);
        }
        Ok(Lock::new(Held { storage: self.clone(), path: path.to_owned() }))
    }

    fn is_locked(&self, path: &Path) -> io::Result<bool> {
        let mut world = self.world();
        world.call(Call::Lock)?;
        world.inode(path)?;
        Ok(world.locks.contains(path))
    }

    fn preallocate(&self, path: &Path, bytes: u64) -> io::Result<()> {
        let mut world = self.world();
        world.call(Call::Preallocate)?;
        let inode = match world.inode(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => world.create(path)?,
            found => found?,
        };
        let there = to_u64(world.files[inode].bytes.len());
        if bytes.saturating_sub(there) > world.room() {
            return Err(ErrorKind::StorageFull.into());
        }
        let bytes = usize::try_from(bytes.max(there)).expect("tests preallocate little");
        let file = &mut world.files[inode];
        file.bytes.resize(bytes, 0);
        (file.synced, file.certain) = (bytes, bytes);
        Ok(())
    }
}

impl Faulty {
    fn open(&self, inode: usize, world: &mut World) -> Box<dyn File> {
        world.open_files += 1;
        Box::new(FaultyFile::new(self.clone(), inode))
    }

    /// How many files are held open.
    pub(super) fn open_files(&self) -> usize {
        self.world().open_files
    }
}

struct Held {
    storage: Faulty,
    path: PathBuf,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.storage.world().locks.remove(&self.path);
    }
}
