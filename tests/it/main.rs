//! Scenarios against the real binary, over loopback, with the emulator's real wire protocol upstream.
//!
//! Each module is a concern. The emulator runs in the test's process and is reached over TCP like any
//! service; Standpipe is always the binary itself. Every test has its own of both, on free ports.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    unreachable_pub,
    reason = "a test that panics says where and why, which is what it is for"
)]

mod backlog;
mod bad_disk;
mod beside;
mod dead_letters;
mod encryption;
mod fairness;
mod faults;
mod format;
mod full_disk;
mod http;
mod joined;
mod keys;
mod kills;
mod ledger;
mod levels;
mod lifecycle;
mod limits;
mod load;
mod managing;
mod native;
mod overflow;
mod pipe;
mod place;
mod secrecy;
mod spool;
mod stops;
mod tools;
mod upstream;
mod wakeups;
mod wire;
