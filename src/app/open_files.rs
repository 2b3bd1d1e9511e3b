//! The limit of open files: raised to what the system allows, since the usual 1,024 are soon used up.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::Config;

/// What the process has open beside the connections of its listeners.
const OTHER_FILES: u64 = 256;

/// Raises the limit as far as it may be, and says when that is less than the connections may need.
pub(super) fn raise(config: &Config) {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })
    {
        tracing::warn!(%error, ?current, "the limit of open files stays as it is");
    }
    let connections = config.ingest.connections_max + 2 * config.admin.connections_max;
    // Beside each segment that is written, one may be read.
    let segments = config.spool.as_ref().map_or(0, |spool| 2 * spool.files_max);
    let wanted = (connections + segments) as u64 + OTHER_FILES;
    if let Some(limit) = getrlimit(Resource::Nofile).current.filter(|limit| *limit < wanted) {
        tracing::warn!(
            limit,
            wanted,
            "fewer files may be open than connections and segments: raise the limit, or lower \
             ingest.connections_max or spool.files_max; what can not be accepted waits"
        );
    }
}
