//! The pool: full-size chunks that were used and can be used again, on any thread.
//!
//! What it keeps stands beside the budget, and is bounded. It never waits.

use crossbeam_channel::{Receiver, Sender};

/// The largest chunk that is shared by several records, in bytes. 500 records of 512 bytes fit one.
pub(super) const CHUNK_BYTES_MAX: usize = 256 * 1024;

/// How many full-size chunks wait to be used again: 2 MiB that the process keeps beside its budget.
const POOL_CHUNKS_MAX: usize = 8;

/// Full-size chunks that were used and can be used again, on any thread.
#[derive(Debug, Clone)]
pub struct ChunkPool {
    spare: Sender<Vec<u8>>,
    used: Receiver<Vec<u8>>,
}

impl ChunkPool {
    /// An empty pool that keeps at most [`POOL_CHUNKS_MAX`] chunks.
    #[must_use]
    pub fn new() -> Self {
        let (spare, used) = crossbeam_channel::bounded(POOL_CHUNKS_MAX);
        Self { spare, used }
    }

    /// A chunk of `capacity`, used before if it is a full-size one and there is one.
    pub(super) fn take(&self, capacity: usize) -> Vec<u8> {
        if capacity == CHUNK_BYTES_MAX
            && let Ok(chunk) = self.used.try_recv()
        {
            return chunk;
        }
        Vec::with_capacity(capacity)
    }

    /// Takes back a chunk that nobody needs any more.
    pub(super) fn give(&self, mut chunk: Vec<u8>) {
        if chunk.capacity() == CHUNK_BYTES_MAX {
            chunk.clear();
            // A full pool gives the chunk back, and dropping it is what should happen then.
            drop(self.spare.try_send(chunk));
        }
    }
}

impl Default for ChunkPool {
    fn default() -> Self {
        Self::new()
    }
}
