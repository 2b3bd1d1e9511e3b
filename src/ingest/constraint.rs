//! What the service says of a member of a call that breaks its constraint: its own sentences.

use super::refusal::Refusal;
use crate::record::{BATCH_RECORDS_MAX, RECORD_BYTES_MAX, STREAM_NAME_CHARS_MAX};

/// The service's sentence for a member that breaks its constraint.
fn validation(value: &str, member: &str, constraint: &str) -> Refusal {
    Refusal::Invalid(format!(
        "1 validation error detected: Value {value} at '{member}' failed to satisfy constraint: \
         Member must {constraint}"
    ))
}

/// A required member is missing.
pub(super) fn missing(member: &str) -> Refusal {
    validation("null", member, "not be null")
}

/// The stream's name breaks the service's pattern.
pub(super) fn bad_name(name: &str) -> Refusal {
    let value = format!("'{}'", shortened(name));
    if name.is_empty() {
        let constraint = "have length greater than or equal to 1";
        return validation(&value, "deliveryStreamName", constraint);
    }
    if name.chars().count() > STREAM_NAME_CHARS_MAX {
        let constraint = "have length less than or equal to 64";
        return validation(&value, "deliveryStreamName", constraint);
    }
    let constraint = "satisfy regular expression pattern: [a-zA-Z0-9_.-]+";
    validation(&value, "deliveryStreamName", constraint)
}

/// The kind of key is none.
pub(super) fn bad_key_type(found: &str) -> Refusal {
    validation(
        &format!("'{}'", shortened(found)),
        "deliveryStreamEncryptionConfigurationInput.keyType",
        "satisfy enum value set: [AWS_OWNED_CMK, CUSTOMER_MANAGED_CMK]",
    )
}

/// A wire record is larger than the service takes.
pub(super) fn wire_record_too_large(member: &str) -> Refusal {
    let constraint = format!("have length less than or equal to {RECORD_BYTES_MAX}");
    validation("'java.nio.HeapByteBuffer'", member, &constraint)
}

/// A batch has no records, or too many.
pub(super) fn bad_record_count(records: usize) -> Refusal {
    let constraint = if records == 0 {
        "have length greater than or equal to 1".to_owned()
    } else {
        format!("have length less than or equal to {BATCH_RECORDS_MAX}")
    };
    validation("'[...]'", "records", &constraint)
}

fn shortened(text: &str) -> String {
    const CHARS_MAX: usize = 100;
    text.chars().take(CHARS_MAX).collect()
}
