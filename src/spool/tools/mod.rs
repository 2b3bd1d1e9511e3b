//! Looking into a spool's directory from outside: what there is, whether it opens, and getting it out.
//!
//! ```text
//!  list ─► files ─► verify: every frame is opened            Report: what opens, what is missing
//!                   export: records, one after the other ─►  whoever asked, and a Report
//!                   letters: dead letters, the same way
//! ```
//!
//! It reads and never writes, for a process that lives as for one that is gone. A living one goes on
//! meanwhile: files grow, are delivered and taken away, or go to quarantine. What is not there any more when
//! it is looked into is [`NotOpened::Gone`], which is no fault. Listing needs no key; all else asks a
//! [`KeyRing`](super::KeyRing), and waits for it a bounded time.
//!
//! It prints nothing and knows no terminal.

mod files;
mod keys;
mod list;
mod read;
#[cfg(test)]
mod tests;
mod walk;

pub use files::{Claim, KeyFacts, Place, SegmentFile, State};
pub use keys::Keys;
pub use list::{Inspector, ListError, Listing};
pub use read::{LetterOut, RecordOut};
pub use walk::{Missing, NotOpened, Report};
