//! A file of a faulty storage that is open.

use std::io;

use super::super::fs::File;
use super::super::window::to_u64;
use super::{Call, Faulty};

/// See the module.
#[derive(Debug)]
pub(super) struct FaultyFile {
    storage: Faulty,
    inode: usize,
}

impl FaultyFile {
    pub(super) const fn new(storage: Faulty, inode: usize) -> Self {
        Self { storage, inode }
    }
}

impl Drop for FaultyFile {
    fn drop(&mut self) {
        self.storage.world().open_files -= 1;
    }
}

impl File for FaultyFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.storage.world().append(self.inode, bytes)
    }

    fn sync_data(&mut self) -> io::Result<()> {
        let mut world = self.storage.world();
        let answer = world.call(Call::SyncData);
        if answer.is_ok() || !world.has_crashed {
            let file = &mut world.files[self.inode];
            let all = file.bytes.len();
            match &answer {
                Ok(()) => file.certain = all,
                Err(_) => file.doubtful.push(file.synced..all),
            }
            // After a failed one the pages count as clean: nothing writes them any more.
            file.synced = all;
        }
        answer
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        let mut world = self.storage.world();
        world.call(Call::ReadAt)?;
        let from = usize::try_from(offset).unwrap_or(usize::MAX);
        let there = world.files[self.inode].bytes.get(from..).unwrap_or_default();
        let count = there.len().min(into.len());
        into[..count].copy_from_slice(&there[..count]);
        Ok(count)
    }

    fn bytes(&self) -> io::Result<u64> {
        let mut world = self.storage.world();
        world.call(Call::Bytes)?;
        Ok(to_u64(world.files[self.inode].bytes.len()))
    }
}
