//! What the client takes from the environment, and what it does not.
