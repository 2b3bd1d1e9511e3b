//! What the tests of other stages build from: the ends that a stream's spool would have.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use crossbeam_channel::Receiver;

use super::counts::Counts;
use super::handle::{Inner, ReaderJob, WriterJob};
use super::words::Speaker;
use super::{Letter, Spill, StreamSpool, Word, Words};
use crate::pipeline::{Budget, Origin, Reservation, Share, durable_way};

/// What a stream's spool hears, and what it says.
pub(crate) struct Ends {
    writer: Receiver<WriterJob>,
    reader: Receiver<ReaderJob>,
    is_wanted: Arc<AtomicBool>,
    counts: Arc<Counts>,
    speaker: Speaker,
    read_ahead: Arc<Share>,
}

/// What the writer was told.
#[derive(Debug)]
pub(crate) enum Written {
    Spill(Spill),
    SetAside(Letter),
}

/// What the reader was told.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Read {
    Note(Origin, Vec<u16>),
    LetGo(Origin),
}

/// A stream's spool whose other ends a test holds, and the way on which its words come.
pub(crate) fn ends(spilling_bytes_max: usize) -> (StreamSpool, Ends, Words) {
    let (to_writer, writer) = crossbeam_channel::unbounded();
    let (to_reader, reader) = crossbeam_channel::unbounded();
    let (speaker, words) = super::words::words();
    let (inlet, _) = durable_way(Arc::new(|| ()));
    let is_wanted = Arc::new(AtomicBool::new(false));
    let counts = Arc::new(Counts::default());
    let inner = Inner {
        inlet,
        counts: Arc::clone(&counts),
        is_wanted: Arc::clone(&is_wanted),
        spilling_bytes: Arc::new(AtomicUsize::new(0)),
        spilling_bytes_max,
        to_writer,
        wake_writer: Arc::new(|| ()),
        to_reader,
        wake_reader: Arc::new(|| ()),
    };
    let spool = StreamSpool { inner: Arc::new(inner) };
    let read_ahead = Budget::new(1 << 22).share(0);
    let ends = Ends { writer, reader, is_wanted, counts, speaker, read_ahead };
    (spool, ends, words)
}

impl Ends {
    /// What the writer is told next, which comes soon. The room of a copy is given back.
    pub(crate) fn written(&self, within: Duration) -> Option<Written> {
        Some(match self.writer.recv_timeout(within).ok()? {
            WriterJob::Spill(spill, _) => Written::Spill(spill),
            WriterJob::SetAside(letter, _) => Written::SetAside(letter),
            // The forwarder asks for neither.
            WriterJob::Replay(_) | WriterJob::End => return None,
        })
    }

    /// What the reader is told next, which comes soon.
    pub(crate) fn read(&self, within: Duration) -> Option<Read> {
        Some(match self.reader.recv_timeout(within).ok()? {
            ReaderJob::Note { origin, numbers } => Read::Note(origin, numbers),
            ReaderJob::LetGo(origin) => Read::LetGo(origin),
            other => panic!("the forwarder does not say {other:?}"),
        })
    }

    /// Memory for what is read back, if there is room for so much.
    pub(crate) fn room(&self, bytes: usize) -> Option<Reservation> {
        self.read_ahead.reserve(bytes).ok()
    }

    pub(crate) fn is_wanted(&self) -> bool {
        self.is_wanted.load(Ordering::Acquire)
    }

    pub(crate) fn set_backlog(&self, records: u64) {
        self.counts.waiting.set(records);
        self.counts.records.set(records);
    }

    pub(crate) fn say(&self, word: Word) {
        self.speaker.say([word]);
    }
}
