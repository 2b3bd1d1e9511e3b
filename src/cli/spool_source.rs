//! Where the spool is and who has its keys: from the configuration, as `serve` has it.
//!
//! HOOK: the one place that the tools are connected at when the configuration knows the spool and the keys.

use std::path::PathBuf;
use std::sync::Arc;

use crate::config::{Loaded, Preset};
use crate::spool::KeyRing;
use crate::spool::tools::{Inspector, ListError};

use super::args;
use super::exit::{Exit, Failure};

/// The configuration. What is looked into may belong to a run with `--embedded`, where less has to be said.
pub(super) fn load(file: &args::ConfigFile) -> Result<Loaded, Failure> {
    let path = file.path.as_deref();
    super::load(path, Preset::Service)
        .or_else(|failure| super::load(path, Preset::Embedded).map_err(|_| failure))
}

/// The directory of the spool. It needs no configuration when it is said.
pub(super) fn dir(place: &args::Place) -> Result<PathBuf, Failure> {
    if let Some(dir) = &place.dir {
        return Ok(dir.clone());
    }
    // HOOK: `loaded.config.spool.map(|spool| spool.dir)`.
    let _loaded = load(&place.config)?;
    let message = "no spool is configured (spool.dir); say where it is with --dir DIR";
    Err(Failure::new(Exit::Configuration, message))
}

/// The spool, to be looked into.
pub(super) fn inspector(place: &args::Place) -> Result<Inspector, Failure> {
    Ok(Inspector::new(dir(place)?))
}

/// Who unwraps the keys of segments.
pub(super) fn ring(place: &args::Place) -> Result<Arc<dyn KeyRing>, Failure> {
    // HOOK: the keys of `loaded.config.encryption`, started for no stream, so that none is made.
    let _loaded = load(&place.config)?;
    let message =
        "no keys are configured ([keys]); without them nothing in the spool can be opened";
    Err(Failure::new(Exit::Configuration, message))
}

impl From<ListError> for Failure {
    fn from(error: ListError) -> Self {
        let exit = match &error {
            ListError::NoSpool { .. } => Exit::Unavailable,
            ListError::Io { .. } => Exit::Io,
        };
        Self::new(exit, error.to_string())
    }
}
