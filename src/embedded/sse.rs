//! The server-side encryption (SSE) of one stream: a pure state machine that is given `now`.
//!
//! ```text
//! (absent) ──start──► ENABLING ──┬──► ENABLED ─────start (another key)──► ENABLING
//!                                └──► ENABLING_FAILED ──start──► ENABLING
//! ENABLED ──stop──► DISABLING ──┬──► DISABLED ──start──► ENABLING
//!                               └──► DISABLING_FAILED
//! ```
//!
//! `ENABLING` from plain is not encrypted, and for the settle time after `ENABLED` records may not be
//! yet: the emulator says that they are not. A key change keeps the old key until the new one is
//! there; when it fails the old key stays in force (source: the service's API reference; that the
//! old key encrypts meanwhile follows from it). While `DISABLING`, and for the settle time after
//! `DISABLED`, records are still encrypted. Absent means disabled.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How long the changes of stream encryption take, and how many there may be in a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SseTiming {
    /// From a call to `ENABLED` or `DISABLED`.
    pub transition: Duration,
    /// From `ENABLED` until every record is encrypted, and from `DISABLED` until none is.
    pub settle: Duration,
    /// Start and Stop calls together in any 24 hours.
    pub calls_per_day_max: usize,
}

impl Default for SseTiming {
    fn default() -> Self {
        Self {
            transition: Duration::from_secs(2),
            settle: Duration::from_secs(5),
            calls_per_day_max: 25,
        }
    }
}

/// The status of a stream's encryption, as Describe shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(super) enum Status {
    Enabling,
    Enabled,
    EnablingFailed,
    Disabling,
    Disabled,
    DisablingFailed,
}

/// Why a change of encryption failed, as Describe shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[expect(missing_docs, reason = "the names are the service's own and it says no more of them")]
pub enum FailureType {
    RetireKmsGrantFailed,
    CreateKmsGrantFailed,
    KmsAccessDenied,
    DisabledKmsKey,
    InvalidKmsKey,
    KmsKeyNotFound,
    KmsOptInRequired,
    UnknownError,
}

/// Whose key encrypts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum KeyType {
    #[serde(rename = "AWS_OWNED_CMK")]
    AwsOwned,
    #[serde(rename = "CUSTOMER_MANAGED_CMK")]
    CustomerManaged,
}

/// The key that encrypts a stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Key {
    pub(super) key_type: KeyType,
    pub(super) key_arn: Option<String>,
}

/// What Describe shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Shown {
    pub(super) status: Status,
    pub(super) key: Option<Key>,
    pub(super) failure: Option<FailureType>,
}

/// How calls are counted against the limit of 24 hours.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Budget {
    /// Starts and Stops together, refused ones too: a delivery stream.
    #[default]
    Together,
    /// Starts and Stops each for themselves, and only those that were taken: a data stream.
    Apart,
}

/// Which of the two calls it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Call {
    Start,
    Stop,
}

/// Why a call is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// A change is under way.
    InTransition,
    /// The calls of the last 24 hours are used up.
    TooManyCalls,
}

/// The encryption of one stream. Times are milliseconds since the Unix epoch, since the state
/// outlives the process.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Sse {
    status: Option<Status>,
    /// The key that Describe names.
    key: Option<Key>,
    /// The key that encrypts, and since when.
    active: Option<Active>,
    /// Encryption has ended, but records are encrypted up to here.
    lingers_until_ms: Option<u64>,
    change: Option<Change>,
    failure: Option<FailureType>,
    /// The calls of the last 24 hours, or the Starts alone where they are counted apart.
    calls_ms: VecDeque<u64>,
    /// The Stops of the last 24 hours where they are counted apart.
    #[serde(default)]
    stops_ms: VecDeque<u64>,
    #[serde(default)]
    budget: Budget,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Active {
    key: Key,
    from_ms: u64,
}

/// A change under way. How it ends is settled when it begins.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Change {
    /// The key that is being enabled, or none when encryption ends.
    to: Option<Key>,
    due_ms: u64,
    settle_ms: u64,
    failure: Option<FailureType>,
}

impl Sse {
    /// A stream that was never encrypted and whose calls are counted so.
    pub(super) fn counted(budget: Budget) -> Self {
        Self { budget, ..Self::default() }
    }

    /// Begins to encrypt under this key. With `failure` the change will end in `ENABLING_FAILED`.
    pub(super) fn start(
        &mut self,
        key: Key,
        failure: Option<FailureType>,
        timing: &SseTiming,
        now_ms: u64,
    ) -> Result<(), Refusal> {
        self.admit(Call::Start, timing, now_ms)?;
        self.enable(key, failure, timing, now_ms);
        Ok(())
    }

