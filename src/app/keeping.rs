//! How the spool is put between the stages: what it is started with, and who is given its ends.

use std::sync::Arc;

use super::StartError;
use crate::encryption::keys::{self, Keys};
use crate::ingest::{self, Aside, Opener, SpoolEnds, Streams};
use crate::pipeline::Post;
use crate::spool::{self, Letter, Spool, StreamSpool, Volume, Words};

/// The spool, where there is one, and what the other stages are given of it.
pub(super) struct Keeping {
    pub(super) spool: Option<Arc<Spool>>,
    /// The forwarder's end.
    pub(super) words: Option<Words>,
    pub(super) volume: Volume,
    /// The memory that it takes for itself.
    memory_bytes: usize,
}

impl Keeping {
    pub(super) fn start(
        config: Option<spool::Config>,
        keys: Option<&Keys>,
        post: Post,
    ) -> Result<Self, StartError> {
        let Some(config) = config else {
            return Ok(Self {
                spool: None,
                words: None,
                volume: Volume::Persistent,
                memory_bytes: 0,
            });
        };
        // The configuration has keys wherever it has a spool.
        let ring = keys.map(Keys::ring).ok_or(StartError::Keys(keys::StartError::NoKey))?;
        let (dir, volume, memory_bytes) =
            (config.dir.clone(), config.volume, config.memory_bytes_max());
        let (spool, words) = Spool::start(config, ring, post).map_err(StartError::Spool)?;
        if spool.was_unclean() {
            tracing::warn!(
                dir = %dir.display(),
                "the last life of this spool did not end cleanly: what was in memory alone is lost, and \
                 what was durable is here"
            );
        }
        tracing::info!(dir = %dir.display(), "the spool is open");
        Ok(Self { spool: Some(Arc::new(spool)), words: Some(words), volume, memory_bytes })
    }

    /// The streams: those that are configured and those that have a backlog, each with its spool.
    pub(super) fn streams(&self, memory_bytes_max: usize, config: &ingest::Config) -> Streams {
        let memory_bytes_max = memory_bytes_max.saturating_sub(self.memory_bytes);
        let Some(spool) = &self.spool else {
            return Streams::new(memory_bytes_max, config, Box::new(|_| None));
        };
        let spools = spool.spools();
        let opener: Opener = Box::new(move |lane| spools.open(lane).map(ends));
        let streams = Streams::new(memory_bytes_max, config, opener);
        spool.leftovers().into_iter().for_each(|name| streams.adopt(name));
        streams
    }
}

/// The ways into a stream's spool for the data listener.
fn ends(spool: StreamSpool) -> SpoolEnds {
    let inlet = spool.inlet();
    let (code, message): (Arc<str>, Arc<str>) = ("".into(), "larger than the service takes".into());
    let set_aside = move |Aside { record, partition_key, at, ticket }| {
        let letter = Letter {
            id: 0,
            record,
            partition_key: partition_key.clone().map(Arc::from),
            opened_at: at,
            reason: "oversize",
            code: Arc::clone(&code),
            message: Arc::clone(&message),
            origin: None,
        };
        spool.set_aside_for(ticket, letter).map_err(|record| Aside {
            record,
            partition_key,
            at,
            ticket,
        })
    };
    SpoolEnds { inlet, set_aside: Arc::new(set_aside) }
}
