//! Whose turn it is: the fresh records' or the backlog's, when both have something to send.
//!
//! Pure. The backlog's part of the sending grows with its age, so that fresh records keep flowing and the
//! backlog comes to its end. Who has nothing to send yields everything, and gets no credit for it. It
//! knows no records.

use std::time::Duration;

use super::request::Bounds;

/// The backlog's part of the sending while it is young.
const PART_MIN: f64 = 0.2;

/// Its part from the age of [`AGE_MAX`] on.
const PART_MAX: f64 = 0.8;

/// From this age on the backlog's part grows no more.
const AGE_MAX: Duration = Duration::from_secs(600);

/// A side is never owed more than so many full requests, nor does it owe more.
const OWED_MAX: f64 = 2.0;

/// Where a record comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// From the application.
    Fresh,
    /// From the disk.
    Backlog,
}

/// How much of a request one side has filled.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Load {
    pub(super) records: usize,
    pub(super) bytes: usize,
}

impl Load {
    /// Counts `other` in.
    pub(super) const fn add(&mut self, other: Self) {
        self.records += other.records;
        self.bytes += other.bytes;
    }

    /// Counts `other` out.
    pub(super) const fn take(&mut self, other: Self) {
        self.records = self.records.saturating_sub(other.records);
        self.bytes = self.bytes.saturating_sub(other.bytes);
    }
}

/// Keeps the two sides' turns. See the module.
#[derive(Debug, Default)]
pub(super) struct Turns {
    /// What the backlog is owed, in full requests; less than nothing when it owes.
    owed: f64,
}

/// The backlog's part of the sending when its oldest record is of this age.
pub(super) fn part(age: Duration) -> f64 {
    let grown = age.as_secs_f64() / AGE_MAX.as_secs_f64();
    PART_MIN + (PART_MAX - PART_MIN) * grown.min(1.0)
}

impl Turns {
    /// Whose turn it is. Both have something to send.
    pub(super) fn next(&self) -> Side {
        if self.owed > 0.0 { Side::Backlog } else { Side::Fresh }
    }

    /// A request is on its way, filled by both sides, while the backlog was of this age.
    pub(super) fn took(&mut self, fresh: Load, backlog: Load, bounds: Bounds, age: Duration) {
        let part = part(age);
        let owed =
            self.owed + filled(fresh, bounds) * part - filled(backlog, bounds) * (1.0 - part);
        self.owed = owed.clamp(-OWED_MAX, OWED_MAX);
    }

    /// One side has nothing to send: nobody owes anybody anything.
    pub(super) const fn rest(&mut self) {
        self.owed = 0.0;
    }
}

/// Which part of a full request a load is: by records or by bytes, whichever is more.
fn filled(load: Load, bounds: Bounds) -> f64 {
    ratio(load.records, bounds.records_max).max(ratio(load.bytes, bounds.bytes_max))
}

fn ratio(of: usize, all: usize) -> f64 {
    let float = |count: usize| f64::from(u32::try_from(count).unwrap_or(u32::MAX));
    float(of) / float(all.max(1))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BOUNDS: Bounds = Bounds { records_max: 500, bytes_max: 4 << 20, record_bytes_more: 0 };

    #[test]
    fn the_backlogs_part_grows_from_a_fifth_to_four_fifths_in_ten_minutes() {
        let parts = [0, 300, 600, 86_400].map(|age| part(Duration::from_secs(age)));
        for (part, expected) in parts.into_iter().zip([0.2, 0.5, 0.8, 0.8]) {
            assert!((part - expected).abs() < 1e-9, "{part} is not {expected}");
        }
    }

    proptest! {
        /// Whatever the requests' sizes, over time each side sends its part.
        #[test]
        fn over_time_each_side_sends_its_part(age in 0_u64..2_000, sizes in prop::collection::vec(1_usize..500, 8)) {
            let age = Duration::from_secs(age);
            let mut turns = Turns::default();
            let (mut fresh, mut backlog) = (0, 0);
            for records in sizes.iter().cycle().take(4_000) {
                let load = Load { records: *records, bytes: 0 };
                match turns.next() {
                    Side::Fresh => {
                        fresh += records;
                        turns.took(load, Load::default(), BOUNDS, age);
                    }
                    Side::Backlog => {
                        backlog += records;
                        turns.took(Load::default(), load, BOUNDS, age);
                    }
                }
            }
            prop_assert!((ratio(backlog, fresh + backlog) - part(age)).abs() < 0.01);
        }
    }

    #[test]
    fn a_side_that_had_nothing_to_send_has_no_credit_from_that_time() {
        let mut turns = Turns::default();
        let full = Load { records: 500, bytes: 0 };
        for _ in 0..100 {
            turns.took(full, Load::default(), BOUNDS, AGE_MAX);
        }
        let mut in_a_row = 0;
        while turns.next() == Side::Backlog {
            turns.took(Load::default(), full, BOUNDS, AGE_MAX);
            in_a_row += 1;
        }
        assert!(in_a_row <= 11, "it is bounded: {in_a_row}");
        turns.rest();
        assert_eq!(turns.next(), Side::Fresh);
    }
}
