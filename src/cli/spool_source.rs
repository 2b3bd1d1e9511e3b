//! Where the spool is and who has its keys: from the configuration, as `serve` has it.
//!
//! The one place in which the tools are connected to the configuration.

use std::path::PathBuf;
use std::sync::Arc;

use crate::config::{Loaded, Preset};
use crate::encryption::keys::Keys;
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
    let message = "no spool is configured (spool.dir); say where it is with --dir DIR";
    let spool = load(&place.config)?.config.spool;
    spool.map(|spool| spool.dir).ok_or_else(|| Failure::new(Exit::Configuration, message))
}

/// The spool, to be looked into.
pub(super) fn inspector(place: &args::Place) -> Result<Inspector, Failure> {
    Ok(Inspector::new(dir(place)?))
}

/// Who unwraps the keys of segments, for as long as this lives.
pub(super) struct Ring {
    ring: Arc<dyn KeyRing>,
    _keys: Keys,
}

impl Ring {
    pub(super) fn as_ref(&self) -> &dyn KeyRing {
        self.ring.as_ref()
    }
}

/// The keys of the configuration, started for no stream, so that none is made.
pub(super) fn ring(place: &args::Place) -> Result<Ring, Failure> {
    let refused = |message: String| Failure::new(Exit::Configuration, message);
    let Some(config) = load(&place.config)?.config.keys else {
        let message =
            "no keys are configured ([keys]): without them nothing in the spool can be opened";
        return Err(refused(message.to_owned()));
    };
    if let Some(file) = config.file.as_ref().filter(|file| !file.exists()) {
        // A start of standpipe makes one; it would open nothing of what is there.
        return Err(refused(format!("the key file {} is not there (keys.file)", file.display())));
    }
    // From here on there are keys and records in the clear.
    crate::app::forbid_dumps();
    let keys = Keys::start(&config, &[]).map_err(|error| {
        let exit = if error.is_configuration() { Exit::Configuration } else { Exit::Internal };
        Failure::new(exit, error.to_string())
    })?;
    Ok(Ring { ring: keys.ring(), _keys: keys })
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
