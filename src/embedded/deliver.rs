//! The writer: a thread of its own that appends accepted records to objects, so that a slow disk does
//! not stand in the way of an answer to somebody else.
//!
//! A put is answered after its append, so that there is nothing to lose between the two. Objects
//! are closed by size and by age, and all of them at the stop.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TrySendError};
use tokio::sync::oneshot;

use super::files::{ObjectDir, OpenObject};
use super::object::object_name;
use super::wire::uuid_text;
use crate::record::StreamName;

/// Why records were not delivered.
#[derive(Debug)]
pub(super) enum DeliverError {
    /// More puts wait for the disk than may.
    Full,
    /// The file system refused.
    Io(io::Error),
    /// The writer is gone.
    Gone,
}

impl fmt::Display for DeliverError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full => write!(f, "{JOBS_MAX} requests wait for the disk already"),
            Self::Io(source) => write!(f, "the file system refused: {source}"),
            Self::Gone => f.write_str("the writer is gone"),
        }
    }
}

/// The sending end of the writer.
#[derive(Debug, Clone)]
pub(super) struct Writer {
    jobs: Sender<Job>,
}

/// The thread of the writer, to be stopped once nothing is handed over any more.
#[derive(Debug)]
pub(super) struct WriterThread {
    jobs: Sender<Job>,
    thread: JoinHandle<Vec<String>>,
}

enum Job {
    Append {
        stream: StreamName,
        data: Vec<u8>,
        done: oneshot::Sender<io::Result<()>>,
    },
    /// Closes all objects and answers with the names of those that could not be closed.
    Flush {
        done: oneshot::Sender<Vec<String>>,
    },
    Stop,
}

/// Starts the writer.
pub(super) fn spawn_writer(
    objects: ObjectDir,
    roll_bytes: u64,
    roll_after: Duration,
) -> io::Result<(Writer, WriterThread)> {
    let (jobs, queue) = crossbeam_channel::bounded(JOBS_MAX);
    let state = WriterState {
        objects,
        roll_bytes,
        roll_after,
        open: HashMap::new(),
        life: fastrand::u128(..) >> 32,
        begun: 0,
    };
    let thread =
        thread::Builder::new().name(String::from("emu-writer")).spawn(move || state.run(&queue))?;
    Ok((Writer { jobs: jobs.clone() }, WriterThread { jobs, thread }))
}

impl Writer {
    /// Hands over what belongs to one request and waits until it is written as a whole.
    ///
    /// It is handed over before the first wait: a caller that goes away does not take it back.
    pub(super) fn append(
        &self,
        stream: StreamName,
        data: Vec<u8>,
    ) -> impl Future<Output = Result<(), DeliverError>> + use<> {
        let (done, written) = oneshot::channel();
        let sent = self.jobs.try_send(Job::Append { stream, data, done });
        async move {
            match sent {
                Ok(()) => match written.await {
                    Ok(result) => result.map_err(DeliverError::Io),
                    Err(_) => Err(DeliverError::Gone),
                },
                Err(TrySendError::Full(_)) => Err(DeliverError::Full),
                Err(TrySendError::Disconnected(_)) => Err(DeliverError::Gone),
            }
        }
    }

    /// Closes all objects now. Answers with the names of those that could not be closed.
    pub(super) fn flush(&self) -> impl Future<Output = Result<Vec<String>, DeliverError>> + use<> {
        let (done, flushed) = oneshot::channel();
        let sent = self.jobs.try_send(Job::Flush { done });
        async move {
            match sent {
                Ok(()) => flushed.await.map_err(|_| DeliverError::Gone),
                Err(TrySendError::Full(_)) => Err(DeliverError::Full),
                Err(TrySendError::Disconnected(_)) => Err(DeliverError::Gone),
            }
        }
    }
}

impl WriterThread {
    /// Writes what was handed over, closes all objects and ends the thread. Blocks.
    ///
    /// Returns the names of the objects that could not be closed; the next start will close them.
    pub(super) fn stop(self) -> Result<Vec<String>, DeliverError> {
        // A writer that is gone cannot be told; the join tells how it ended.
        drop(self.jobs.send(Job::Stop));
        self.thread.join().map_err(|_| DeliverError::Gone)
    }
}

struct WriterState {
    objects: ObjectDir,
    roll_bytes: u64,
    roll_after: Duration,
    open: HashMap<StreamName, Open>,
    /// Tells the objects of this life from those of another.
    life: u128,
    begun: u32,
}

struct Open {
    object: OpenObject,
    close_at: Instant,
}

impl Open {
    /// Appends, and lets an object be closed that has become large enough by it.
    fn append(&mut self, data: &[u8], roll_bytes: u64) -> io::Result<()> {
        let before = self.object.bytes();
        self.object.append(data)?;
        if before < roll_bytes && self.object.bytes() >= roll_bytes {
            self.close_at = Instant::now();
        }
        Ok(())
    }
}

impl WriterState {
    fn run(mut self, queue: &Receiver<Job>) -> Vec<String> {
        loop {
            let job = match self.open.values().map(|open| open.close_at).min() {
                Some(close_at) => queue.recv_deadline(close_at),
                None => queue.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            match job {
                Ok(Job::Append { stream, data, done }) => {
                    // Nobody may be waiting any more; it is written all the same.
                    drop(done.send(self.append(stream, &data)));
                }
                Ok(Job::Flush { done }) => drop(done.send(self.close_where(|_| true))),
                Ok(Job::Stop) | Err(RecvTimeoutError::Disconnected) => {
                    return self.close_where(|_| true);
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
            let now = Instant::now();
            self.close_where(|open| open.close_at <= now);
        }
    }

    fn append(&mut self, stream: StreamName, data: &[u8]) -> io::Result<()> {
        let name = match self.open.get_mut(&stream) {
            Some(open) => return open.append(data, self.roll_bytes),
            None => self.next_name(&stream),
        };
        let object = self.objects.create(name)?;
        let close_at = Instant::now() + self.roll_after;
        let open = self.open.entry(stream).insert_entry(Open { object, close_at });
        open.into_mut().append(data, self.roll_bytes)
    }

    /// The id of an object is a UUID that begins with a count, so that the names sort in order.
    fn next_name(&mut self, stream: &StreamName) -> String {
        self.begun = self.begun.wrapping_add(1);
        let id = uuid_text((u128::from(self.begun) << 96) | self.life);
        object_name(stream.as_str(), OBJECT_VERSION, super::state::unix_ms() / 1000, &id)
    }

    /// Closes the objects that `due` is true of. One that cannot be closed is kept and tried again
    /// a little later; its data is safe where it is.
    fn close_where(&mut self, due: impl Fn(&Open) -> bool) -> Vec<String> {
        let mut failed = Vec::new();
        let objects = &self.objects;
        self.open.retain(|_, open| {
            if !due(open) {
                return true;
            }
            match open.object.close(objects) {
                Ok(()) => false,
                Err(error) => {
                    let object = open.object.name();
                    tracing::warn!(object, %error, "an object cannot be closed, it stays open");
                    failed.push(object.to_owned());
                    open.close_at = Instant::now() + CLOSE_RETRY_AFTER;
                    true
                }
            }
        });
        failed
    }
}

/// Puts that may wait for the disk. Each holds one request, and connections are bounded.
const JOBS_MAX: usize = 8_192;

/// How long an object that cannot be closed is left before it is tried again.
const CLOSE_RETRY_AFTER: Duration = Duration::from_secs(1);

/// The version in the names of objects. The service counts updates of the destination, which the
/// emulator does not have.
const OBJECT_VERSION: u64 = 1;
