//! What a faulty storage holds, what goes wrong in it, and what a crash leaves of it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::super::window::to_u64;
use super::Call;

const PAGE_BYTES: usize = 4096;

#[derive(Debug)]
pub(super) struct World {
    pub(super) random: fastrand::Rng,
    pub(super) files: Vec<Inode>,
    /// The names as they are seen, and as they are certain.
    pub(super) seen: Names,
    pub(super) certain: Names,
    /// What happened to names since they were certain, in order.
    pub(super) pending: Vec<Change>,
    pub(super) locks: BTreeSet<PathBuf>,
    pub(super) calls: BTreeMap<Call, u64>,
    pub(super) faults: Vec<Fault>,
    /// How many calls of each kind failed as they were told, and whether in part.
    pub(super) failures: BTreeMap<(Call, bool), u64>,
    pub(super) open_files: usize,
    pub(super) full_at: Option<u64>,
    pub(super) is_volatile: bool,
    pub(super) has_crashed: bool,
}

pub(super) type Names = BTreeMap<PathBuf, Node>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Node {
    Dir,
    File(usize),
}

#[derive(Debug, Clone, Default)]
pub(super) struct Inode {
    pub(super) bytes: Vec<u8>,
    /// How much of it was there when it was last synced, with or without success.
    pub(super) synced: usize,
    /// How much of it was there when it was last synced with success.
    pub(super) certain: usize,
    /// What a sync that failed was to make durable.
    pub(super) doubtful: Vec<Range<usize>>,
}

/// One change of the names in one folder.
#[derive(Debug, Clone)]
pub(super) enum Change {
    Put(PathBuf, Node),
    Gone(PathBuf),
    /// Both at once, within a folder.
    Moved(PathBuf, PathBuf, Node),
    /// Out of a folder into another one, where it was put.
    Left(PathBuf, PathBuf, Node),
}

#[derive(Debug)]
pub(super) struct Fault {
    pub(super) call: Call,
    /// Which call of its kind; nothing for every one.
    pub(super) number: Option<u64>,
    pub(super) kind: ErrorKind,
    pub(super) extent: Extent,
}

/// How far a call comes that is to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Extent {
    /// It does nothing.
    Whole,
    /// It does a part.
    Short,
    /// It does a part, and is the last one.
    Fatal,
}

impl World {
    /// Counts a call. Gives the fault that it is to have, if any.
    pub(super) fn fault(&mut self, call: Call) -> Option<Fault> {
        let so_far = self.calls.entry(call).or_default();
        *so_far += 1;
        let number = *so_far;
        if self.has_crashed {
            let kind = ErrorKind::BrokenPipe;
            return Some(Fault { call, number: None, kind, extent: Extent::Whole });
        }
        let is_meant =
            |fault: &Fault| fault.call == call && fault.number.is_none_or(|n| n == number);
        let at = self.faults.iter().position(is_meant)?;
        let Fault { number, kind, extent, .. } = self.faults[at];
        if number.is_some() {
            self.faults.remove(at);
        }
        *self.failures.entry((call, extent == Extent::Short)).or_default() += 1;
        self.has_crashed |= extent == Extent::Fatal;
        Some(Fault { call, number, kind, extent })
    }

    pub(super) fn call(&mut self, call: Call) -> io::Result<()> {
        self.fault(call).map_or(Ok(()), |fault| Err(fault.kind.into()))
    }

    pub(super) fn file(&mut self, node: Node) -> Option<&mut Inode> {
        match node {
            Node::Dir => None,
            Node::File(inode) => self.files.get_mut(inode),
        }
    }

    pub(super) fn node(&self, path: &Path) -> io::Result<Node> {
        self.seen.get(path).copied().ok_or_else(|| ErrorKind::NotFound.into())
    }

    pub(super) fn inode(&self, path: &Path) -> io::Result<usize> {
        match self.node(path)? {
            Node::Dir => Err(ErrorKind::IsADirectory.into()),
            Node::File(inode) => Ok(inode),
        }
    }

    pub(super) fn dir(&self, path: &Path) -> io::Result<()> {
        match self.node(path)? {
            Node::Dir => Ok(()),
            Node::File(_) => Err(ErrorKind::NotADirectory.into()),
        }
    }

    pub(super) fn parent(&self, path: &Path) -> io::Result<()> {
        path.parent().map_or(Ok(()), |parent| self.dir(parent))
    }

