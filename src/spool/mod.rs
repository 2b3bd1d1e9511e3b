//! The sealed spool: records on disk, encrypted, kept until the service has them.

mod keyring;

pub use keyring::{DataKey, KeyRing, NoKey, Provider, UnwrapError, Unwrapped, WrappedKey};
