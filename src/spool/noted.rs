//! What is delivered of one segment: the frames that are delivered whole, and the records of the others.
//!
//! Pure. It is filled from the entries of the segment's note and from what is delivered in this life, and
//! gives the entries that are to be written next. Frames are kept as runs, so that a segment that is
//! delivered in order costs a few bytes, however long it is.

use std::collections::{BTreeMap, BTreeSet};

use super::note::{BITMAP_BYTES_MAX, Entry};
use crate::record::BATCH_RECORDS_MAX;

/// The records of one frame that are delivered.
type Bits = [u8; BITMAP_BYTES_MAX];

const _: () = assert!(BITMAP_BYTES_MAX * 8 >= BATCH_RECORDS_MAX, "every record has its bit");

/// See the module.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Noted {
    /// Runs of whole frames: the first to the one after the last. They neither meet nor overlap.
    runs: BTreeMap<u32, u32>,
    /// The delivered records of frames that are not whole.
    partial: BTreeMap<u32, Bits>,
    /// The frames of which something is not in the note yet.
    dirty: BTreeSet<u32>,
}

impl Noted {
    /// Takes over what the note says.
    pub(super) fn apply(&mut self, entry: &Entry) {
        match entry {
            Entry::Whole { first, frames } => self.add_run(*first, first.saturating_add(*frames)),
            Entry::Bitmap { frame, bits } if !self.is_whole(*frame) => {
                let own = self.partial.entry(*frame).or_insert([0; BITMAP_BYTES_MAX]);
                for (byte, more) in own.iter_mut().zip(bits) {
                    *byte |= more;
                }
            }
            Entry::Bitmap { .. } => {}
        }
    }

    /// Record `number` of `frame`, which has `records`, is delivered. Says whether that was not known.
    pub(super) fn note(&mut self, frame: u32, number: u16, records: u32) -> bool {
        if self.is_noted(frame, number) || u32::from(number) >= records {
            return false;
        }
        let bits = self.partial.entry(frame).or_insert([0; BITMAP_BYTES_MAX]);
        let (byte, mask) = place(number);
        let Some(byte) = bits.get_mut(byte) else { return false };
        *byte |= mask;
        self.dirty.insert(frame);
        if self.noted_in(frame, records) == records {
            self.add_run(frame, frame.saturating_add(1));
        }
        true
    }

    /// All records of `frame` turned out to be delivered.
    pub(super) fn complete(&mut self, frame: u32) {
        self.add_run(frame, frame.saturating_add(1));
        self.dirty.insert(frame);
    }

    /// The first frame from `frame` on that is not delivered whole.
    pub(super) fn first_not_whole(&self, frame: u32) -> u32 {
        match self.runs.range(..=frame).next_back() {
            Some((_, end)) if frame < *end => *end,
            _ => frame,
        }
    }

    /// Whether all records of `frame` are delivered.
    pub(super) fn is_whole(&self, frame: u32) -> bool {
        self.runs.range(..=frame).next_back().is_some_and(|(_, end)| frame < *end)
    }

    /// Whether record `number` of `frame` is delivered.
    pub(super) fn is_noted(&self, frame: u32, number: u16) -> bool {
        let (byte, mask) = place(number);
        self.is_whole(frame)
            || self
                .partial
                .get(&frame)
                .and_then(|bits| bits.get(byte))
                .is_some_and(|byte| byte & mask != 0)
    }

    /// How many of the `records` of `frame` are delivered.
    pub(super) fn noted_in(&self, frame: u32, records: u32) -> u32 {
        if self.is_whole(frame) {
            return records;
        }
        let Some(bits) = self.partial.get(&frame) else { return 0 };
        bits.iter().map(|byte| byte.count_ones()).sum::<u32>().min(records)
    }

    /// How many frames are delivered whole.
    pub(super) fn whole_frames(&self) -> u32 {
        self.runs.iter().map(|(first, end)| end - first).sum()
    }

    /// How many of `records` records in `frames` frames from `first` on, which can not be read, are not
    /// delivered. Where some of several frames are delivered whole and it is not known how long those
    /// were, the answer is the most that it can be.
    pub(super) fn missing_in(&self, first: u32, frames: u32, records: u64) -> u64 {
        let end = first.saturating_add(frames);
        let whole: u64 = self
            .runs
            .range(..end)
            .map(|(start, stop)| u64::from((*stop).min(end).saturating_sub((*start).max(first))))
            .sum();
        if whole == u64::from(frames) {
            return 0;
        }
        let partial: u64 = self
            .partial
            .range(first..end)
            .flat_map(|(_, bits)| bits)
            .map(|byte| u64::from(byte.count_ones()))
            .sum();
        // A whole frame has one record at least.
        records.saturating_sub(whole).saturating_sub(partial)
    }

    /// Whether there is something to be written into the note.
    pub(super) fn is_dirty(&self) -> bool {
        !self.dirty.is_empty()
    }

    /// What is to be written into the note: everything since the last call. Whole frames that stand side by
    /// side are one entry.
    pub(super) fn take_entries(&mut self) -> Vec<Entry> {
        let mut entries = Vec::new();
        for frame in std::mem::take(&mut self.dirty) {
            match (entries.last_mut(), self.partial.get(&frame)) {
                (_, Some(bits)) => {
                    entries.push(Entry::Bitmap { frame, bits: trimmed(bits) });
                }
                (Some(Entry::Whole { first, frames }), None) if *first + *frames == frame => {
                    *frames += 1;
                }
                (_, None) => entries.push(Entry::Whole { first: frame, frames: 1 }),
            }
        }
        entries
    }

