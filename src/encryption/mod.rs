//! The control plane of encryption: what the data plane is told, and never asks for.
//!
//! | part | what it minds |
//! |---|---|
//! | [`keys`] | the data keys that the spool seals under, from KMS or a key file |
//!
//! The data plane never imports this room: the spool knows a [`KeyRing`](crate::spool::KeyRing).

pub mod keys;
