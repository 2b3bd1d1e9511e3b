//! The disk that is measured on: its room, its folder, and what of it is in memory.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use rustix::fs::{Advice, fadvise, statvfs};
use tempfile::TempDir;

use crate::common::fault::{During as _, Fault};

/// What is left free whatever happens: the spool keeps off it too.
const FREE_BYTES_MIN: u64 = 512 * 1024 * 1024;

/// A folder on the disk that goes with the run, and what it is on.
#[derive(Debug)]
pub(crate) struct Disk {
    folder: TempDir,
    /// The file system and its device, for readers of figures.
    pub(crate) name: String,
}

impl Disk {
    /// A folder in `dir`, if there is room for so many bytes.
    pub(crate) fn with_room(dir: &Path, bytes: u64) -> Result<Self, Fault> {
        fs::create_dir_all(dir).during("the folder for the spool")?;
        let stat = statvfs(dir).during("the room on the disk")?;
        let free = stat.f_bavail.saturating_mul(stat.f_frsize);
        if free < bytes + FREE_BYTES_MIN {
            let (needed, free) = ((bytes + FREE_BYTES_MIN) >> 20, free >> 20);
            return Err(Fault::new(format!(
                "{} has {free} MiB free and {needed} are needed; choose another with --dir",
                dir.display()
            )));
        }
        let folder = TempDir::with_prefix_in("durable-", dir).during("the folder for the spool")?;
        Ok(Self { name: name(folder.path()), folder })
    }

    /// A folder in it, made if need be.
    pub(crate) fn folder(&self, name: &str) -> Result<PathBuf, Fault> {
        let path = self.folder.path().join(name);
        fs::create_dir_all(&path).during("a folder")?;
        Ok(path)
    }
}

/// The file system that `path` is on: the one that is mounted nearest above it.
fn name(path: &Path) -> String {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let nearest = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ');
        let (device, point, kind) = (fields.next()?, fields.next()?, fields.next()?);
        path.starts_with(point).then(|| (point.len(), format!("{kind} on {device}")))
    });
    nearest.max().map_or_else(|| "unknown".to_owned(), |(_, name)| name)
}

/// The files below `folder`.
fn files(folder: &Path) -> Result<Vec<PathBuf>, Fault> {
    let doing = "looking at the spool";
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).during(doing)? {
            let entry = entry.during(doing)?;
            let is_folder = entry.file_type().during(doing)?.is_dir();
            if is_folder { &mut folders } else { &mut files }.push(entry.path());
        }
    }
    Ok(files)
}

/// The bytes of all segments below `folder`.
pub(crate) fn segment_bytes(folder: &Path) -> Result<u64, Fault> {
    let files = files(folder)?;
    let segments = files.iter().filter(|path| path.extension().is_some_and(|end| end == "seg"));
    Ok(segments.filter_map(|path| Some(fs::metadata(path).ok()?.len())).sum())
}

/// Lets go of what the kernel has of these files in memory, so that it is the disk that is read.
pub(crate) fn forget(folder: &Path) -> Result<(), Fault> {
    for path in files(folder)? {
        let file = File::open(path).during("a segment")?;
        file.sync_all().during("a segment")?;
        fadvise(&file, 0, None, Advice::DontNeed).during("a segment")?;
    }
    Ok(())
}
