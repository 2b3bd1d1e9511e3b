//! Records in, closed batches out.
//!
//! ```text
//!  ingest worker                                             forward thread
//!  Batcher ── Entry: all of a request's records or none
//!     │ open Batch: an Arena (chunks, places, tickets)
//!     └─ full, or lingered ─► Outlet ══ crossbeam + Bell ══► Intake ─► Batch
//!     └─ durable group ─► Inlet ════ crossbeam ════► Outflow ─► the spool, and then as a batch to forward
//!  Book ◄── Mailbox ══════════════════ crossbeam + Bell ══════════════ Post
//!     └─ Receipt: a request that waits
//!  Budget/Share: one bound on capacity    Lane: what both ends know of a stream
//! ```
//!
//! On this way there is no lock, and a thread is woken for a batch and never for a record. The stage
//! knows no network, no files and no service. Its parts are pure, but for the bell.

mod arena;
mod batch;
mod batcher;
mod bell;
mod budget;
mod durable;
mod handoff;
mod lane;
pub mod metrics;
mod partition;
mod piece;
mod pool;
mod receipt;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

pub use batch::{Batch, Origin};
pub use batcher::{Batcher, Entry, Limits};
pub use bell::Bell;
pub use budget::{Budget, NoRoom, Reservation, Share};
pub use durable::{Inlet, NotDurable, Outflow, durable_way};
pub use handoff::{Intake, Outlet, handoff};
pub use lane::Lane;
pub use partition::PartitionKeys;
pub use piece::{Piece, SharedBody};
pub use pool::ChunkPool;
pub use receipt::{Book, Delivered, Mailbox, Outcome, Post, Receipt, Ticket, Word, post};

/// How many closed batches may be on their way to the forward thread.
///
/// Memory bounds what they hold; this bounds their number while that thread is busy.
pub const HANDOFF_BATCHES_MAX: usize = 1_024;
