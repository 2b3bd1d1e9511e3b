//! What the tests of several stages build from: lanes with room, and batches.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Batch, Batcher, Budget, ChunkPool, Lane, Limits, Piece};

/// A lane with `bytes` of memory that no other shares.
pub(crate) fn lane(name: &str, bytes: usize) -> Arc<Lane> {
    Lane::new(name.parse().unwrap(), Budget::new(bytes).share(0))
}

/// The service's own limits, and a second of linger without jitter.
pub(crate) fn limits() -> Limits {
    Limits {
        batch_records_max: crate::record::BATCH_RECORDS_MAX,
        batch_bytes_max: crate::record::BATCH_BYTES_MAX,
        linger: Duration::from_secs(1),
        linger_jitter_percent: 0,
    }
}

/// A closed batch of these records.
pub(crate) fn batch_of<T: AsRef<[u8]>>(lane: &Arc<Lane>, records: &[T]) -> Batch {
    let mut batcher = Batcher::new(Arc::clone(lane), limits(), ChunkPool::new());
    let mut entry = batcher.entry(Instant::now());
    for record in records {
        entry.push(&Piece::Copy(record.as_ref(), None), None).unwrap();
    }
    entry.commit();
    batcher.close();
    batcher.take_closed().unwrap()
}
