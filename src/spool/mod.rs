//! The sealed spool: records on disk, encrypted, kept until the service has them.

#![expect(dead_code, reason = "a skeleton: the writer and the reader use what is not used here")]

mod config;
mod handle;
mod skeleton;
mod words;

pub use config::{Config, Volume};
pub use handle::{Backlog, StreamSpool};
pub use skeleton::{KeyRing, Left, Spool, Spools, StartError, StreamStatus, WaitingSegment};
pub use words::{Letter, Spill, Word, Words};