    /// The same for a stream that is created encrypted: it costs no call.
    pub(super) fn enable(
        &mut self,
        key: Key,
        failure: Option<FailureType>,
        timing: &SseTiming,
        now_ms: u64,
    ) {
        self.status = Some(Status::Enabling);
        self.key = Some(key.clone());
        self.begin(Some(key), failure, timing, now_ms);
    }

    /// Begins to stop encrypting. With `failure` the change will end in `DISABLING_FAILED`.
    pub(super) fn stop(
        &mut self,
        failure: Option<FailureType>,
        timing: &SseTiming,
        now_ms: u64,
    ) -> Result<(), Refusal> {
        self.admit(Call::Stop, timing, now_ms)?;
        self.status = Some(Status::Disabling);
        self.begin(None, failure, timing, now_ms);
        Ok(())
    }

    /// What Describe shows; `None` when encryption was never asked for.
    pub(super) fn shown(&mut self, now_ms: u64) -> Option<Shown> {
        self.advance(now_ms);
        let status = self.status?;
        Some(Shown { status, key: self.key.clone(), failure: self.failure })
    }

    /// The `Encrypted` flag of a put at this moment.
    pub(super) fn encrypts(&mut self, now_ms: u64) -> bool {
        self.advance(now_ms);
        let active = self.active.as_ref().is_some_and(|active| active.from_ms <= now_ms);
        active || self.lingers_until_ms.is_some_and(|until| now_ms < until)
    }

    /// Sets what is, at once and without a call: somebody else has changed it. What was under way is off.
    pub(super) fn force(&mut self, to: Option<Key>, now_ms: u64) {
        self.change = None;
        self.failure = None;
        self.lingers_until_ms = None;
        self.status = Some(if to.is_some() { Status::Enabled } else { Status::Disabled });
        self.active = to.clone().map(|key| Active { key, from_ms: now_ms });
        self.key = to;
    }

    /// The key that is in force, whether everything is settled or not.
    pub(super) fn in_force(&mut self, now_ms: u64) -> Option<&Key> {
        self.advance(now_ms);
        self.active.as_ref().map(|active| &active.key)
    }

    /// Whether a change is under way.
    pub(super) fn is_changing(&mut self, now_ms: u64) -> bool {
        self.advance(now_ms);
        self.change.is_some()
    }

    /// How many calls of this kind count against the limit now.
    pub(super) fn calls(&mut self, call: Call, now_ms: u64) -> usize {
        let calls = self.calls_of(call);
        while calls.front().is_some_and(|call| call.saturating_add(DAY_MS) <= now_ms) {
            calls.pop_front();
        }
        calls.len()
    }

    /// Lets so many calls of this kind have been made just now, and no others.
    pub(super) fn set_calls(&mut self, call: Call, count: usize, now_ms: u64) {
        *self.calls_of(call) = std::iter::repeat_n(now_ms, count).collect();
    }

    fn calls_of(&mut self, call: Call) -> &mut VecDeque<u64> {
        match (self.budget, call) {
            (Budget::Apart, Call::Stop) => &mut self.stops_ms,
            (Budget::Apart, Call::Start) | (Budget::Together, _) => &mut self.calls_ms,
        }
    }

    /// A delivery stream's calls are counted whether they are then refused or not: the service does
    /// not say, and this is the stricter reading. A call over the limit is not, or a caller that goes
    /// on asking would never get out. Of a data stream only what is taken counts (source: its guide).
    fn admit(&mut self, call: Call, timing: &SseTiming, now_ms: u64) -> Result<(), Refusal> {
        self.advance(now_ms);
        if self.budget == Budget::Apart && self.change.is_some() {
            return Err(Refusal::InTransition);
        }
        if self.calls(call, now_ms) >= timing.calls_per_day_max {
            return Err(Refusal::TooManyCalls);
        }
        self.calls_of(call).push_back(now_ms);
        if self.change.is_some() { Err(Refusal::InTransition) } else { Ok(()) }
    }

    fn begin(
        &mut self,
        to: Option<Key>,
        failure: Option<FailureType>,
        timing: &SseTiming,
        now_ms: u64,
    ) {
        self.failure = None;
        self.change = Some(Change {
            to,
            due_ms: now_ms.saturating_add(millis(timing.transition)),
            settle_ms: millis(timing.settle),
            failure,
        });
    }

