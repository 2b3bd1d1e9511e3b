//! The shelf of one stream: the dead letters that lie there, how many they are, and who wants them replayed.
//!
//! What an earlier life left is counted by the ends of its segments, a few files a turn, without a key. A
//! segment without an end stays uncounted. It counts and queues; replaying is another file's.

use std::collections::VecDeque;
use std::time::Instant;

use super::header::Kind;
use super::names;
use super::old;
use super::pool::Turn;
use super::replay::Replay;
use super::writer::Writer;

/// See the module.
#[derive(Default)]
pub(super) struct Shelf {
    /// Segments of an earlier life that were not counted yet.
    found: VecDeque<u64>,
    /// Replays: the first is under way.
    asked: VecDeque<Replay>,
}

/// How many segments are counted in one turn.
const TURN_FILES_MAX: usize = 8;

impl Shelf {
    /// With these segments on it.
    pub(super) fn found(segments: impl Iterator<Item = u64>) -> Self {
        Self { found: segments.collect(), asked: VecDeque::new() }
    }

    pub(super) fn ask(&mut self, replay: Replay) {
        self.asked.push_back(replay);
    }
}

impl Writer {
    /// Counts on, and goes on with what is replayed. Says when there is more to do.
    pub(super) fn tend_shelf(&mut self, now: Instant) -> Turn {
        for _ in 0..TURN_FILES_MAX {
            let Some(segment) = self.shelf.found.pop_front() else { break };
            self.count_found(segment);
        }
        let counting = if self.shelf.found.is_empty() { Turn::Idle } else { Turn::Again };
        let Some(mut replay) = self.shelf.asked.pop_front() else { return counting };
        let turn = match replay.go_on(self, now) {
            Some(turn) => {
                self.shelf.asked.push_front(replay);
                turn
            }
            None if self.shelf.asked.is_empty() => Turn::Idle,
            None => Turn::Again,
        };
        turn.or_sooner(counting)
    }

    fn count_found(&self, segment: u64) {
        let path = self.letters.dir.join(names::segment_file(segment));
        let end = self.shared.storage.open_read(&path).and_then(|file| {
            let bytes = file.bytes()?;
            old::end(file.as_ref(), bytes)
        });
        match end {
            Ok(Some(end)) => self.counts.dead_letters_found.add(end.records_before),
            // What can not be read is not counted; a replay will say why.
            Ok(None) | Err(_) => self.counts.dead_letter_segments_uncounted.add(1),
        }
    }

    /// Brings up to date what is shown of the room that dead letters take.
    pub(super) fn count_shelf(&self) {
        debug_assert_eq!(self.letters.kind, Kind::DeadLetters, "the log of dead letters");
        self.counts.dead_letter_bytes.set(self.letters.bytes());
    }
}
