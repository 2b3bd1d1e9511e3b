//! The records of one stream that are to become dead letters, and whether the store takes them.
//!
//! Pure: it is given `now` and the dice. While the store does not take one, the stream is held: records
//! that are at fault would fill memory. It keeps no records and writes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::aws::Backoff;
use crate::pipeline::NotDurable;

/// Why a record is set aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cause {
    /// What proves that it is at fault: a stable word.
    pub(super) reason: &'static str,
    /// The service's code.
    pub(super) code: Arc<str>,
    /// The service's words.
    pub(super) message: Arc<str>,
}

/// It had an error of its own while another record of its request went through.
pub(super) const OWN_ERROR: &str = "own_error";

/// It was refused alone while other records went through.
pub(super) const REFUSED_ALONE: &str = "refused_alone";

/// It is larger than what the records of its stream go into takes: it was not sent.
pub(super) const OVER_LIMIT: &str = "over_limit";

/// See the module.
#[derive(Debug)]
pub(super) struct Letters {
    backoff: Backoff,
    /// All that are not in the store.
    causes: BTreeMap<u64, Cause>,
    /// Those of them that the store did not take, and that are not on their way again.
    refused: BTreeSet<u64>,
    block: Option<Block>,
}

#[derive(Debug)]
struct Block {
    since: Instant,
    why: NotDurable,
    attempts: u32,
    again_at: Instant,
}

impl Letters {
    /// No letters. What the store does not take is tried again after `min`, and at last every `max`.
    pub(super) const fn new(min: Duration, max: Duration) -> Self {
        Self {
            backoff: Backoff::new(min, max),
            causes: BTreeMap::new(),
            refused: BTreeSet::new(),
            block: None,
        }
    }

    /// A record is on its way into the store.
    pub(super) fn add(&mut self, name: u64, cause: Cause) {
        self.causes.insert(name, cause);
    }

    /// The store has it. Says whether the stream was held for this and is no more.
    pub(super) fn taken(&mut self, name: u64) -> bool {
        self.causes.remove(&name);
        self.refused.remove(&name);
        self.causes.is_empty() && self.block.take().is_some()
    }

    /// The store did not take it. Says whether the stream is held from now on.
    pub(super) fn refused(
        &mut self,
        name: u64,
        why: NotDurable,
        now: Instant,
        random: &mut fastrand::Rng,
    ) -> bool {
        if self.causes.contains_key(&name) {
            self.refused.insert(name);
        }
        let is_new = self.block.is_none();
        let block = self.block.get_or_insert(Block { since: now, why, attempts: 0, again_at: now });
        block.why = why;
        if block.again_at <= now {
            block.attempts = block.attempts.saturating_add(1);
            block.again_at = now + self.backoff.long_wait(block.attempts, random);
        }
        is_new
    }

    /// Those that are to be tried again at `now`, each with its cause.
    pub(super) fn take_due(&mut self, now: Instant) -> Vec<(u64, Cause)> {
        if self.block.as_ref().is_none_or(|block| block.again_at > now) {
            return Vec::new();
        }
        let names = std::mem::take(&mut self.refused);
        names.into_iter().filter_map(|name| Some((name, self.causes.get(&name)?.clone()))).collect()
    }

    /// When something is to be tried again.
    pub(super) fn again_at(&self) -> Option<Instant> {
        let block = self.block.as_ref().filter(|_| !self.refused.is_empty());
        block.map(|block| block.again_at)
    }

    /// Since when the stream is held for this, if it is, and why.
    pub(super) fn block(&self) -> Option<(Instant, NotDurable)> {
        self.block.as_ref().map(|block| (block.since, block.why))
    }

    /// Tries again at `at` at the latest.
    pub(super) fn shorten(&mut self, at: Instant) {
        if let Some(block) = &mut self.block {
            block.again_at = block.again_at.min(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn cause() -> Cause {
        Cause { reason: OWN_ERROR, code: "X".into(), message: "".into() }
    }

    #[test]
    fn a_store_that_takes_nothing_holds_the_stream_until_it_has_taken_everything() {
        let mut random = fastrand::Rng::with_seed(1);
        let start = Instant::now();
        let mut letters = Letters::new(SECOND, SECOND * 8);
        letters.add(1, cause());
        letters.add(2, cause());
        assert!(letters.refused(1, NotDurable::SpoolFull, start, &mut random));
        assert!(
            !letters.refused(2, NotDurable::SpoolFull, start, &mut random),
            "it is held already"
        );
        assert_eq!(letters.block(), Some((start, NotDurable::SpoolFull)));
        assert!(letters.take_due(start).is_empty());
        let again_at = letters.again_at().unwrap();
        assert!(again_at <= start + SECOND, "the failures of one round count once");
        assert_eq!(letters.take_due(again_at).len(), 2);
        assert_eq!(letters.again_at(), None, "they are on their way");
        assert!(!letters.taken(1));
        assert!(!letters.refused(2, NotDurable::DiskFull, again_at, &mut random));
        let again_at = letters.again_at().unwrap();
        assert_eq!(letters.take_due(again_at), [(2, cause())]);
        assert!(letters.taken(2));
        assert_eq!(letters.block(), None);
    }
}
