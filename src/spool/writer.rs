//! The writer of one stream: takes what is to be kept, seals it, appends it, syncs once, and answers.
//!
//! ```text
//!  groups ─► ┐                     ┌─► batches on to the forwarder, parts secured
//!  copies ─► ├─ one group: seal ─► append ─► one fdatasync ─► copies spooled, records set aside
//!  letters ► ┘                     └─► the reader: which frames there are, all in hand
//! ```
//!
//! What came while a sync was under way is the next group. After an error nothing is tried again: the group
//! fails, its segment is over, and before another one is begun some time passes. It reads no segment.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;

use super::handle::{ReaderJob, Wake, WriterJob};
use super::header::Kind;
use super::log::{Log, LogError};
use super::metrics::WriterMetrics;
use super::pool::{Actor, Turn};
use super::segment::{Laid, records_payload};
use super::shared::Shared;
use super::trouble::Trouble;
use super::words::{Letter, Spill, Word};
use super::{letter, payload};
use crate::pipeline::{Batch, NotDurable, Origin, Outflow, Ticket, Word as Settled};
use crate::record::StreamName;

/// See the module.
pub(super) struct Writer {
    pub(super) stream: StreamName,
    pub(super) shared: Arc<Shared>,
    pub(super) outflow: Outflow,
    pub(super) jobs: Receiver<WriterJob>,
    pub(super) to_reader: crossbeam_channel::Sender<ReaderJob>,
    pub(super) wake_reader: Wake,
    pub(super) records: Log,
    pub(super) letters: Log,
    pub(super) trouble: Trouble,
    pub(super) metrics: WriterMetrics,
    /// Until when the open segment may go without anything to write.
    pub(super) ends_at: Option<Instant>,
}

/// One thing that is to be kept, sealed and not yet synced.
enum Kept {
    Group(Box<Batch>, Laid),
    Copy(Spill, Laid),
    Letter(Letter, Laid),
}

/// What was taken out of the queues.
enum Item {
    Group(Box<Batch>),
    Job(WriterJob),
}

impl Item {
    fn bytes(&self) -> usize {
        match self {
            Self::Group(batch) => batch.bytes(),
            Self::Job(WriterJob::Spill(spill)) => spill.bytes.len(),
            Self::Job(WriterJob::SetAside(letter)) => letter.record.len(),
            Self::Job(WriterJob::End) => 0,
        }
    }
}

impl Actor for Writer {
    fn turn(&mut self, now: Instant) -> Turn {
        if let Err(obstacle) = self.look(now) {
            self.refuse_all(obstacle);
            return self.rest(now);
        }
        let items = self.take();
        if items.is_empty() {
            self.tidy(now);
            return self.rest(now);
        }
        let mut ends = false;
        for item in items {
            ends |= matches!(item, Item::Job(WriterJob::End));
            self.keep(now, item);
        }
        self.commit(now, Kind::Records);
        self.commit(now, Kind::DeadLetters);
        if ends {
            self.end();
        }
        self.rest(now)
    }
}
