//! Which fault hits a request: pure, but for the sequence of random numbers that the seed fixes.

use std::collections::BTreeSet;
use std::time::Duration;

use http::StatusCode;
use memchr::memmem;

use super::faults::{Faults, Outage, PoisonScope};
use super::service::Service;
use super::sse::FailureType;
use super::wire::{INTERNAL_FAILURE, RATE_EXCEEDED, SLOW_DOWN, ServiceError};

/// Faults, and where they stand.
#[derive(Debug)]
pub(super) struct Injector {
    service: Service,
    faults: Faults,
    random: fastrand::Rng,
}

/// What happens to a request before its body is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HeadVerdict {
    Read,
    Reset,
}

/// What happens to a request once it is known what it asks for.
#[derive(Debug, Default)]
pub(super) struct Verdict {
    /// It waits this long first.
    pub(super) delay: Duration,
    pub(super) ending: Ending,
    /// The records that fail, by index, and what with.
    pub(super) failed: Option<FailedRecords>,
    /// The records are written and the connection is reset.
    pub(super) lose_answer: bool,
}

/// How a request ends.
#[derive(Debug, Default)]
pub(super) enum Ending {
    #[default]
    Serve,
    Refuse(ServiceError),
    Reset,
    Hang,
}

/// Records that fail by their index.
#[derive(Debug)]
pub(super) struct FailedRecords {
    pub(super) indexes: BTreeSet<usize>,
    pub(super) code: String,
    pub(super) message: String,
}

impl Injector {
    /// Faults of Firehose.
    pub(super) fn new(faults: Faults) -> Self {
        Self::of(Service::Firehose, faults)
    }

    /// Faults of a service.
    pub(super) fn of(service: Service, faults: Faults) -> Self {
        let random = fastrand::Rng::with_seed(faults.seed);
        Self { service, faults, random }
    }

    /// The faults as they stand: `fail_next` counts down.
    pub(super) fn faults(&self) -> &Faults {
        &self.faults
    }

    /// The failure that a change of encryption which begins now will end in. It is a hit.
    pub(super) fn sse_failure(&mut self) -> Option<FailureType> {
        let failure = self.faults.sse_failure.filter(|_| !self.is_spent());
        if failure.is_some() {
            self.count_hit();
        }
        failure
    }

    /// Judges a request by its head.
    pub(super) fn judge_head(&mut self, action: &str) -> HeadVerdict {
        if self.is_spent() {
            return HeadVerdict::Read;
        }
        let rate = self.faults.reset_before_rate;
        let reset = self.faults.outage == Some(Outage::Refuse)
            || (self.applies_to(action) && self.draw(rate));
        if reset {
            self.count_hit();
            return HeadVerdict::Reset;
        }
        HeadVerdict::Read
    }

