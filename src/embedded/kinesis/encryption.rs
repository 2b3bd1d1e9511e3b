//! `StartStreamEncryption` and `StopStreamEncryption`. How it goes on from there is `sse.rs`'s.

use serde::Deserialize;
use serde_json::json;

use super::manage::check_active;
use super::naming::Named;
use crate::embedded::ACCOUNT_ID;
use crate::embedded::actions::{Outcome, keep};
use crate::embedded::limits::Constraints;
use crate::embedded::put_input::from_json;
use crate::embedded::sse::{Call, Key, Refusal};
use crate::embedded::sse_control::Of;
use crate::embedded::state::{State, unix_ms};
use crate::embedded::wire::ServiceError;

#[derive(Deserialize)]
struct Input {
    #[serde(flatten)]
    named: Named,
    #[serde(rename = "EncryptionType")]
    encryption_type: Option<String>,
    #[serde(rename = "KeyId")]
    key_id: Option<String>,
}

/// `StartStreamEncryption`. A key that cannot be used is refused here, not later.
pub(super) fn start(state: &mut State, body: &[u8]) -> Outcome {
    let (name, key) = read(state, body)?;
    change(state, &name, Call::Start, &key)
}

/// `StopStreamEncryption`. Which key it names changes nothing, as long as it names one.
pub(super) fn stop(state: &mut State, body: &[u8]) -> Outcome {
    let (name, key) = read(state, body)?;
    change(state, &name, Call::Stop, &key)
}

fn read(state: &State, body: &[u8]) -> Result<(String, Key), ServiceError> {
    let input: Input = from_json(body)?;
    let mut constraints = Constraints::default();
    input.named.check(&mut constraints);
    match input.encryption_type.as_deref() {
        None => constraints.missing("encryptionType"),
        Some("KMS" | "NONE") => {}
        Some(other) => constraints.not_in_set(other, "encryptionType", "NONE, KMS"),
    }
    match input.key_id.as_deref() {
        None => constraints.missing("keyId"),
        Some(key) => constraints.text(Some(key), "keyId", KEY_CHARS_MAX, ".*", |_| true),
    }
    constraints.check()?;
    if input.encryption_type.as_deref() != Some("KMS") {
        return Err(ServiceError::invalid_argument("EncryptionType has to be KMS."));
    }
    let name = input.named.resolve(&state.config.region)?;
    Ok((name, key_as_given(input.key_id)))
}

/// The key under the very name that it was given by.
fn key_as_given(key_id: Option<String>) -> Key {
    let key = Of::DataStream.key(key_id.clone());
    Key { key_arn: key_id, ..key }
}

fn change(state: &mut State, name: &str, call: Call, key: &Key) -> Outcome {
    let now_ms = unix_ms();
    let stream = state.data_stream(name)?;
    let commanded = stream.commanded;
    let mut definition = stream.definition.clone();
    let timing = commanded.timing(&state.config.sse);
    if call == Call::Start
        && let Some(trouble) = state.key_judge(now_ms).trouble(key, &KEY_PERMISSIONS)
    {
        return Err(trouble.of_kinesis(key));
    }
    check_active(&mut definition)?;
    let failure = state.kinesis_injector_of(Some(name)).sse_failure();
    let changed = match call {
        Call::Start => definition.sse.start(key.clone(), failure, &timing, now_ms),
        Call::Stop => definition.sse.stop(failure, &timing, now_ms),
    };
    match changed {
        Ok(()) => {}
        Err(Refusal::InTransition) => return check_active(&mut definition).map(|()| json!({})),
        Err(Refusal::TooManyCalls) => {
            return Err(ServiceError::limit_exceeded(format!(
                "Stream {name} under account {ACCOUNT_ID} has reached the limit of {} such calls \
                 in 24 hours.",
                timing.calls_per_day_max
            )));
        }
    }
    keep(state.replace_data_stream(definition))?;
    Ok(json!({}))
}

/// What the start of encryption under a customer's key needs.
const KEY_PERMISSIONS: [&str; 1] = ["kms:DescribeKey"];

/// Source: the service model.
const KEY_CHARS_MAX: usize = 2_048;
