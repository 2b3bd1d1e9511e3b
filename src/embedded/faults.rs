//! The faults that can be asked for: what they are called, what they mean, what is refused.
//!
//! The same fields stand in JSON (`PUT /emulator/faults`), in [`Config`](super::Config) and, as
//! `name=value`, on a command line. Whether a request is hit is decided in `injector.rs`.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::service::Service;
use super::sse::FailureType;

/// Everything that can go wrong on purpose. The default is that nothing does.
///
/// Rates are probabilities from 0 to 1. The faults hit `PutRecord` and `PutRecordBatch` unless
/// `actions` says otherwise; an outage hits every action. Kinesis and KMS have faults of their own, which
/// hit `PutRecord` and `PutRecords`, and `GenerateDataKey` and `Decrypt`; at KMS those of records and
/// streams mean nothing. What hits is decided by a random sequence that the seed fixes, so that the same
/// requests in the same order meet the same faults.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Faults {
    /// Where the random sequence begins.
    pub seed: u64,
    /// The faults hit this many requests and are then spent; `None` means that they go on. Without
    /// any other fault it means `throttle_rate = 1`.
    pub fail_next: Option<u64>,
    /// The actions that are hit, by name. Empty means the two of the data plane.
    pub actions: Vec<String>,
    /// Requests that are refused as a whole with `ServiceUnavailableException` "Slow down.", at Kinesis with
    /// `ProvisionedThroughputExceededException`, at KMS with `ThrottlingException`.
    pub throttle_rate: f64,
    /// Refuse requests with this code, whichever it is (`ExpiredTokenException`, …).
    pub error_code: Option<String>,
    /// The message to `error_code`.
    pub error_message: Option<String>,
    /// The HTTP status to `error_code`; it follows from the code when it is not given.
    pub error_status: Option<u16>,
    /// The rate of `error_code`: all, unless this says otherwise.
    pub error_rate: f64,
    /// Records that fail by their index while the others of the request are accepted. A `PutRecord`
    /// whose record fails is refused as a whole.
    pub record_failure_rate: f64,
    /// The very indexes that fail, counted from 0.
    pub record_failure_indexes: Vec<usize>,
    /// The code of a failed record. At Kinesis it is `ProvisionedThroughputExceededException` unless another
    /// is given.
    pub record_failure_code: String,
    /// Every answer waits this long; nothing is written before.
    pub latency_ms: u64,
    /// And up to this much longer.
    pub latency_jitter_ms: u64,
    /// Connections that are reset (TCP RST) before the body is read. For all streams only.
    pub reset_before_rate: f64,
    /// Connections that are reset after the body is read and before anything is written.
    pub reset_after_rate: f64,
    /// Connections that are reset after the records are written: accepted, and never answered.
    pub lost_answer_rate: f64,
    /// The service is away.
    pub outage: Option<Outage>,
    /// Records that contain this text are at fault.
    pub poison: Option<String>,
    /// The code that poison is refused with.
    pub poison_code: String,
    /// What poison takes down with it.
    pub poison_scope: PoisonScope,
    /// Changes of stream encryption that begin now end in failure, of this type. Kinesis shows no type: its
    /// stream is as it was before.
    pub sse_failure: Option<FailureType>,
}

/// How the service is away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outage {
    /// Connections are reset as soon as a request comes. For all streams only.
    Refuse,
    /// Every request is answered 503.
    Unavailable,
    /// No request is answered at all, until the client gives up.
    Hang,
}

/// What a poisoned record takes down with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PoisonScope {
    /// The whole request is refused, as the service does with a record that is too large.
    Batch,
    /// The record alone fails, by its index.
    Record,
}

impl Default for Faults {
    fn default() -> Self {
        Self {
            seed: 0,
            fail_next: None,
            actions: Vec::new(),
            throttle_rate: 0.0,
            error_code: None,
            error_message: None,
            error_status: None,
            error_rate: 1.0,
            record_failure_rate: 0.0,
            record_failure_indexes: Vec::new(),
            record_failure_code: String::from("ServiceUnavailableException"),
            latency_ms: 0,
            latency_jitter_ms: 0,
            reset_before_rate: 0.0,
            reset_after_rate: 0.0,
            lost_answer_rate: 0.0,
            outage: None,
            poison: None,
            poison_code: String::from("InvalidArgumentException"),
            poison_scope: PoisonScope::Batch,
            sse_failure: None,
        }
    }
}

/// What is wrong with a description of faults.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadFault(String);

