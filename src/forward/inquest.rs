//! The inquest: which record is at fault when a request as a whole was refused, or is it the stream?
//!
//! Pure. Refused records are asked for again in halves, one request at a time, until one is refused
//! alone. That one is found guilty only when another record went through since the inquest began: else
//! everything is refused, and the fault is the stream's. It keeps no records, only their places.

use std::time::Instant;

use super::request::{Bounds, Pick};

/// So many records that were refused alone, while none went through, are the stream's fault.
pub(super) const ACCUSED_MAX: usize = 3;

/// After so many guilty records in a row, another one has to go through before the next is found guilty.
pub(super) const GUILTY_IN_A_ROW_MAX: u32 = 8;

/// See the module.
#[derive(Debug)]
pub(super) struct Inquest {
    opened_at: Instant,
    /// Records that were refused together, in groups that are asked for as such. The last one is next.
    groups: Vec<Vec<Pick>>,
    /// Records that were refused alone before any other went through.
    accused: Vec<Pick>,
    /// When it was first seen since `opened_at` that the stream takes records.
    witness_at: Option<Instant>,
    guilty_in_a_row: u32,
}

/// What a refusal leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Finding {
    /// More is asked.
    Open,
    /// This record is at fault.
    Guilty(Pick),
    /// Everything is refused: the stream is at fault.
    Stream,
}

impl Inquest {
    /// An inquest that begins with nothing.
    pub(super) const fn new(now: Instant) -> Self {
        Self {
            opened_at: now,
            groups: Vec::new(),
            accused: Vec::new(),
            witness_at: None,
            guilty_in_a_row: 0,
        }
    }

    /// These records were refused together in a request that began at `began_at`.
    pub(super) fn refused(&mut self, mut picks: Vec<Pick>, began_at: Instant) -> Finding {
        if picks.len() > 1 {
            let other_half = picks.split_off(picks.len() / 2);
            self.groups.push(other_half);
            self.groups.push(picks);
            return Finding::Open;
        }
        let Some(pick) = picks.pop() else { return Finding::Open };
        if self.witness_at.is_some_and(|at| began_at >= at) {
            self.guilty_in_a_row += 1;
            if self.guilty_in_a_row >= GUILTY_IN_A_ROW_MAX {
                self.witness_at = None;
            }
            return Finding::Guilty(pick);
        }
        self.accused.push(pick);
        if self.witness_at.is_none() && self.accused.len() >= ACCUSED_MAX {
            return Finding::Stream;
        }
        if self.witness_at.is_some() {
            self.recall();
        }
        Finding::Open
    }

    /// A record went through, in a request that began at `began_at`.
    pub(super) fn witnessed(&mut self, now: Instant, began_at: Instant) {
        if began_at >= self.opened_at {
            self.guilty_in_a_row = 0;
            if self.witness_at.is_none() {
                self.witness_at = Some(now);
                self.recall();
            }
        }
    }

    /// The records go elsewhere: nobody who went through before is a witness any more, and who was refused
    /// alone is asked for again.
    pub(super) fn renew(&mut self, now: Instant) {
        self.opened_at = now;
        self.witness_at = None;
        self.guilty_in_a_row = 0;
        self.recall();
    }

    /// The records to ask for next, all of one request, in which each goes by itself: as many of a group as
    /// fit. Records that were refused together may have been joined, and be many.
    pub(super) fn next(&mut self, bounds: Bounds) -> Option<Vec<Pick>> {
        let mut group = self.groups.pop()?;
        // Each may get a delimiter on its way.
        let each = bounds.record_bytes_more.max(1);
        let mut bytes = 0;
        let fit = group.iter().take(bounds.records_max.max(1)).take_while(|pick| {
            bytes += pick.bytes as usize + each;
            bytes <= bounds.bytes_max
        });
        let fit = fit.count().max(1);
        if fit < group.len() {
            let rest = group.split_off(fit);
            self.groups.push(rest);
        }
        Some(group)
    }

    /// One record to ask a held stream with.
    pub(super) fn next_alone(&mut self) -> Option<Pick> {
        if let Some(mut group) = self.groups.pop() {
            let pick = group.pop();
            if !group.is_empty() {
                self.groups.push(group);
            }
            return pick;
        }
        (!self.accused.is_empty()).then(|| self.accused.remove(0))
    }

    /// These records were not refused, nor did they go through: they are asked for again.
    pub(super) fn put_back(&mut self, picks: Vec<Pick>) {
        if !picks.is_empty() {
            self.groups.push(picks);
        }
    }

    /// Whether no other record went through since it began: nothing but the inquest goes then.
    pub(super) const fn lacks_witness(&self) -> bool {
        self.witness_at.is_none()
    }

