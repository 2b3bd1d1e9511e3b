//! The partition keys of a batch's records: each text once for the records that came with it, and which
//! record has which.
//!
//! It lies beside the records and not between them: a batch of which no record has a key has nothing of it,
//! and a body is shared by its records whether they have one or not. It checks no key.

use super::arena::capacity_for;
use crate::record::PARTITION_KEY_BYTES_MAX;

/// What each of the three has at least, where it has anything: bytes, keys and records.
const TEXT_MIN: usize = 64;
const ENDS_MIN: usize = 4;
const OF_MIN: usize = 16;

/// The partition keys of records, by the record's place among them. See the module.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PartitionKeys {
    text: String,
    /// Where each key ends in the text.
    ends: Vec<u32>,
    /// Which key each record has: 0 is none, 1 the first. The records behind its end have none.
    of: Vec<u16>,
}

/// How much there is of each of the three: a state to which they can go back.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sizes {
    text: usize,
    ends: usize,
    of: usize,
}

impl Sizes {
    const fn bytes(self) -> usize {
        self.text + self.ends * size_of::<u32>() + self.of * size_of::<u16>()
    }
}

impl PartitionKeys {
    /// Those of records that have none.
    pub const NONE: Self = Self { text: String::new(), ends: Vec::new(), of: Vec::new() };