impl fmt::Display for BadFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BadFault {}

impl Faults {
    /// Reads faults from JSON and checks them. A field that does not exist is an error.
    pub(super) fn from_json(json: &[u8]) -> Result<Self, BadFault> {
        Self::parse(json)?.checked()
    }

    /// The same for faults of KMS.
    pub(super) fn kms_from_json(json: &[u8]) -> Result<Self, BadFault> {
        Self::parse(json)?.checked_for_kms()
    }

    /// The same for faults of data streams.
    pub(super) fn kinesis_from_json(json: &[u8]) -> Result<Self, BadFault> {
        Self::parse(json)?.checked_for_kinesis()
    }

    fn parse(json: &[u8]) -> Result<Self, BadFault> {
        serde_json::from_slice(json).map_err(|error| BadFault(error.to_string()))
    }

    /// Whether nothing is asked for.
    #[must_use]
    pub fn is_none(&self) -> bool {
        let idle = Self { seed: self.seed, actions: self.actions.clone(), ..Self::default() };
        *self == idle
    }

    /// Refuses what makes no sense for KMS.
    pub(super) fn checked_for_kms(self) -> Result<Self, BadFault> {
        let none = Self::default();
        let is_of_firehose = self.record_failure_rate > 0.0
            || !self.record_failure_indexes.is_empty()
            || self.record_failure_code != none.record_failure_code
            || self.poison.is_some()
            || self.sse_failure.is_some();
        if is_of_firehose {
            let message = "KMS has no records and no streams: record_failure_*, poison and \
                           sse_failure belong to Firehose";
            return Err(BadFault(String::from(message)));
        }
        self.checked_for(Service::Kms)
    }

    /// Refuses what makes no sense for Kinesis, whose records fail with a code of their own.
    pub(super) fn checked_for_kinesis(self) -> Result<Self, BadFault> {
        let mut checked = self.checked_for(Service::Kinesis)?;
        if checked.record_failure_code == Self::default().record_failure_code {
            checked.record_failure_code = String::from("ProvisionedThroughputExceededException");
        }
        Ok(checked)
    }

    /// Refuses what makes no sense for Firehose.
    pub(super) fn checked(self) -> Result<Self, BadFault> {
        self.checked_for(Service::Firehose)
    }

    fn checked_for(self, service: Service) -> Result<Self, BadFault> {
        for (name, rate) in [
            ("throttle_rate", self.throttle_rate),
            ("error_rate", self.error_rate),
            ("record_failure_rate", self.record_failure_rate),
            ("reset_before_rate", self.reset_before_rate),
            ("reset_after_rate", self.reset_after_rate),
            ("lost_answer_rate", self.lost_answer_rate),
        ] {
            if !(0.0..=1.0).contains(&rate) {
                return Err(BadFault(format!("{name} is {rate}, it has to be from 0 to 1")));
            }
        }
        if self.latency_ms.saturating_add(self.latency_jitter_ms) > LATENCY_MS_MAX {
            return Err(BadFault(format!("a latency is at most {LATENCY_MS_MAX} ms")));
        }
        let actions = service.actions();
        if let Some(action) = self.actions.iter().find(|a| !actions.contains(&a.as_str())) {
            let known = actions.join(", ");
            return Err(BadFault(format!("{action:?} is no action; there are {known}")));
        }
        if self.error_status.is_some_and(|status| !(400..=599).contains(&status)) {
            return Err(BadFault(String::from("error_status has to be from 400 to 599")));
        }
        if self.poison.as_deref() == Some("") {
            return Err(BadFault(String::from("poison is empty, every record would be poisoned")));
        }
        let empty = |code: Option<&String>| code.is_some_and(String::is_empty);
        if empty(Some(&self.record_failure_code))
            || empty(Some(&self.poison_code))
            || empty(self.error_code.as_ref())
        {
            return Err(BadFault(String::from("a code must not be empty")));
        }
        Ok(self)
    }

    /// Refuses what cannot be done for one stream alone: the stream is named in the body.
    pub(super) fn checked_for_one_stream(self) -> Result<Self, BadFault> {
        self.acts_on_one_stream()?.checked()
    }

    /// Refuses what acts before the stream is known.
    pub(super) fn acts_on_one_stream(self) -> Result<Self, BadFault> {
        if self.reset_before_rate > 0.0 || self.outage == Some(Outage::Refuse) {
            return Err(BadFault(String::from(
                "reset_before_rate and outage \"refuse\" act before the stream is known, \
                 so they cannot be set for one stream",
            )));
        }
        Ok(self)
    }
}

