//! The sealed spool: records on disk, encrypted, until the service has them.
//!
//! ```text
//!  <dir>/streams/<stream>/<id>.seg    header │ frame │ frame │ … │ end frame
//!                                      keyring   frame = head (clear, authenticated) + payload (sealed) + tag
//!                                      └ seal      └ payload = the records of one batch
//!  <dir>/streams/<stream>/<id>.note   what is delivered of it: note (the file) and noted (what it says)
//! ```
//!
//! A segment is written by one life of the process only and never appended to by a later one, so that no
//! nonce is used twice. What a disk may do to it is told apart by reading: a torn tail, which nobody was
//! promised, from damage below the watermark, which is quarantined and counted to the record.
//!
//! | file | what it is |
//! |---|---|
//! | `keyring` | what the spool asks of whoever keeps the data keys |
//! | `seal` | cryptography: derivation, sealing, opening, randomness |
//! | `header` | the header of a segment: stream, key, commitment |
//! | `frame` | a head, a sealed payload, a tag |
//! | `payload` | the plaintext of a frame: records |
//! | `note`, `noted` | the delivered note of a segment, and what it says |
//! | `scan`, `look`, `window` | a segment read in pieces: frames in order, damage told apart |
//! | `names` | names of files and folders |
//! | `tools` | looking into a spool from outside: listing, verifying, getting records out |
//! | `cursor` | little-endian fields |
//! | `fs` | the file system, and what the spool needs of one |
//!
//! It knows no network, no async and no service, and no plaintext key touches a disk or a log.

mod answer;
mod config;
mod counts;
mod cursor;
mod dirs;
#[cfg(test)]
mod faulty;
mod frame;
mod fs;
#[cfg(test)]
mod golden_tests;
mod gone;
mod handle;
#[cfg(test)]
pub(crate) mod handle_testing;
mod header;
mod keyring;
mod letter;
mod log;
mod look;
pub mod metrics;
#[cfg(test)]
mod model_tests;
mod names;
mod note;
mod noted;
mod old;
mod onward;
mod payload;
mod pool;
mod reader;
mod registry;
mod replay;
#[cfg(test)]
mod replay_tests;
mod retry;
mod scan;
#[cfg(test)]
mod scan_tests;
mod seal;
mod segment;
mod shared;
mod shelf;
mod stage;
mod status;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
pub mod tools;
mod tracked;
mod tracked_note;
mod trouble;
mod window;
mod words;
mod writer;

pub use config::{Config, Volume};
pub use dirs::StartError;
pub use handle::{Backlog, SpillRoom, StreamSpool};
pub use keyring::{DataKey, KeyRing, NoKey, Provider, UnwrapError, Unwrapped, WrappedKey};
pub use letter::{BadLetterId, LetterId};
pub use metrics::METRICS;
pub use registry::Spools;
pub use replay::{ReplayAsk, Replayed};
pub use stage::{Left, Spool};
pub use status::StreamStatus;
pub use words::{Letter, Spill, Word, Words};
