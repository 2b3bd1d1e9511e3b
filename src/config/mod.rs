//! The configuration: TOML and environment in, the stages' `Config`s or all faults at once out.
//!
//! ```text
//!  sources ─► file, environment ─► said ─► load ─► draft ─► app::Config
//!             what, and where              │ keys: the table of all there is
//!                                          └ relations: what has to hold between values
//! ```
//!
//! `keys` is the one source: the parser, the variables' names, `config show` and the reference come
//! from it, and the defaults are those of the stages. What is more special wins: built-in, then
//! `[defaults]`, then `[[streams]]`; within each of these the environment wins over the file.
//! No stage imports this; it starts nothing and opens nothing but the file itself.

mod declared;
mod draft;
mod environment;
mod fault;
mod file;
mod keys;
mod kind;
mod load;
mod nearest;
mod reference;
mod relations;
mod said;
mod show;
mod sources;
#[cfg(test)]
mod tests;
mod value;

pub use fault::{Fault, Faults, Place};
pub use load::{Loaded, Preset, load};
pub use reference::reference;
pub use sources::Sources;
