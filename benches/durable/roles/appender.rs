//! The thread of the plain writer: appends what came, syncs once for all of it, and says so.
//!
//! It does what the spool can not avoid on this disk, with files of the same size, and nothing else.

use std::fs::{File, OpenOptions, remove_file};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use bytes::Bytes;
use crossbeam_channel::{Receiver, Sender};
use tokio::sync::{mpsc, oneshot};

use crate::common::fault::{During as _, Fault};

/// The most bytes of a file and of a group, as the spool has them by default.
const FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;
const GROUP_BYTES_MAX: usize = 8 * 1024 * 1024;

/// The most bodies that wait. There are never more than connections.
const WAITING_MAX: usize = 4_096;

/// One body, and who waits for it.
#[derive(Debug)]
pub(super) struct Append {
    pub(super) body: Bytes,
    pub(super) done: oneshot::Sender<()>,
}

/// Starts the thread. It counts what is durable, and hands on who has waited for it.
pub(super) fn start(
    folder: &Path,
    durable: Arc<AtomicU64>,
    groups: mpsc::UnboundedSender<Vec<oneshot::Sender<()>>>,
) -> Result<Sender<Append>, Fault> {
    let (appends_in, appends) = crossbeam_channel::bounded(WAITING_MAX);
    let mut appender = Appender {
        folder: folder.to_owned(),
        appends,
        durable,
        groups,
        buffer: Vec::new(),
        files: 0,
    };
    let live = move || {
        if let Err(error) = appender.live() {
            // Who waits hears of it, and the run ends.
            eprintln!("plain writer: {error}");
        }
    };
    let _detached =
        thread::Builder::new().name("appender".to_owned()).spawn(live).during("a thread")?;
    Ok(appends_in)
}

struct Appender {
    folder: PathBuf,
    appends: Receiver<Append>,
    durable: Arc<AtomicU64>,
    groups: mpsc::UnboundedSender<Vec<oneshot::Sender<()>>>,
    buffer: Vec<u8>,
    files: u64,
}

impl Appender {
    fn live(&mut self) -> io::Result<()> {
        let mut open: Option<(PathBuf, File, u64)> = None;
        while let Ok(first) = self.appends.recv() {
            let waiting = self.take(first);
            let (path, mut file, bytes) = match open.take() {
                Some(open) => open,
                None => self.begin()?,
            };
            file.write_all(&self.buffer)?;
            file.sync_data()?;
            let group_bytes = u64::try_from(self.buffer.len()).unwrap_or(u64::MAX);
            self.durable.fetch_add(group_bytes, Ordering::Relaxed);
            // The runtime is gone only when the process is.
            let _is_heard = self.groups.send(waiting).is_ok();
            let bytes = bytes + group_bytes;
            if bytes < FILE_BYTES_MAX {
                open = Some((path, file, bytes));
            } else {
                drop(file);
                remove_file(path)?;
            }
        }
        Ok(())
    }

    /// Takes all that has come into the buffer.
    fn take(&mut self, first: Append) -> Vec<oneshot::Sender<()>> {
        self.buffer.clear();
        let mut waiting = Vec::new();
        let mut next = Some(first);
        while let Some(Append { body, done }) = next {
            self.buffer.extend_from_slice(&body);
            waiting.push(done);
            let is_full = self.buffer.len() >= GROUP_BYTES_MAX;
            next = if is_full { None } else { self.appends.try_recv().ok() };
        }
        waiting
    }

    fn begin(&mut self) -> io::Result<(PathBuf, File, u64)> {
        let path = self.folder.join(format!("{}.plain", self.files));
        self.files += 1;
        let file = OpenOptions::new().append(true).create_new(true).open(&path)?;
        file.sync_data()?;
        File::open(&self.folder)?.sync_data()?;
        Ok((path, file, 0))
    }
}
