//! The aliases of KMS: names that keys go by. `alias/aws/kinesis` is always there, and its key is Kinesis'
//! own: nobody can use it but through a data stream.

use serde::Deserialize;
use serde_json::json;

use super::actions::{Outcome, keep};
use super::kms_keys::{arn_head, not_found};
use super::limits::Constraints;
use super::put_input::from_json;
use super::sse_control::KINESIS_ALIAS;
use super::state::State;
use super::wire::{ServiceError, uuid_text};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct AliasInput {
    alias_name: Option<String>,
    target_key_id: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ListInput {
    key_id: Option<String>,
}

/// `CreateAlias`.
pub(super) fn create(state: &mut State, body: &[u8]) -> Outcome {
    let input: AliasInput = from_json(body)?;
    let alias = checked(input.alias_name, input.target_key_id.is_none())?;
    let region = state.config.region.clone();
    let target = input.target_key_id.unwrap_or_default();
    let id = state.kms.keys.named(&target, &region)?.id;
    if state.kms.keys.aliases().count() >= ALIASES_MAX {
        let message = format!("There are {ALIASES_MAX} aliases already.");
        return Err(ServiceError::limit_exceeded(message));
    }
    let mut is_new = false;
    keep(state.change_keys(|keys| is_new = keys.add_alias(&alias, id)))?;
    if is_new {
        return Ok(json!({}));
    }
    let message = format!("An alias with the name {}{alias} already exists", arn_head(&region));
    Err(ServiceError::of_code("AlreadyExistsException", None, message))
}

/// `DeleteAlias`. The key stays.
pub(super) fn delete(state: &mut State, body: &[u8]) -> Outcome {
    let input: AliasInput = from_json(body)?;
    let alias = checked(input.alias_name, false)?;
    let mut was_there = false;
    keep(state.change_keys(|keys| was_there = keys.remove_alias(&alias)))?;
    if was_there {
        return Ok(json!({}));
    }
    Err(not_found(&format!("Alias {}{alias} is not found.", arn_head(&state.config.region))))
}

/// `ListAliases`, all on one page.
pub(super) fn list(state: &mut State, body: &[u8]) -> Outcome {
    let input: ListInput = from_json(body)?;
    let region = state.config.region.clone();
    let of = match input.key_id {
        Some(key) => Some(state.kms.keys.named(&key, &region)?.id),
        None => None,
    };
    let shown = |alias: &str| json!({ "AliasName": alias, "AliasArn": format!("{}{alias}", arn_head(&region)) });
    let mut aliases = Vec::new();
    if of.is_none() {
        aliases.push(shown(KINESIS_ALIAS));
    }
    for (alias, id) in state.kms.keys.aliases().filter(|(_, id)| of.is_none_or(|of| of == *id)) {
        let mut alias = shown(alias);
        if let Some(members) = alias.as_object_mut() {
            members.insert("TargetKeyId".into(), json!(uuid_text(id)));
        }
        aliases.push(alias);
    }
    Ok(json!({ "Aliases": aliases, "Truncated": false }))
}

/// The name of an alias that a caller may make or delete.
fn checked(alias: Option<String>, target_is_missing: bool) -> Result<String, ServiceError> {
    let mut constraints = Constraints::default();
    let legal = |c: char| c.is_ascii_alphanumeric() || "/_-".contains(c);
    constraints.text(alias.as_deref(), "aliasName", ALIAS_CHARS_MAX, "^[a-zA-Z0-9/_-]+$", legal);
    if target_is_missing {
        constraints.missing("targetKeyId");
    }
    constraints.check()?;
    let alias = alias.unwrap_or_default();
    let is_free = alias.strip_prefix("alias/").is_some_and(|name| !name.is_empty())
        && !alias.starts_with("alias/aws/");
    if is_free {
        return Ok(alias);
    }
    let message = "The name of an alias begins with alias/, and not with alias/aws/.";
    Err(ServiceError::of_code("InvalidAliasNameException", None, message))
}

/// The most aliases, as there are keys.
const ALIASES_MAX: usize = 1_000;

/// Source: the service model.
const ALIAS_CHARS_MAX: usize = 256;