    pub(super) fn create(&mut self, path: &Path) -> io::Result<usize> {
        self.parent(path)?;
        self.files.push(Inode::default());
        let inode = self.files.len() - 1;
        self.change(Change::Put(path.to_owned(), Node::File(inode)));
        Ok(inode)
    }

    pub(super) fn change(&mut self, change: Change) {
        change.happen(&mut self.seen);
        self.pending.push(change);
    }

    /// The bytes that the disk still has room for.
    pub(super) fn room(&self) -> u64 {
        let named = self.seen.values().filter_map(|node| match node {
            Node::Dir => None,
            Node::File(inode) => self.files.get(*inode),
        });
        let used = named.map(|file| to_u64(file.bytes.len())).sum::<u64>();
        self.full_at.unwrap_or(1 << 40).saturating_sub(used)
    }

    pub(super) fn append(&mut self, inode: usize, bytes: &[u8]) -> io::Result<()> {
        let fault = self.fault(Call::Append);
        let room = usize::try_from(self.room()).unwrap_or(usize::MAX);
        let (written, answer) = match fault {
            Some(fault) if fault.extent != Extent::Whole => {
                (self.random.usize(..bytes.len().max(1)).min(room), Err(fault.kind.into()))
            }
            Some(fault) => (0, Err(fault.kind.into())),
            None if room < bytes.len() => (room, Err(ErrorKind::StorageFull.into())),
            None => (bytes.len(), Ok(())),
        };
        let file = self.files.get_mut(inode).expect("an open file is there");
        file.bytes.extend(bytes.iter().take(written));
        answer
    }

    pub(super) fn names_after_a_crash(&mut self) -> Names {
        let mut names = self.certain.clone();
        for change in &self.pending {
            if self.random.bool() {
                change.happen(&mut names);
                // No file system loses a file that is moved.
                if let Some((to, node)) = change.arrival()
                    && self.pending.iter().any(|other| other.puts(to, node))
                {
                    names.insert(to.to_owned(), node);
                }
            }
        }
        // What was in a folder that is not there is not there.
        let folders = names.clone();
        names.retain(|path, _| {
            path.ancestors().skip(1).all(|above| folders.get(above) == Some(&Node::Dir))
        });
        names
    }
}

impl Change {
    pub(super) fn happen(&self, names: &mut Names) {
        match self {
            Self::Put(path, node) => drop(names.insert(path.clone(), *node)),
            Self::Gone(path) => drop(names.remove(path)),
            Self::Moved(from, to, node) => {
                names.remove(from);
                names.insert(to.clone(), *node);
            }
            Self::Left(from, ..) => drop(names.remove(from)),
        }
    }

    /// Where a file went that left its folder.
    pub(super) fn arrival(&self) -> Option<(&Path, Node)> {
        match self {
            Self::Left(_, to, node) => Some((to, *node)),
            _ => None,
        }
    }

    pub(super) fn puts(&self, path: &Path, node: Node) -> bool {
        matches!(self, Self::Put(put, what) if put == path && *what == node)
    }

    /// Whether it is certain once this folder was synced.
    pub(super) fn is_of(&self, folder: &Path) -> bool {
        let path = match self {
            Self::Put(path, _) | Self::Gone(path) => path,
            Self::Moved(from, ..) | Self::Left(from, ..) => from,
        };
        path.parent() == Some(folder)
    }
}

impl Inode {
    pub(super) fn after_a_crash(&self, random: &mut fastrand::Rng) -> Self {
        let all = self.bytes.len();
        let kept = match random.u8(..4) {
            0 => self.certain,
            1 => all,
            _ => random.usize(self.certain..=all),
        };
        let mut bytes = self.bytes.get(..kept).unwrap_or_default().to_vec();
        let has_holes = random.bool();
        let uncertain = self.doubtful.iter().cloned().chain(std::iter::once(self.synced..all));
        for range in uncertain {
            let mut at = range.start;
            while at < range.end.min(kept) {
                let page_end = (at / PAGE_BYTES + 1) * PAGE_BYTES;
                let end = page_end.min(range.end).min(kept);
                if has_holes && random.bool() {
                    bytes.get_mut(at..end).unwrap_or_default().fill(0);
                }
                at = end;
            }
        }
        Self { synced: kept, certain: kept, bytes, doubtful: Vec::new() }
    }
}
