//! The lane: what the two ends of one stream's pipe know of each other.
//!
//! Ingest workers put records in at one end, the forwarder takes them out at the other; this is the
//! little they share, all of it atomics. It decides nothing and keeps no records.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use super::budget::Share;
use crate::record::StreamName;

/// The shared state of one stream between the stages.
pub struct Lane {
    name: StreamName,
    share: Arc<Share>,
    records_in_memory: AtomicU64,
    batches_outstanding: AtomicU32,
    is_awaited: AtomicBool,
    records_accepted: AtomicU64,
    bytes_accepted: AtomicU64,
    records_lost: AtomicU64,
    bytes_lost: AtomicU64,
}

impl Lane {
    /// The lane of the stream `name`, whose memory comes out of `share`.
    #[must_use]
    pub fn new(name: StreamName, share: Arc<Share>) -> Arc<Self> {
        Arc::new(Self {
            name,
            share,
            records_in_memory: AtomicU64::new(0),
            batches_outstanding: AtomicU32::new(0),
            is_awaited: AtomicBool::new(false),
            records_accepted: AtomicU64::new(0),
            bytes_accepted: AtomicU64::new(0),
            records_lost: AtomicU64::new(0),
            bytes_lost: AtomicU64::new(0),
        })
    }

    /// The stream's name.
    #[must_use]
    pub const fn name(&self) -> &StreamName {
        &self.name
    }

    /// The stream's part of the memory budget.
    #[must_use]
    pub const fn share(&self) -> &Arc<Share> {
        &self.share
    }

    /// How many records were accepted, and their raw bytes with delimiters.
    #[must_use]
    pub fn accepted(&self) -> (u64, u64) {
        (self.records_accepted.load(Ordering::Relaxed), self.bytes_accepted.load(Ordering::Relaxed))
    }

    /// How many accepted records are in memory alone, in open batches and closed ones.
    #[must_use]
    pub fn records_in_memory(&self) -> u64 {
        self.records_in_memory.load(Ordering::Relaxed)
    }

    /// How many accepted records were given up without being settled, and their raw bytes.
    ///
    /// It happens when the process stops. The service may have those that were in a request.
    #[must_use]
    pub fn lost(&self) -> (u64, u64) {
        (self.records_lost.load(Ordering::Relaxed), self.bytes_lost.load(Ordering::Relaxed))
    }

    /// How many closed batches have records to deliver, those that are set aside left out.
    #[must_use]
    pub fn batches_outstanding(&self) -> u32 {
        self.batches_outstanding.load(Ordering::Acquire)
    }

    /// Says that somebody keeps a batch open only until nothing is outstanding.
    pub fn await_settled(&self) {
        self.is_awaited.store(true, Ordering::SeqCst);
    }

    /// Whether nothing is outstanding and somebody waited for that. Forgets that they did.
    #[must_use]
    pub fn take_awaited(&self) -> bool {
        self.batches_outstanding.load(Ordering::SeqCst) == 0
            && self.is_awaited.swap(false, Ordering::SeqCst)
    }

    /// Counts records as accepted. Where they are is counted apart.
    pub fn accept(&self, records: usize, bytes: usize) {
        self.records_accepted.fetch_add(records as u64, Ordering::Relaxed);
        self.bytes_accepted.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn add_records(&self, records: usize) {
        self.records_in_memory.fetch_add(records as u64, Ordering::Relaxed);
    }

    pub(super) fn settle_records(&self, records: usize) {
        self.records_in_memory.fetch_sub(records as u64, Ordering::Relaxed);
    }

    pub(super) fn lose_records(&self, records: usize, bytes: usize) {
        self.settle_records(records);
        self.records_lost.fetch_add(records as u64, Ordering::Relaxed);
        self.bytes_lost.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn add_batch(&self) {
        self.batches_outstanding.fetch_add(1, Ordering::SeqCst);
    }

    pub(super) fn drop_batch(&self) {
        self.batches_outstanding.fetch_sub(1, Ordering::SeqCst);
    }
}

impl fmt::Debug for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lane").field("name", &self.name).finish_non_exhaustive()
    }
}