/// Reads faults as they stand on a command line: `throttle_rate=0.1,latency_ms=50`.
///
/// A value is what it would be in JSON, or else a text: `outage=refuse`,
/// `record_failure_indexes=[0,3]`.
///
/// # Errors
///
/// A part without `=`, a field that does not exist or is named twice, a value that does not fit.
pub fn parse_faults(text: &str) -> Result<Faults, BadFault> {
    let mut fields = Map::new();
    for part in split_outside_brackets(text) {
        let (name, value) = part
            .split_once('=')
            .ok_or_else(|| BadFault(format!("{part:?} is not of the form name=value")))?;
        let value = match serde_json::from_str(value.trim()) {
            Ok(value) => value,
            Err(_) => Value::from(value.trim()),
        };
        if fields.insert(name.trim().to_owned(), value).is_some() {
            return Err(BadFault(format!("{:?} is given twice", name.trim())));
        }
    }
    serde_json::from_value::<Faults>(Value::Object(fields))
        .map_err(|e| BadFault(e.to_string()))?
        .checked()
}

/// The parts between commas, but for commas within brackets or quotes.
fn split_outside_brackets(text: &str) -> Vec<&str> {
    let mut depth = 0_u32;
    let mut quoted = false;
    text.split(|c| {
        match c {
            '"' => quoted = !quoted,
            '[' if !quoted => depth = depth.saturating_add(1),
            ']' if !quoted => depth = depth.saturating_sub(1),
            _ => {}
        }
        c == ',' && depth == 0 && !quoted
    })
    .map(str::trim)
    .filter(|part| !part.is_empty())
    .collect()
}

/// The longest latency that can be asked for: ten minutes.
const LATENCY_MS_MAX: u64 = 600_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        parse_faults(text).unwrap_err().to_string()
    }

    #[test]
    fn a_command_line_says_the_same_as_json() {
        let line = "throttle_rate=0.1, outage=hang,record_failure_indexes=[0,3],\
                    error_code=ExpiredTokenException,sse_failure=KMS_ACCESS_DENIED,fail_next=2";
        let json = br#"{"throttle_rate":0.1,"outage":"hang","record_failure_indexes":[0,3],
            "error_code":"ExpiredTokenException","sse_failure":"KMS_ACCESS_DENIED","fail_next":2}"#;
        assert_eq!(parse_faults(line).unwrap(), Faults::from_json(json).unwrap());
        assert!(parse_faults("").unwrap().is_none());
        assert!(!parse_faults("latency_ms=1").unwrap().is_none());
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_its_name() {
        assert!(refused("throtle_rate=1").contains("unknown field `throtle_rate`"));
        assert!(refused("throttle_rate=1.5").contains("throttle_rate is 1.5"));
        assert!(refused("throttle_rate=-1").contains("throttle_rate is -1"));
        assert!(refused("throttle_rate").contains("name=value"));
        assert!(refused("latency_ms=1,latency_ms=2").contains("twice"));
        assert!(refused("latency_ms=999999999").contains("600000"));
        assert!(refused("actions=[\"Put\"]").contains("\"Put\" is no action"));
        assert!(refused("outage=maybe").contains("unknown variant"));
        assert!(refused("error_status=200").contains("400 to 599"));
        assert!(refused("poison=\"\"").contains("empty"));
        assert!(refused("sse_failure=NO").contains("unknown variant"));
    }

    #[test]
    fn kms_has_its_own_actions_and_no_records() {
        let kms = |text: &str| Faults::kms_from_json(text.as_bytes());
        kms(r#"{"actions":["Decrypt"],"error_code":"DisabledException"}"#).unwrap();
        assert!(kms(r#"{"actions":["PutRecord"]}"#).is_err());
        assert!(kms(r#"{"poison":"x"}"#).unwrap_err().to_string().contains("KMS has no records"));
        assert!(refused("actions=[\"Decrypt\"]").contains("\"Decrypt\" is no action"));
    }

    #[test]
    fn what_acts_before_the_stream_is_known_is_not_for_one_stream() {
        for text in ["reset_before_rate=1", "outage=refuse"] {
            assert!(parse_faults(text).unwrap().checked_for_one_stream().is_err(), "{text}");
        }
        parse_faults("outage=hang").unwrap().checked_for_one_stream().unwrap();
    }
}
