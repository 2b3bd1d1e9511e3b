//! Frames of a segment that can not be read, and how many records were counted as missing for them. Pure.

use std::collections::BTreeMap;

/// Stretches of frames, by their first. They do not overlap.
#[derive(Debug, Default)]
pub(super) struct Gone {
    stretches: BTreeMap<u32, Stretch>,
}

#[derive(Debug, Clone, Copy)]
struct Stretch {
    /// None where something lies between two frames that does not belong there.
    frames: u32,
    /// What was counted for it.
    records: u64,
}

impl Gone {
    /// `frames` frames from `first` on are gone, and `records` are missing for that. Says how many of those
    /// were not counted yet; nothing when all of it was known.
    pub(super) fn add(&mut self, first: u32, frames: u32, records: u64) -> Option<u64> {
        let end = first.saturating_add(frames.max(1));
        let inside: Vec<u32> = self.stretches.range(first..end).map(|(first, _)| *first).collect();
        let known: Vec<Stretch> =
            inside.iter().filter_map(|first| self.stretches.remove(first)).collect();
        let counted: u64 = known.iter().map(|stretch| stretch.records).sum();
        let frames_known: u32 = known.iter().map(|stretch| stretch.frames).sum();
        let news = records.saturating_sub(counted);
        let stretch = Stretch { frames: frames.max(frames_known), records: counted + news };
        self.stretches.insert(first, stretch);
        let is_known = !known.is_empty() && frames_known >= frames;
        (!is_known).then_some(news)
    }

    /// Whether `frame` is gone.
    pub(super) fn has(&self, frame: u32) -> bool {
        self.first_not_gone(frame) != frame
    }

    /// `records` more are missing for `frame`, if it is gone. Says whether it is.
    pub(super) fn count(&mut self, frame: u32, records: u64) -> bool {
        let Some((first, stretch)) = self.stretches.range_mut(..=frame).next_back() else {
            return false;
        };
        let is_gone = frame - first < stretch.frames;
        if is_gone {
            stretch.records += records;
        }
        is_gone
    }

    /// The first frame from `frame` on that is not gone.
    pub(super) fn first_not_gone(&self, frame: u32) -> u32 {
        let stretch = self.stretches.range(..=frame).next_back();
        let end = stretch.map_or(0, |(first, stretch)| first.saturating_add(stretch.frames));
        frame.max(end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_is_not_counted_again_and_what_is_new_is() {
        let mut gone = Gone::default();
        assert_eq!(gone.add(3, 2, 10), Some(10));
        assert_eq!(gone.add(3, 2, 10), None);
        assert_eq!([2, 3, 4, 5].map(|frame| gone.has(frame)), [false, true, true, false]);
        assert!(gone.count(4, 7) && !gone.count(5, 7));
        // What lies around it became unreadable too.
        assert_eq!(gone.add(2, 4, 30), Some(13));
        assert_eq!(gone.add(2, 4, 30), None);
        assert_eq!([0, 2, 5, 6].map(|frame| gone.first_not_gone(frame)), [0, 6, 6, 6]);
        // Something that is no frame.
        assert_eq!(gone.add(9, 0, 0), Some(0));
        assert_eq!(gone.add(9, 0, 0), None);
        assert!(!gone.has(9));
    }
}