    /// Those that these records have, in the order of the records.
    #[must_use]
    pub fn collect<'a>(keys: impl Iterator<Item = Option<&'a str>>) -> Self {
        let mut all = Self::default();
        for (index, key) in keys.enumerate() {
            if let Some(key) = key {
                all.set(index, key);
            }
        }
        all.shrink_to_fit();
        all
    }

    /// Whether no record has a key.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The key of the record at `index`, if it has one.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<&str> {
        self.text(usize::from(self.which(index)).checked_sub(1)?)
    }

    /// Which of [`PartitionKeys::texts`] the record at `index` has, from 1 on; 0 when it has none.
    #[must_use]
    pub fn which(&self, index: usize) -> u16 {
        self.of.get(index).copied().unwrap_or(0)
    }

    /// The keys. Records that came one after the other with the same key share it.
    pub fn texts(&self) -> impl ExactSizeIterator<Item = &str> {
        (0..self.ends.len()).map(|at| self.text(at).unwrap_or_default())
    }

    /// What they take in memory, in bytes.
    #[must_use]
    pub const fn capacity_bytes(&self) -> usize {
        self.capacities().bytes()
    }

    /// Gives the record at `index` a key, which lies behind all records that have one. It is left out where it
    /// is longer than a key can be.
    pub fn set(&mut self, index: usize, key: &str) {
        if key.is_empty() || key.len() > PARTITION_KEY_BYTES_MAX || index < self.of.len() {
            debug_assert!(
                false,
                "a key is checked where it comes in, and records come in their order"
            );
            return;
        }
        self.reserve(index, key);
        if self.is_new(key) {
            self.text.push_str(key);
            self.ends.push(u32::try_from(self.text.len()).unwrap_or(u32::MAX));
        }
        self.of.resize(index, 0);
        self.of.push(u16::try_from(self.ends.len()).unwrap_or(0));
    }

    /// How many bytes more they take in memory with this key.
    pub(super) fn missing_bytes(&self, index: usize, key: &str) -> usize {
        self.capacities_with(index, key).bytes() - self.capacity_bytes()
    }

    /// Makes place for this key.
    pub(super) fn reserve(&mut self, index: usize, key: &str) {
        let capacities = self.capacities_with(index, key);
        self.text.reserve_exact(capacities.text - self.text.len());
        self.ends.reserve_exact(capacities.ends - self.ends.len());
        self.of.reserve_exact(capacities.of - self.of.len());
    }

    pub(super) const fn mark(&self) -> Sizes {
        Sizes { text: self.text.len(), ends: self.ends.len(), of: self.of.len() }
    }

    /// Takes back all that came after `mark`, and the memory that it took.
    pub(super) fn roll_back(&mut self, mark: Sizes) {
        self.text.truncate(mark.text);
        self.ends.truncate(mark.ends);
        self.of.truncate(mark.of);
        self.text.shrink_to(capacity_for(mark.text, TEXT_MIN));
        self.ends.shrink_to(capacity_for(mark.ends, ENDS_MIN));
        self.of.shrink_to(capacity_for(mark.of, OF_MIN));
    }

    /// Keeps the keys of just the records that `is_kept` names, which move together.
    pub(super) fn retain(&mut self, records: usize, is_kept: impl Fn(usize) -> bool) {
        if !self.is_empty() {
            let kept = (0..records).filter(|index| is_kept(*index));
            *self = Self::collect(kept.map(|index| self.get(index)));
        }
    }

    fn shrink_to_fit(&mut self) {
        self.text.shrink_to_fit();
        self.ends.shrink_to_fit();
        self.of.shrink_to_fit();
    }

    fn text(&self, at: usize) -> Option<&str> {
        let end = |at: usize| self.ends.get(at).map(|end| *end as usize);
        let start = at.checked_sub(1).map_or(Some(0), end)?;
        self.text.get(start..end(at)?)
    }

    /// Whether a key is another one than the record before has.
    fn is_new(&self, key: &str) -> bool {
        self.ends.len().checked_sub(1).and_then(|last| self.text(last)) != Some(key)
    }

    const fn capacities(&self) -> Sizes {
        Sizes { text: self.text.capacity(), ends: self.ends.capacity(), of: self.of.capacity() }
    }

    /// The capacities that there are once a record has this key.
    fn capacities_with(&self, index: usize, key: &str) -> Sizes {
        let Sizes { text, ends, of } = self.capacities();
        let (more_text, more_ends) = if self.is_new(key) { (key.len(), 1) } else { (0, 0) };
        Sizes {
            text: text.max(capacity_for(self.text.len() + more_text, TEXT_MIN)),
            ends: ends.max(capacity_for(self.ends.len() + more_ends, ENDS_MIN)),
            of: of.max(capacity_for(index + 1, OF_MIN)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn records_of_one_request_share_its_key_and_those_without_one_take_nothing() {
        let keys =
            PartitionKeys::collect([Some("a"), Some("a"), None, Some("ü"), Some("a")].into_iter());
        assert_eq!(keys.texts().collect::<Vec<_>>(), ["a", "ü", "a"]);
        assert_eq!([0, 1, 2, 3, 4, 5].map(|index| keys.which(index)), [1, 1, 0, 2, 3, 0]);
        let none = PartitionKeys::collect([None; 500].into_iter());
        assert_eq!((none.is_empty(), none.capacity_bytes()), (true, 0));
    }

    proptest! {
        /// Every record has its own key, what they take is known before they take it, and going back is exact.
        #[test]
        fn every_record_has_the_key_that_it_was_given(
            keys in vec(proptest::option::of("[abü]{1,3}"), 0..60), at in 0..60_usize, kept in any::<u64>(),
        ) {
            let mut all = PartitionKeys::default();
            let (mut mark, mut bytes) = (all.mark(), 0);
            for (index, key) in keys.iter().enumerate() {
                if index == at {
                    (mark, bytes) = (all.mark(), all.capacity_bytes());
                }
                if let Some(key) = key {
                    let missing = all.missing_bytes(index, key);
                    let before = all.capacity_bytes();
                    all.set(index, key);
                    prop_assert_eq!(all.capacity_bytes(), before + missing);
                }
            }
            for (index, key) in keys.iter().enumerate() {
                prop_assert_eq!(all.get(index), key.as_deref());
            }
            prop_assert_eq!(all.get(keys.len()), None);
            let is_kept = |index: usize| kept >> (index % 64) & 1 == 1;
            let mut some = all.clone();
            some.retain(keys.len(), is_kept);
            let wanted = keys.iter().enumerate().filter(|(index, _)| is_kept(*index));
            for (index, (_, key)) in wanted.enumerate() {
                prop_assert_eq!(some.get(index), key.as_deref());
            }
            prop_assert!(some.capacity_bytes() <= all.capacity_bytes());
            if at < keys.len() {
                all.roll_back(mark);
                prop_assert_eq!(all.capacity_bytes(), bytes);
                prop_assert!((at..60).all(|index| all.get(index).is_none()));
            }
        }
    }
}
