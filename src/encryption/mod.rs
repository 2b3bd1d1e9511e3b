//! The control plane of encryption: what the data plane is told, and never asks for.
//!
//! | part | what it minds | thread |
//! |---|---|---|
//! | [`keys`] | the data keys that the spool seals under, from KMS or a key file | `encryption` |
//! | [`sse`] | the encryption of the streams at the service, and where their records go | `control` |
//!
//! The data plane never imports this room: the spool knows a [`KeyRing`](crate::spool::KeyRing), the
//! forwarder a [`Gate`](crate::gate::Gate).

pub mod keys;
mod running;
pub mod sse;
#[cfg(test)]
mod testing;
