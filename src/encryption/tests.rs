//! The ring against real services on loopback.
