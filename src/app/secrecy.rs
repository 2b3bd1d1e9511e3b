//! What the process keeps to itself: its memory has data keys and records in the clear.

use rustix::process::{DumpableBehavior, set_dumpable_behavior};

/// Keeps the memory out of core dumps, and away from other processes of the same user.
pub fn forbid_dumps() {
    if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        tracing::warn!(%error, "the memory of the process can be dumped: it has data keys in the clear");
    }
}