    /// Judges a request by its action and its records.
    pub(super) fn judge<'r>(
        &mut self,
        action: &str,
        records: impl Iterator<Item = &'r [u8]>,
    ) -> Verdict {
        if self.is_spent() {
            return Verdict::default();
        }
        let applies = self.applies_to(action);
        let delay = if applies { self.draw_delay() } else { Duration::ZERO };
        let ending = match self.faults.outage {
            Some(Outage::Refuse) => Ending::Reset,
            Some(Outage::Unavailable) => Ending::Refuse(self.service.unavailable()),
            Some(Outage::Hang) => Ending::Hang,
            None if applies => self.draw_ending(),
            None => Ending::Serve,
        };
        let mut verdict = Verdict { delay, ending, ..Verdict::default() };
        if applies && matches!(verdict.ending, Ending::Serve) {
            self.judge_records(records, &mut verdict);
            verdict.lose_answer = self.draw(self.faults.lost_answer_rate);
        }
        let hit = !verdict.delay.is_zero()
            || verdict.lose_answer
            || verdict.failed.is_some()
            || !matches!(verdict.ending, Ending::Serve);
        if hit {
            self.count_hit();
        }
        verdict
    }

    fn judge_records<'r>(
        &mut self,
        records: impl Iterator<Item = &'r [u8]>,
        verdict: &mut Verdict,
    ) {
        let poison = self.faults.poison.as_deref().map(memmem::Finder::new);
        let mut failed = BTreeSet::new();
        let mut poisoned = BTreeSet::new();
        for (index, record) in records.enumerate() {
            if poison.as_ref().is_some_and(|poison| poison.find(record).is_some()) {
                poisoned.insert(index);
            }
            let named = self.faults.record_failure_indexes.contains(&index);
            let rate = self.faults.record_failure_rate;
            // The draw is taken for each record, so that the sequence does not hang on the names.
            if draw(&mut self.random, rate) || named {
                failed.insert(index);
            }
        }
        if let Some(first) = poisoned.first() {
            let code = self.faults.poison_code.clone();
            let message = format!("The record at index {first} contains what it must not");
            if self.faults.poison_scope == PoisonScope::Batch {
                verdict.ending = Ending::Refuse(ServiceError::of_code(code, None, message));
            } else {
                verdict.failed = Some(FailedRecords { indexes: poisoned, code, message });
            }
        } else if !failed.is_empty() {
            let code = self.faults.record_failure_code.clone();
            let message = message_of(&code).to_owned();
            verdict.failed = Some(FailedRecords { indexes: failed, code, message });
        }
    }

    fn draw_ending(&mut self) -> Ending {
        if self.draw(self.faults.reset_after_rate) {
            return Ending::Reset;
        }
        if let Some(code) = self.faults.error_code.clone()
            && self.draw(self.faults.error_rate)
        {
            let status = self.faults.error_status.and_then(|s| StatusCode::from_u16(s).ok());
            let message = self.faults.error_message.clone();
            let message = message.unwrap_or_else(|| message_of(&code).to_owned());
            return Ending::Refuse(ServiceError::of_code(code, status, message));
        }
        if self.only_counts() || self.draw(self.faults.throttle_rate) {
            return Ending::Refuse(self.service.throttled());
        }
        Ending::Serve
    }

    fn draw_delay(&mut self) -> Duration {
        let jitter_ms = match self.faults.latency_jitter_ms {
            0 => 0,
            most => self.random.u64(0..=most),
        };
        Duration::from_millis(self.faults.latency_ms.saturating_add(jitter_ms))
    }

    fn draw(&mut self, rate: f64) -> bool {
        draw(&mut self.random, rate)
    }

    /// `fail_next` without any other fault.
    fn only_counts(&self) -> bool {
        self.faults.fail_next.is_some()
            && Faults { fail_next: None, ..self.faults.clone() }.is_none()
    }

    fn applies_to(&self, action: &str) -> bool {
        if self.faults.actions.is_empty() {
            self.service.usual_actions().contains(&action)
        } else {
            self.faults.actions.iter().any(|hit| hit == action)
        }
    }

    fn is_spent(&self) -> bool {
        self.faults.fail_next == Some(0)
    }

    fn count_hit(&mut self) {
        if let Some(left) = self.faults.fail_next.as_mut() {
            *left = left.saturating_sub(1);
        }
    }
}

/// A rate of nothing draws nothing, so that a fault that is off does not move the sequence.
fn draw(random: &mut fastrand::Rng, rate: f64) -> bool {
    rate > 0.0 && random.f64() < rate
}