    /// Whether there is a group to ask for.
    pub(super) const fn has_groups(&self) -> bool {
        !self.groups.is_empty()
    }

    /// Whether a record was refused alone, and nobody knows yet whether that is its fault.
    pub(super) const fn has_accused(&self) -> bool {
        !self.accused.is_empty()
    }

    /// Whether nothing is left to find out.
    pub(super) const fn is_over(&self) -> bool {
        self.groups.is_empty() && self.accused.is_empty()
    }

    /// Those who were refused alone are asked for again, since the stream takes records.
    fn recall(&mut self) {
        self.groups.extend(self.accused.drain(..).map(|pick| vec![pick]));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const BOUNDS: Bounds = Bounds { records_max: 500, bytes_max: 4 << 20, record_bytes_more: 0 };

    fn picks(indexes: std::ops::Range<u32>) -> Vec<Pick> {
        indexes.map(|index| Pick { batch: 1, index, bytes: 1 }).collect()
    }

    /// Runs an inquest against a stream that refuses every request with one of `bad` in it.
    fn run(all: u32, bad: impl Fn(u32) -> bool) -> (Vec<u32>, Vec<u32>, Option<Finding>, u32) {
        let mut now = Instant::now();
        let mut tick = || {
            now += Duration::from_millis(1);
            now
        };
        let mut inquest = Inquest::new(tick());
        let (mut put, mut guilty, mut requests) = (Vec::new(), Vec::new(), 0);
        let began = tick();
        let mut finding = inquest.refused(picks(0..all), began);
        loop {
            match finding {
                Finding::Guilty(pick) => guilty.push(pick.index),
                Finding::Stream => return (put, guilty, Some(finding), requests),
                Finding::Open => {}
            }
            let began = tick();
            let Some(group) = inquest.next(BOUNDS) else { return (put, guilty, None, requests) };
            requests += 1;
            finding = if group.iter().any(|pick| bad(pick.index)) {
                inquest.refused(group, began)
            } else {
                put.extend(group.iter().map(|pick| pick.index));
                inquest.witnessed(tick(), began);
                Finding::Open
            };
        }
    }

    #[test]
    fn one_bad_record_among_five_hundred_is_found_and_all_others_go_through() {
        for bad in [0, 1, 249, 250, 499] {
            let (mut put, guilty, finding, requests) = run(500, |index| index == bad);
            put.sort_unstable();
            assert_eq!((guilty, finding), (vec![bad], None));
            assert_eq!(put, (0..500).filter(|index| *index != bad).collect::<Vec<_>>());
            assert!(requests < 25, "{requests}");
        }
    }

    #[test]
    fn a_stream_that_refuses_everything_is_at_fault_and_no_record_is() {
        let (put, guilty, finding, requests) = run(500, |_| true);
        assert_eq!((put.len(), guilty.len(), finding), (0, 0, Some(Finding::Stream)));
        assert!(requests < 15, "{requests}");
    }

    #[test]
    fn several_bad_records_are_all_found_once_another_went_through() {
        let (put, mut guilty, finding, _) = run(64, |index| index % 8 == 3);
        guilty.sort_unstable();
        assert_eq!((put.len(), finding), (56, None));
        assert_eq!(guilty, (0..64).filter(|index| index % 8 == 3).collect::<Vec<_>>());
    }

    #[test]
    fn a_stream_that_turns_bad_in_the_middle_condemns_only_a_few() {
        let start = Instant::now();
        let mut inquest = Inquest::new(start);
        inquest.witnessed(start, start);
        let findings: Vec<Finding> =
            (0..20).map(|index| inquest.refused(picks(index..index + 1), start)).collect();
        let guilty = findings.iter().filter(|f| matches!(f, Finding::Guilty(_))).count();
        assert_eq!(guilty, GUILTY_IN_A_ROW_MAX as usize);
        assert!(findings.contains(&Finding::Stream));
    }

    #[test]
    fn what_began_before_the_inquest_is_no_witness() {
        let start = Instant::now();
        let mut inquest = Inquest::new(start + Duration::from_secs(1));
        inquest.witnessed(start + Duration::from_secs(2), start);
        assert!(inquest.lacks_witness());
        let later = start + Duration::from_secs(2);
        inquest.witnessed(later, later);
        assert!(!inquest.lacks_witness());
        inquest.renew(later + Duration::from_secs(1));
        assert!(inquest.lacks_witness(), "nor is what went elsewhere");
        inquest.witnessed(later + Duration::from_secs(2), later);
        assert!(inquest.lacks_witness());
    }
}