    /// Ends the change under way when it is due.
    fn advance(&mut self, now_ms: u64) {
        let Some(change) = self.change.take_if(|change| change.due_ms <= now_ms) else { return };
        let settled_ms = change.due_ms.saturating_add(change.settle_ms);
        match (change.to, change.failure) {
            (Some(key), None) => {
                self.status = Some(Status::Enabled);
                // A key change has no gap: the old key encrypted all the while.
                let from_ms = self.active.take().map_or(settled_ms, |old| old.from_ms);
                self.active = Some(Active { key, from_ms });
            }
            (Some(attempted), Some(failure)) => {
                self.status = Some(Status::EnablingFailed);
                self.failure = Some(failure);
                let kept = self.active.as_ref().map(|active| active.key.clone());
                self.key = Some(kept.unwrap_or(attempted));
            }
            (None, None) => {
                self.status = Some(Status::Disabled);
                self.key = None;
                let ended = self.active.take().filter(|active| active.from_ms <= change.due_ms);
                self.lingers_until_ms = ended.map(|_| settled_ms);
            }
            (None, Some(failure)) => {
                self.status = Some(Status::DisablingFailed);
                self.failure = Some(failure);
            }
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

const DAY_MS: u64 = 24 * 60 * 60 * 1000;

#[cfg(test)]
mod tests {
    use super::*;

    const TIMING: SseTiming = SseTiming {
        transition: Duration::from_secs(10),
        settle: Duration::from_secs(5),
        calls_per_day_max: 25,
    };

    fn owned() -> Key {
        Key { key_type: KeyType::AwsOwned, key_arn: None }
    }

    fn customer(n: u8) -> Key {
        let key_arn = Some(format!("arn:aws:kms:us-east-1:000000000000:key/{n}"));
        Key { key_type: KeyType::CustomerManaged, key_arn }
    }

    fn status(sse: &mut Sse, now_ms: u64) -> Status {
        sse.shown(now_ms).unwrap().status
    }

    /// Enabled and settled long ago.
    fn encrypted() -> Sse {
        let mut sse = Sse::default();
        sse.start(customer(1), None, &TIMING, 0).unwrap();
        assert!(sse.encrypts(15_000));
        sse
    }

    #[test]
    fn absent_means_disabled() {
        let mut sse = Sse::default();
        assert_eq!(sse.shown(1), None);
        assert!(!sse.encrypts(1));
    }

    #[test]
    fn enabling_is_not_encrypted_and_enabled_is_only_after_the_settle_time() {
        let mut sse = Sse::default();
        sse.start(owned(), None, &TIMING, 1_000).unwrap();
        assert_eq!(status(&mut sse, 10_999), Status::Enabling);
        assert!(!sse.encrypts(10_999));
        assert_eq!(status(&mut sse, 11_000), Status::Enabled);
        assert!(!sse.encrypts(15_999));
        assert!(sse.encrypts(16_000));
    }

    #[test]
    fn disabling_is_encrypted_and_disabled_is_until_the_settle_time_is_over() {
        let mut sse = encrypted();
        sse.stop(None, &TIMING, 20_000).unwrap();
        assert_eq!(status(&mut sse, 29_999), Status::Disabling);
        assert!(sse.encrypts(29_999));
        let shown = sse.shown(30_000).unwrap();
        assert_eq!((shown.status, shown.key), (Status::Disabled, None));
        assert!(sse.encrypts(34_999));
        assert!(!sse.encrypts(35_000));
    }

    #[test]
    fn what_never_settled_does_not_linger() {
        let quick = SseTiming { transition: Duration::ZERO, ..TIMING };
        let mut sse = Sse::default();
        sse.start(owned(), None, &quick, 1_000).unwrap();
        sse.stop(None, &quick, 2_000).unwrap();
        assert!(!sse.encrypts(2_001));
    }

    #[test]
    fn a_key_change_has_no_gap() {
        let mut sse = encrypted();
        sse.start(customer(2), None, &TIMING, 20_000).unwrap();
        assert!(sse.encrypts(20_001) && sse.encrypts(30_000) && sse.encrypts(36_000));
        assert_eq!(sse.shown(30_000).unwrap().key, Some(customer(2)));
    }

    #[test]
    fn a_failed_key_change_stays_encrypted_under_the_old_key() {
        let mut sse = encrypted();
        sse.start(customer(2), Some(FailureType::KmsAccessDenied), &TIMING, 20_000).unwrap();
        let shown = sse.shown(30_000).unwrap();
        assert_eq!(shown.status, Status::EnablingFailed);
        assert_eq!(shown.key, Some(customer(1)));
        assert_eq!(shown.failure, Some(FailureType::KmsAccessDenied));
        assert!(sse.encrypts(60_000));
        // It may be tried again at once, with a key that works.
        sse.start(customer(3), None, &TIMING, 60_000).unwrap();
        let shown = sse.shown(70_000).unwrap();
        assert_eq!((shown.status, shown.failure), (Status::Enabled, None));
    }

    #[test]
    fn a_failed_first_start_leaves_the_stream_plain() {
        let mut sse = Sse::default();
        sse.start(customer(1), Some(FailureType::KmsKeyNotFound), &TIMING, 0).unwrap();
        assert_eq!(status(&mut sse, 10_000), Status::EnablingFailed);
        assert!(!sse.encrypts(60_000));
    }

    #[test]
    fn a_failed_stop_stays_encrypted() {
        let mut sse = encrypted();
        sse.stop(Some(FailureType::RetireKmsGrantFailed), &TIMING, 20_000).unwrap();
        assert_eq!(status(&mut sse, 30_000), Status::DisablingFailed);
        assert!(sse.encrypts(60_000));
    }

    #[test]
    fn a_change_under_way_refuses_another() {
        let mut sse = Sse::default();
        sse.start(owned(), None, &TIMING, 0).unwrap();
        assert_eq!(sse.start(owned(), None, &TIMING, 1), Err(Refusal::InTransition));
        assert_eq!(sse.stop(None, &TIMING, 9_999), Err(Refusal::InTransition));
        assert_eq!(sse.stop(None, &TIMING, 10_000), Ok(()));
    }

    #[test]
    fn twenty_five_calls_in_a_rolling_day_are_all_there_are() {
        let mut sse = Sse::default();
        for call in 0..25_u64 {
            let now_ms = call * 60_000;
            let done = if call % 2 == 0 {
                sse.start(owned(), None, &TIMING, now_ms)
            } else {
                sse.stop(None, &TIMING, now_ms)
            };
            assert_eq!(done, Ok(()), "call {call}");
        }
        assert_eq!(sse.stop(None, &TIMING, DAY_MS - 1), Err(Refusal::TooManyCalls));
        assert_eq!(sse.stop(None, &TIMING, DAY_MS), Ok(()));
        assert_eq!(sse.start(owned(), None, &TIMING, DAY_MS + 20_000), Err(Refusal::TooManyCalls));
        assert_eq!(sse.start(owned(), None, &TIMING, DAY_MS + 60_000), Ok(()));
    }

    #[test]
    fn starts_and_stops_of_a_data_stream_have_budgets_of_their_own_and_refusals_cost_nothing() {
        let one = SseTiming { calls_per_day_max: 1, ..TIMING };
        let mut sse = Sse::counted(Budget::Apart);
        sse.start(owned(), None, &one, 0).unwrap();
        assert_eq!(sse.stop(None, &one, 1), Err(Refusal::InTransition));
        assert_eq!((sse.calls(Call::Start, 1), sse.calls(Call::Stop, 1)), (1, 0));
        sse.stop(None, &one, 20_000).unwrap();
        assert_eq!(sse.start(owned(), None, &one, 40_000), Err(Refusal::TooManyCalls));
        assert_eq!(sse.stop(None, &one, 40_000), Err(Refusal::TooManyCalls));
        sse.start(owned(), None, &one, DAY_MS).unwrap();
    }

    #[test]
    fn what_is_forced_holds_at_once_and_costs_no_call() {
        let mut sse = encrypted();
        sse.force(None, 20_000);
        assert_eq!((status(&mut sse, 20_000), sse.encrypts(20_000)), (Status::Disabled, false));
        sse.start(owned(), None, &TIMING, 20_001).unwrap();
        sse.force(Some(customer(2)), 20_002);
        assert_eq!((status(&mut sse, 20_002), sse.encrypts(20_002)), (Status::Enabled, true));
        assert_eq!(sse.in_force(20_002), Some(&customer(2)));
        assert!(!sse.is_changing(20_002));
        assert_eq!(sse.calls(Call::Start, 20_002), 2);
        sse.set_calls(Call::Start, 25, 20_003);
        assert_eq!(sse.stop(None, &TIMING, 20_003), Err(Refusal::TooManyCalls));
    }

    #[test]
    fn the_state_outlives_the_process() {
        let mut sse = Sse::default();
        sse.start(customer(1), None, &TIMING, 0).unwrap();
        let text = serde_json::to_string(&sse).unwrap();
        let mut again: Sse = serde_json::from_str(&text).unwrap();
        assert_eq!(status(&mut again, 10_000), Status::Enabled);
        assert!(again.encrypts(15_000));
    }
}