    /// What [`Noted::take_entries`] gave could not be written: it is to be written again.
    pub(super) fn give_back(&mut self, entries: &[Entry]) {
        for entry in entries {
            match entry {
                Entry::Whole { first, frames } => {
                    self.dirty.extend(*first..first.saturating_add(*frames));
                }
                Entry::Bitmap { frame, .. } => {
                    self.dirty.insert(*frame);
                }
            }
        }
    }

    fn add_run(&mut self, first: u32, end: u32) {
        if first >= end {
            return;
        }
        let (mut first, mut end) = (first, end);
        // Whatever it meets becomes part of it.
        while let Some((start, stop)) =
            self.runs.range(..=end).next_back().map(|(start, stop)| (*start, *stop))
            && stop >= first
        {
            self.runs.remove(&start);
            first = first.min(start);
            end = end.max(stop);
        }
        self.runs.insert(first, end);
        while let Some(frame) = self.partial.range(first..end).next().map(|(frame, _)| *frame) {
            self.partial.remove(&frame);
        }
    }
}

fn place(number: u16) -> (usize, u8) {
    (usize::from(number / 8), 1 << (number % 8))
}

/// A bitmap without the zeros at its end.
fn trimmed(bits: &Bits) -> Vec<u8> {
    let used = bits.iter().rposition(|byte| *byte != 0).map_or(1, |last| last + 1);
    bits.iter().copied().take(used).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn frames_delivered_in_any_order_become_one_run_and_one_entry() {
        let mut noted = Noted::default();
        for frame in [3, 1, 0, 2] {
            assert_ne!(noted.first_not_whole(0), 4);
            for number in [1, 0] {
                assert!(noted.note(frame, number, 2));
                assert!(!noted.note(frame, number, 2));
            }
        }
        assert_eq!([0, 3, 4].map(|frame| noted.first_not_whole(frame)), [4; 3]);
        assert_eq!(noted.take_entries(), [Entry::Whole { first: 0, frames: 4 }]);
        assert!(noted.take_entries().is_empty() && !noted.is_dirty());
        assert_eq!((noted.runs.len(), noted.partial.len()), (1, 0));
    }

    #[test]
    fn what_could_not_be_written_is_written_with_what_came_since() {
        let mut noted = Noted::default();
        noted.note(0, 0, 1);
        noted.note(1, 9, 20);
        let entries = noted.take_entries();
        assert_eq!(entries.len(), 2);
        noted.note(1, 0, 20);
        noted.give_back(&entries);
        let entries = noted.take_entries();
        let bitmap = Entry::Bitmap { frame: 1, bits: vec![1, 2] };
        assert_eq!(entries, [Entry::Whole { first: 0, frames: 1 }, bitmap]);
    }

    #[test]
    fn a_number_that_its_frame_does_not_have_is_nothing() {
        let mut noted = Noted::default();
        assert!(!noted.note(0, 3, 3));
        assert!(!noted.note(0, u16::MAX, u32::MAX));
        assert!(!noted.is_dirty());
    }

    #[test]
    fn what_can_not_be_read_is_missing_but_for_what_is_delivered() {
        let mut noted = Noted::default();
        noted.apply(&Entry::Whole { first: 2, frames: 2 });
        noted.apply(&Entry::Bitmap { frame: 5, bits: vec![0b111] });
        assert_eq!(noted.missing_in(2, 2, 40), 0);
        assert_eq!(noted.missing_in(0, 2, 40), 40);
        assert_eq!(noted.missing_in(5, 1, 40), 37);
        assert_eq!(noted.missing_in(3, 1, 40), 0);
        // At most: each of the two whole frames had one record at least.
        assert_eq!(noted.missing_in(2, 4, 40), 35);
    }

    /// A few frames of a few records each, so that everything happens.
    const FRAMES: u32 = 9;
    const RECORDS: u32 = 5;

    proptest! {
        #[test]
        fn it_knows_what_a_plain_set_knows_and_so_does_who_reads_its_entries(
            steps in vec((0..FRAMES, 0_u16..5, any::<bool>()), 0..120),
            runs in vec((0..FRAMES, 0_u32..4), 0..4),
        ) {
            let (mut noted, mut read) = (Noted::default(), Noted::default());
            let mut plain = HashSet::new();
            for (first, frames) in runs {
                let entry = Entry::Whole { first, frames };
                noted.apply(&entry);
                read.apply(&entry);
                for frame in first..first + frames {
                    plain.extend((0_u16..5).map(|number| (frame, number)));
                }
            }
            for (frame, number, writes) in steps {
                prop_assert_eq!(noted.note(frame, number, RECORDS), plain.insert((frame, number)));
                if writes {
                    noted.take_entries().iter().for_each(|entry| read.apply(entry));
                }
            }
            noted.take_entries().iter().for_each(|entry| read.apply(entry));
            prop_assert_eq!(&read, &noted);
            let mut whole = 0;
            for frame in 0..FRAMES + 4 {
                let delivered = (0..5).filter(|number| plain.contains(&(frame, *number)));
                let delivered = u32::try_from(delivered.count()).unwrap();
                prop_assert_eq!(noted.noted_in(frame, RECORDS), delivered);
                prop_assert_eq!(noted.is_whole(frame), delivered == RECORDS);
                whole += u32::from(delivered == RECORDS);
                for number in 0..5 {
                    prop_assert_eq!(noted.is_noted(frame, number), plain.contains(&(frame, number)));
                }
            }
            prop_assert_eq!(noted.whole_frames(), whole);
        }
    }
}
