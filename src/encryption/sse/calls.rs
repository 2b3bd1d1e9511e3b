//! The calls that change a stream's encryption, of the last 24 hours. Pure: it is given the time.
//!
//! The service allows 25 in any 24 hours: at Firehose Start and Stop together, at Kinesis of each kind that
//! succeed. Every call is counted before it is made, whatever becomes of it: the service does not say whether
//! one that fails counts, and a process that is killed in the middle must not forget it. Times are of the
//! clock on the wall, since they outlive the process.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::observed::Place;

/// What the service allows in 24 hours. Source: the services' API references.
pub(super) const CALLS_PER_DAY: u32 = 25;

const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// Which call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum CallKind {
    Start,
    Stop,
}

impl CallKind {
    /// The name of the call where the records go into `place`.
    pub(super) const fn name(self, place: &Place) -> &'static str {
        match (place, self) {
            (Place::Kinesis { .. }, Self::Start) => "StartStreamEncryption",
            (Place::Kinesis { .. }, Self::Stop) => "StopStreamEncryption",
            (_, Self::Start) => "StartDeliveryStreamEncryption",
            (_, Self::Stop) => "StopDeliveryStreamEncryption",
        }
    }
}

/// The calls of one stream. See the module.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Calls(VecDeque<Call>);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Call {
    at_ms: u64,
    kind: CallKind,
    /// Made without a person asking.
    own: bool,
}

impl Calls {
    /// Counts a call that is about to be made. `own`: no person asked for it.
    pub(super) fn count(&mut self, kind: CallKind, own: bool, now_ms: u64) {
        self.forget(now_ms);
        // What the service would not have taken anyway is not kept without end.
        if self.0.len() >= CALLS_KEPT_MAX {
            self.0.pop_front();
        }
        self.0.push_back(Call { at_ms: now_ms, kind, own });
    }

    /// How many calls of this kind are left, as far as is known here.
    pub(super) fn left(&self, kind: CallKind, place: &Place, now_ms: u64) -> u32 {
        let is_separate = matches!(place, Place::Kinesis { .. });
        let made = self.recent(now_ms).filter(|call| !is_separate || call.kind == kind).count();
        CALLS_PER_DAY.saturating_sub(u32::try_from(made).unwrap_or(u32::MAX))
    }

    /// How many calls nobody asked for, and when the last and the first of them were made.
    pub(super) fn own(&self, now_ms: u64) -> Option<Own> {
        let own = self.recent(now_ms).filter(|call| call.own);
        own.fold(None, |sum, call| {
            let Own { count, first_ms, .. } =
                sum.unwrap_or(Own { count: 0, first_ms: call.at_ms, last_ms: call.at_ms });
            Some(Own { count: count + 1, first_ms, last_ms: call.at_ms })
        })
    }

    /// When the oldest call that counts is forgotten.
    pub(super) fn next_free_ms(&self, now_ms: u64) -> Option<u64> {
        self.recent(now_ms).map(|call| call.at_ms.saturating_add(DAY_MS)).next()
    }

    /// A call that lies in the future was made by a clock that was set back since: it counts.
    fn recent(&self, now_ms: u64) -> impl Iterator<Item = &Call> {
        self.0.iter().filter(move |call| call.at_ms.saturating_add(DAY_MS) > now_ms)
    }

    /// A call that lies more than a day in the future was made by a clock that was wrong: it counts from now on, and
    /// not until that day comes.
    pub(super) fn come_back(&mut self, now_ms: u64) {
        for call in &mut self.0 {
            if call.at_ms > now_ms.saturating_add(DAY_MS) {
                call.at_ms = now_ms;
            }
        }
    }

    fn forget(&mut self, now_ms: u64) {
        self.0.retain(|call| call.at_ms.saturating_add(DAY_MS) > now_ms);
    }
}

/// The calls that nobody asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Own {
    pub(super) count: u32,
    pub(super) first_ms: u64,
    pub(super) last_ms: u64,
}

/// The most calls that are kept: more than both kinds allow together.
const CALLS_KEPT_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn kinesis() -> Place {
        Place::Kinesis { id: "s".into(), record_bytes_max: 1 }
    }

    #[test]
    fn firehose_counts_both_calls_together_and_kinesis_each_kind_alone() {
        let mut calls = Calls::default();
        for n in 0..13 {
            calls.count(CallKind::Start, true, n);
        }
        for n in 13..25 {
            calls.count(CallKind::Stop, true, n);
        }
        assert_eq!(calls.left(CallKind::Start, &Place::Firehose, 25), 0);
        assert_eq!(calls.left(CallKind::Start, &kinesis(), 25), 12);
        assert_eq!(calls.left(CallKind::Stop, &kinesis(), 25), 13);
        assert_eq!(calls.next_free_ms(25), Some(DAY_MS));
        assert_eq!(calls.left(CallKind::Stop, &Place::Firehose, DAY_MS - 1), 0);
        assert_eq!(calls.left(CallKind::Stop, &Place::Firehose, DAY_MS), 1, "a rolling day");
        assert_eq!(calls.left(CallKind::Stop, &Place::Firehose, DAY_MS + 24), 25);
    }

    #[test]
    fn a_person_s_calls_are_told_apart_and_a_clock_set_back_forgives_nothing() {
        let mut calls = Calls::default();
        assert_eq!(calls.own(0), None);
        calls.count(CallKind::Start, true, 1_000);
        calls.count(CallKind::Stop, false, 2_000);
        calls.count(CallKind::Start, true, 3_000);
        assert_eq!(calls.own(3_000), Some(Own { count: 2, first_ms: 1_000, last_ms: 3_000 }));
        assert_eq!(calls.own(10).map(|own| own.count), Some(2));
        assert_eq!(calls.left(CallKind::Start, &Place::Firehose, 10), CALLS_PER_DAY - 3);
    }

    #[test]
    fn a_call_that_a_wrong_clock_put_into_another_year_does_not_count_until_then() {
        let mut calls = Calls::default();
        calls.count(CallKind::Start, true, 365 * DAY_MS);
        calls.count(CallKind::Stop, false, 365 * DAY_MS + 1);
        calls.come_back(1_000);
        assert_eq!(calls.own(1_000), Some(Own { count: 1, first_ms: 1_000, last_ms: 1_000 }));
        assert_eq!(calls.left(CallKind::Start, &Place::Firehose, 1_000), CALLS_PER_DAY - 2);
        assert_eq!(calls.left(CallKind::Start, &Place::Firehose, 1_000 + DAY_MS), CALLS_PER_DAY);
    }

    #[test]
    fn calls_survive_being_written_and_read_and_are_bounded() {
        let mut calls = Calls::default();
        (0..1_000).for_each(|n| calls.count(CallKind::Start, true, n));
        let text = serde_json::to_string(&calls).unwrap();
        let read: Calls = serde_json::from_str(&text).unwrap();
        assert_eq!(read, calls);
        assert_eq!(read.0.len(), CALLS_KEPT_MAX);
    }
}
