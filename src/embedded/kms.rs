//! The actions of KMS: data keys, and the life of the keys that wrap them.
//!
//! Symmetric keys only, without grants, policies and rotation: everybody may use every key, unless the
//! account is told otherwise (see `account.rs`).

use std::collections::BTreeMap;

use base64_simd::STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};

use super::ACCOUNT_ID;
use super::actions::{Outcome, keep};
use super::kms_aliases;
use super::kms_keys::{Key, KeyState};
use super::kms_seal::{Blob, Material, NoRandom, random_bytes};
use super::limits::Constraints;
use super::put_input::from_json;
use super::state::{State, unix_ms};
use super::wire::{ServiceError, random_uuid_bits, uuid_text};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct KeyInput {
    key_id: Option<String>,
    pending_window_in_days: Option<u64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct CreateInput {
    description: Option<String>,
    key_spec: Option<String>,
    customer_master_key_spec: Option<String>,
    key_usage: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ListInput {
    limit: Option<usize>,
    marker: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct GenerateInput {
    key_id: Option<String>,
    key_spec: Option<String>,
    number_of_bytes: Option<usize>,
    #[serde(default)]
    encryption_context: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DecryptInput {
    ciphertext_blob: Option<String>,
    key_id: Option<String>,
    #[serde(default)]
    encryption_context: BTreeMap<String, String>,
    encryption_algorithm: Option<String>,
}

/// Does what a request asks for.
pub(super) fn act(state: &mut State, action: &str, body: &[u8]) -> Outcome {
    // A client may leave out a body that would be empty.
    let body = if body.is_empty() { b"{}" } else { body };
    state.kms.keys.forget_deleted(unix_ms());
    match action {
        "CreateKey" => create(state, body),
        "CreateAlias" => kms_aliases::create(state, body),
        "DeleteAlias" => kms_aliases::delete(state, body),
        "ListAliases" => kms_aliases::list(state, body),
        "DescribeKey" => {
            let region = state.config.region.clone();
            let key = named(state, &from_json::<KeyInput>(body)?.key_id)?;
            Ok(json!({ "KeyMetadata": metadata(key, &region) }))
        }
        "ListKeys" => list(state, body),
        "GenerateDataKey" => generate(state, body),
        "Decrypt" => decrypt(state, body),
        "EnableKey" => switch(state, body, KeyState::Enabled),
        "DisableKey" => switch(state, body, KeyState::Disabled),
        "ScheduleKeyDeletion" => schedule_deletion(state, body),
        "CancelKeyDeletion" => cancel_deletion(state, body),
        _ => Err(ServiceError::unknown_operation()),
    }
}

/// The ARN of the key that a request names, if there is one; `*` for a request that names none.
pub(super) fn named_key(state: &State, body: &[u8]) -> Option<String> {
    let Some(named) = from_json::<KeyInput>(body).ok()?.key_id else { return Some("*".to_owned()) };
    let region = &state.config.region;
    Some(state.kms.keys.found(&named, region)?.arn(region))
}

fn create(state: &mut State, body: &[u8]) -> Outcome {
    let input: CreateInput = from_json(body)?;
    let spec = input.key_spec.or(input.customer_master_key_spec);
    let is_symmetric = spec.is_none_or(|spec| spec == "SYMMETRIC_DEFAULT")
        && input.key_usage.is_none_or(|usage| usage == "ENCRYPT_DECRYPT");
    if !is_symmetric {
        let message = "The emulator has symmetric keys for encryption only.";
        return Err(ServiceError::of_code("UnsupportedOperationException", None, message));
    }
    if state.kms.keys.len() >= KEYS_MAX {
        return Err(ServiceError::limit_exceeded(format!("There are {KEYS_MAX} keys already.")));
    }
    let key = Key {
        id: random_uuid_bits(),
        created_ms: unix_ms(),
        description: input.description.unwrap_or_default(),
        state: KeyState::Enabled,
        material: Material::random().map_err(internal)?,
    };
    let (shown, arn) = (metadata(&key, &state.config.region), key.arn(&state.config.region));
    keep(state.change_keys(|keys| keys.insert(key)))?;
    tracing::info!(key = arn, "created a key");
    Ok(json!({ "KeyMetadata": shown }))
}

fn list(state: &State, body: &[u8]) -> Outcome {
    let input: ListInput = from_json(body)?;
    let limit = input.limit.unwrap_or(LIST_LIMIT_DEFAULT);
    if !(1..=LIST_LIMIT_MAX).contains(&limit) {
        let mut constraints = Constraints::default();
        let constraint = format!("Member must have value from 1 to {LIST_LIMIT_MAX}");
        constraints.broken(&limit.to_string(), "limit", &constraint);
        constraints.check()?;
    }
    let region = &state.config.region;
    let after = input.marker.unwrap_or_default();
    let mut keys = state.kms.keys.iter().filter(|key| uuid_text(key.id) > after).peekable();
    let page: Vec<_> = keys.by_ref().take(limit).collect();
    let marker = keys.peek().and(page.last()).map(|last| uuid_text(last.id));
    let shown = page
        .iter()
        .map(|key| json!({ "KeyId": uuid_text(key.id), "KeyArn": key.arn(region) }))
        .collect::<Vec<_>>();
    let mut answer = json!({ "Keys": shown, "Truncated": marker.is_some() });
    if let (Some(marker), Some(members)) = (marker, answer.as_object_mut()) {
        members.insert("NextMarker".to_owned(), marker.into());
    }
    Ok(answer)
}

fn generate(state: &mut State, body: &[u8]) -> Outcome {
    let input: GenerateInput = from_json(body)?;
    let region = state.config.region.clone();
    let key = named(state, &input.key_id)?;
    let count = match (input.key_spec.as_deref(), input.number_of_bytes) {
        (Some("AES_256"), None) => 32,
        (Some("AES_128"), None) => 16,
        (None, Some(count @ 1..=DATA_KEY_BYTES_MAX)) => count,
        _ => {
            let message = "Please specify either number of bytes or key spec.";
            return Err(ServiceError::validation(message));
        }
    };
    key.check_usable(&region)?;
    let plaintext = random_bytes(count).map_err(internal)?;
    let sealed = key.material.seal(key.id, &input.encryption_context, &plaintext);
    Ok(json!({
        "CiphertextBlob": STANDARD.encode_to_string(sealed.map_err(internal)?),
        "Plaintext": STANDARD.encode_to_string(plaintext),
        "KeyId": key.arn(&region),
    }))
}

fn decrypt(state: &mut State, body: &[u8]) -> Outcome {
    let input: DecryptInput = from_json(body)?;
    let region = state.config.region.clone();
    let mut constraints = Constraints::default();
    let Some(blob) = input.ciphertext_blob else {
        constraints.missing("ciphertextBlob");
        return Err(constraints.check().err().unwrap_or_else(ServiceError::internal));
    };
    let blob = STANDARD
        .decode_to_vec(blob.as_bytes())
        .map_err(|_| ServiceError::serialization("CiphertextBlob is not base64"))?;
    if blob.is_empty() || blob.len() > BLOB_BYTES_MAX {
        let constraint = format!("Member must have length from 1 to {BLOB_BYTES_MAX}");
        constraints.broken("java.nio.HeapByteBuffer", "ciphertextBlob", &constraint);
        constraints.check()?;
    }
    if input.encryption_algorithm.is_some_and(|algorithm| algorithm != "SYMMETRIC_DEFAULT") {
        return Err(ServiceError::of_code("InvalidKeyUsageException", None, ""));
    }
    let asked = match &input.key_id {
        Some(named) => Some(state.kms.keys.named(named, &region)?.id),
        None => None,
    };
    let blob = Blob::parse(&blob).ok_or_else(invalid_ciphertext)?;
    let key = state.kms.keys.by_id(blob.key).ok_or_else(invalid_ciphertext)?;
    if asked.is_some_and(|asked| asked != key.id) {
        let message = "The key ID in the request does not identify a CMK that can perform this \
                       operation.";
        return Err(ServiceError::of_code("IncorrectKeyException", None, message));
    }
    key.check_usable(&region)?;
    let plaintext = key.material.open(&blob, &input.encryption_context);
    Ok(json!({
        "Plaintext": STANDARD.encode_to_string(plaintext.ok_or_else(invalid_ciphertext)?),
        "KeyId": key.arn(&region),
        "EncryptionAlgorithm": "SYMMETRIC_DEFAULT",
    }))
}

fn switch(state: &mut State, body: &[u8], to: KeyState) -> Outcome {
    let input: KeyInput = from_json(body)?;
    let region = state.config.region.clone();
    let key = named(state, &input.key_id)?;
    if matches!(key.state, KeyState::PendingDeletion { .. }) {
        return Err(key.pending_deletion(&region));
    }
    let mut changed = key.clone();
    changed.state = to;
    keep(state.change_keys(|keys| keys.insert(changed)))?;
    Ok(json!({}))
}

fn schedule_deletion(state: &mut State, body: &[u8]) -> Outcome {
    let input: KeyInput = from_json(body)?;
    let region = state.config.region.clone();
    let days = input.pending_window_in_days.unwrap_or(DELETION_DAYS_MAX);
    let key = named(state, &input.key_id)?;
    if !(DELETION_DAYS_MIN..=DELETION_DAYS_MAX).contains(&days) {
        let message = format!(
            "PendingWindowInDays must be between {DELETION_DAYS_MIN} and {DELETION_DAYS_MAX} days."
        );
        return Err(ServiceError::validation(message));
    }
    if matches!(key.state, KeyState::PendingDeletion { .. }) {
        return Err(key.pending_deletion(&region));
    }
    let at_ms = unix_ms().saturating_add(days * DAY_MS);
    let mut changed = key.clone();
    changed.state = KeyState::PendingDeletion { at_ms };
    let arn = changed.arn(&region);
    keep(state.change_keys(|keys| keys.insert(changed)))?;
    tracing::info!(key = arn, days, "a key is to be deleted");
    Ok(json!({
        "KeyId": arn,
        "DeletionDate": seconds(at_ms),
        "KeyState": "PendingDeletion",
        "PendingWindowInDays": days,
    }))
}

fn cancel_deletion(state: &mut State, body: &[u8]) -> Outcome {
    let input: KeyInput = from_json(body)?;
    let region = state.config.region.clone();
    let key = named(state, &input.key_id)?;
    let arn = key.arn(&region);
    if !matches!(key.state, KeyState::PendingDeletion { .. }) {
        let message = format!("{arn} is not pending deletion.");
        return Err(ServiceError::of_code("KMSInvalidStateException", None, message));
    }
    let mut changed = key.clone();
    changed.state = KeyState::Disabled;
    keep(state.change_keys(|keys| keys.insert(changed)))?;
    Ok(json!({ "KeyId": arn }))
}

fn named<'s>(state: &'s mut State, key_id: &Option<String>) -> Result<&'s mut Key, ServiceError> {
    match key_id {
        Some(named) => state.kms.keys.named(named, &state.config.region),
        None => {
            let mut constraints = Constraints::default();
            constraints.missing("keyId");
            Err(constraints.check().err().unwrap_or_else(ServiceError::internal))
        }
    }
}

fn metadata(key: &Key, region: &str) -> Value {
    let (state, deletion) = match key.state {
        KeyState::Enabled => ("Enabled", None),
        KeyState::Disabled => ("Disabled", None),
        KeyState::PendingDeletion { at_ms } => ("PendingDeletion", Some(seconds(at_ms))),
    };
    let mut shown = json!({
        "AWSAccountId": ACCOUNT_ID,
        "KeyId": uuid_text(key.id),
        "Arn": key.arn(region),
        "CreationDate": seconds(key.created_ms),
        "Enabled": key.state == KeyState::Enabled,
        "Description": key.description,
        "KeyUsage": "ENCRYPT_DECRYPT",
        "KeyState": state,
        "Origin": "AWS_KMS",
        "KeyManager": "CUSTOMER",
        "CustomerMasterKeySpec": "SYMMETRIC_DEFAULT",
        "KeySpec": "SYMMETRIC_DEFAULT",
        "EncryptionAlgorithms": ["SYMMETRIC_DEFAULT"],
        "MultiRegion": false,
    });
    if let (Some(deletion), Some(members)) = (deletion, shown.as_object_mut()) {
        members.insert("DeletionDate".to_owned(), deletion);
    }
    shown
}

/// A time as the protocol writes it: seconds, with a fraction.
#[expect(clippy::cast_precision_loss, reason = "milliseconds of this age are far below 2^53")]
fn seconds(ms: u64) -> Value {
    json!(ms as f64 / 1_000.0)
}

/// The service gives no message with this.
fn invalid_ciphertext() -> ServiceError {
    ServiceError::of_code("InvalidCiphertextException", None, "")
}

fn internal(_: NoRandom) -> ServiceError {
    ServiceError::of_code("KMSInternalException", None, "The system gives no random numbers")
}

/// The most keys. Source: the service's quota page has 100,000; the emulator keeps them in one small file.
const KEYS_MAX: usize = 1_000;

/// Source: the service model.
const BLOB_BYTES_MAX: usize = 6_144;
const DATA_KEY_BYTES_MAX: usize = 1_024;
const LIST_LIMIT_DEFAULT: usize = 100;
const LIST_LIMIT_MAX: usize = 1_000;
const DELETION_DAYS_MIN: u64 = 7;
const DELETION_DAYS_MAX: u64 = 30;

const DAY_MS: u64 = 24 * 60 * 60 * 1_000;