/// What the service says with this code.
fn message_of(code: &str) -> &'static str {
    match code {
        "ServiceUnavailableException" => SLOW_DOWN,
        "InternalFailure" | "InternalFailureException" => INTERNAL_FAILURE,
        "ProvisionedThroughputExceededException" => RATE_EXCEEDED,
        "ExpiredTokenException" => "The security token included in the request is expired",
        "UnrecognizedClientException" => "The security token included in the request is invalid.",
        "InvalidKMSResourceException" => {
            "The grant for the CMK to this delivery stream might have been revoked or caller might \
             not have sufficient permissions for the CMK."
        }
        _ => "The emulator was told to answer this.",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::embedded::faults::parse_faults;

    fn injector(faults: &str) -> Injector {
        Injector::new(parse_faults(faults).unwrap())
    }

    fn judge(injector: &mut Injector, records: &[&str]) -> Verdict {
        injector.judge("PutRecordBatch", records.iter().map(|r| r.as_bytes()))
    }

    fn failed(verdict: &Verdict) -> Vec<usize> {
        verdict.failed.iter().flat_map(|failed| failed.indexes.iter().copied()).collect()
    }

    fn refusal(verdict: &Verdict) -> Option<&str> {
        match &verdict.ending {
            Ending::Refuse(error) => Some(error.code()),
            _ => None,
        }
    }

    #[test]
    fn no_faults_leave_a_request_alone() {
        let verdict = judge(&mut injector(""), &["a"]);
        assert!(matches!(verdict.ending, Ending::Serve));
        assert!(verdict.failed.is_none() && !verdict.lose_answer && verdict.delay.is_zero());
    }

    #[test]
    fn the_same_seed_meets_the_same_requests_with_the_same_faults() {
        let rates = "seed=7,record_failure_rate=0.3,lost_answer_rate=0.2,latency_jitter_ms=9";
        let run = || {
            let mut injector = injector(rates);
            let verdicts: Vec<_> = (0..50).map(|_| judge(&mut injector, &["r"; 20])).collect();
            verdicts.iter().map(|v| (failed(v), v.lose_answer, v.delay)).collect::<Vec<_>>()
        };
        let first = run();
        assert_eq!(first, run());
        let records: usize = first.iter().map(|(failed, ..)| failed.len()).sum();
        assert!((200..400).contains(&records), "{records} of 1000 at a rate of 0.3");
    }

    #[test]
    fn faults_are_spent_after_the_next_so_many_hits() {
        let mut only = injector("fail_next=2");
        assert_eq!(refusal(&judge(&mut only, &["a"])), Some("ServiceUnavailableException"));
        // What is not hit does not count.
        assert_eq!(refusal(&only.judge("ListDeliveryStreams", std::iter::empty())), None);
        assert_eq!(refusal(&judge(&mut only, &["a"])), Some("ServiceUnavailableException"));
        assert_eq!(refusal(&judge(&mut only, &["a"])), None);
        assert_eq!(only.faults().fail_next, Some(0));

        let mut lost = injector("fail_next=1,lost_answer_rate=1");
        assert!(judge(&mut lost, &["a"]).lose_answer);
        assert!(!judge(&mut lost, &["a"]).lose_answer);
    }

    #[test]
    fn the_named_indexes_fail_and_no_others() {
        let mut injector =
            injector("record_failure_indexes=[0,2,9],record_failure_code=InternalFailure");
        let verdict = judge(&mut injector, &["a", "b", "c"]);
        assert_eq!(failed(&verdict), [0, 2]);
        let failed = verdict.failed.unwrap();
        assert_eq!(
            (failed.code.as_str(), failed.message.as_str()),
            ("InternalFailure", INTERNAL_FAILURE)
        );
    }

    #[test]
    fn poison_takes_the_batch_or_only_its_record() {
        let records = ["fine", "it is BAD here", "fine"];
        let mut batch = injector("poison=BAD,poison_code=ValidationException");
        assert_eq!(refusal(&judge(&mut batch, &records)), Some("ValidationException"));
        assert_eq!(refusal(&judge(&mut batch, &["fine"])), None);
        let mut record = injector("poison=BAD,poison_scope=record");
        let verdict = judge(&mut record, &records);
        assert_eq!((refusal(&verdict), failed(&verdict)), (None, vec![1]));
    }

    #[test]
    fn an_outage_hits_every_action_and_other_faults_only_those_named() {
        let mut outage = injector("outage=unavailable");
        let list = outage.judge("ListDeliveryStreams", std::iter::empty());
        assert_eq!(refusal(&list), Some("ServiceUnavailableException"));
        assert_eq!(injector("outage=refuse").judge_head("PutRecord"), HeadVerdict::Reset);
        let mut named =
            injector("actions=[\"DescribeDeliveryStream\"],error_code=AccessDeniedException");
        assert_eq!(refusal(&judge(&mut named, &["a"])), None);
        let described = named.judge("DescribeDeliveryStream", std::iter::empty());
        assert_eq!(refusal(&described), Some("AccessDeniedException"));
    }

    #[test]
    fn a_change_of_encryption_fails_as_often_as_it_was_asked_for() {
        let mut injector = injector("sse_failure=KMS_ACCESS_DENIED,fail_next=1");
        // A put is no change of encryption and is left alone.
        assert!(matches!(judge(&mut injector, &["a"]).ending, Ending::Serve));
        assert_eq!(injector.sse_failure(), Some(FailureType::KmsAccessDenied));
        assert_eq!(injector.sse_failure(), None);
    }
}
