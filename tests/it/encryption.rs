//! The encryption of streams under load: a pipe whose stream has to be encrypted, a service whose encryption is
//! switched, and applications that post all the while.
//!
//! The service's journal says of each record whether it was encrypted, whatever the answer said. Every scenario
//! ends with all that was answered delivered, and with not one record that left when it might not.

// mod asking;
// mod changing;
mod enabling;
// mod lives;
mod outside;
mod posting;
mod scene;
