//! The constraints of the service's model, and the messages that it gives when one is broken: pure.
//!
//! All broken constraints of a request are told at once, up to [`TOLD_MAX`].

use crate::record::{BATCH_RECORDS_MAX, RECORD_BYTES_MAX, STREAM_NAME_CHARS_MAX};

use super::wire::ServiceError;

/// The constraints of one request, as they are checked.
#[derive(Debug, Default)]
pub(super) struct Constraints {
    broken: Vec<String>,
}

impl Constraints {
    /// A member that must be there is not.
    pub(super) fn missing(&mut self, at: &str) {
        self.broken.push(format!(
            "Value null at '{at}' failed to satisfy constraint: Member must not be null"
        ));
    }

    /// A value breaks a constraint that is told in the service's words.
    pub(super) fn broken(&mut self, value: &str, at: &str, constraint: &str) {
        self.broken
            .push(format!("Value '{value}' at '{at}' failed to satisfy constraint: {constraint}"));
    }

    /// The name of a stream: 1 to 64 characters of `[a-zA-Z0-9_.-]`.
    pub(super) fn stream_name(&mut self, name: Option<&str>) {
        self.text(name, "deliveryStreamName", STREAM_NAME_CHARS_MAX, STREAM_NAME_PATTERN, |c| {
            c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-')
        });
    }

    /// A text that must be there, with a pattern of single characters.
    pub(super) fn text(
        &mut self,
        text: Option<&str>,
        at: &str,
        chars_max: usize,
        pattern: &str,
        legal: impl Fn(char) -> bool,
    ) {
        let Some(text) = text else { return self.missing(at) };
        if text.is_empty() {
            self.broken(text, at, "Member must have length greater than or equal to 1");
        }
        if text.chars().count() > chars_max {
            self.broken(text, at, &length_at_most(chars_max));
        }
        if text.is_empty() || !text.chars().all(legal) {
            let constraint = format!("Member must satisfy regular expression pattern: {pattern}");
            self.broken(text, at, &constraint);
        }
    }

    /// The number of records of a batch: 1 to 500.
    pub(super) fn record_count(&mut self, records: usize) {
        if records == 0 {
            self.broken("[]", "records", "Member must have length greater than or equal to 1");
        }
        if records > BATCH_RECORDS_MAX {
            let value = format!("[{records} records]");
            self.broken(&value, "records", &length_at_most(BATCH_RECORDS_MAX));
        }
    }

    /// The raw bytes of a record: at most 1,024,000. The value is told as the service's Java tells it.
    pub(super) fn record_bytes(&mut self, bytes: usize, at: &str) {
        if bytes > RECORD_BYTES_MAX {
            let value = format!("java.nio.HeapByteBuffer[pos=0 lim={bytes} cap={bytes}]");
            self.broken(&value, at, &length_at_most(RECORD_BYTES_MAX));
        }
    }

    /// The ARN of a KMS key: `arn:…:kms:<region>:<account>:key/<id>`. An alias is none.
    pub(super) fn key_arn(&mut self, arn: &str, at: &str) {
        if arn.chars().count() > KEY_ARN_CHARS_MAX {
            self.broken(arn, at, &length_at_most(KEY_ARN_CHARS_MAX));
        }
        if !is_key_arn(arn) {
            let constraint =
                format!("Member must satisfy regular expression pattern: {KEY_ARN_PATTERN}");
            self.broken(arn, at, &constraint);
        }
    }

    /// A number within bounds.
    pub(super) fn range(&mut self, value: u64, at: &str, min: u64, max: u64) {
        let side = match value {
            _ if value < min => format!("greater than or equal to {min}"),
            _ if value > max => format!("less than or equal to {max}"),
            _ => return,
        };
        self.broken(&value.to_string(), at, &format!("Member must have value {side}"));
    }

    /// A value that is none of those that there are.
    pub(super) fn not_in_set(&mut self, value: &str, at: &str, set: &str) {
        self.broken(value, at, &format!("Member must satisfy enum value set: [{set}]"));
    }

    /// The end of the checks.
    pub(super) fn check(self) -> Result<(), ServiceError> {
        let told = self.broken.len().min(TOLD_MAX);
        if told == 0 {
            return Ok(());
        }
        let plural = if told == 1 { "" } else { "s" };
        let list: Vec<_> = self.broken.into_iter().take(TOLD_MAX).collect();
        Err(ServiceError::validation(format!(
            "{told} validation error{plural} detected: {}",
            list.join("; ")
        )))
    }
}

fn length_at_most(max: usize) -> String {
    format!("Member must have length less than or equal to {max}")
}

/// `arn:.*:kms:[a-zA-Z0-9\-]+:\d{12}:key/[a-zA-Z_0-9+=,.@\-_/]+`, taken apart from its end.
fn is_key_arn(arn: &str) -> bool {
    let Some((head, key)) = arn.split_once(":key/") else { return false };
    let mut parts = head.rsplitn(4, ':');
    let (Some(account), Some(region), Some("kms"), Some(prefix)) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return false;
    };
    let key_char = |b: u8| b.is_ascii_alphanumeric() || b"_+=,.@-/".contains(&b);
    prefix.starts_with("arn:")
        && !region.is_empty()
        && region.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        && account.len() == 12
        && account.bytes().all(|b| b.is_ascii_digit())
        && !key.is_empty()
        && key.bytes().all(key_char)
}

/// How many broken constraints one answer tells.
const TOLD_MAX: usize = 10;
pub(super) const STREAM_NAME_PATTERN: &str = "[a-zA-Z0-9_.-]+";
const KEY_ARN_PATTERN: &str = r"arn:.*:kms:[a-zA-Z0-9\-]+:\d{12}:key/[a-zA-Z_0-9+=,.@\-_/]+";
const KEY_ARN_CHARS_MAX: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;

    fn message(constraints: Constraints) -> String {
        constraints.check().unwrap_err().message().to_owned()
    }

    #[test]
    fn one_broken_constraint_is_told_as_the_service_tells_it() {
        let mut constraints = Constraints::default();
        constraints.record_bytes(1_024_000, "records.96.member.data");
        constraints.record_bytes(1_024_001, "records.97.member.data");
        assert_eq!(
            message(constraints),
            "1 validation error detected: Value 'java.nio.HeapByteBuffer[pos=0 lim=1024001 \
             cap=1024001]' at 'records.97.member.data' failed to satisfy constraint: Member must \
             have length less than or equal to 1024000"
        );
    }

    #[test]
    fn all_broken_constraints_are_told_at_once() {
        let mut constraints = Constraints::default();
        constraints.stream_name(None);
        constraints.record_count(501);
        let told = message(constraints);
        assert!(
            told.starts_with("2 validation errors detected: Value null at 'deliveryStreamName'")
        );
        assert!(told.ends_with("Member must have length less than or equal to 500"));
    }

    #[test]
    fn a_flood_of_broken_constraints_is_cut_off() {
        let mut constraints = Constraints::default();
        (0..500).for_each(|_| constraints.missing("records.1.member.data"));
        assert!(message(constraints).starts_with("10 validation errors detected"));
    }

    #[test]
    fn the_bounds_themselves_are_legal() {
        let mut constraints = Constraints::default();
        constraints.stream_name(Some(&"x".repeat(64)));
        constraints.record_count(500);
        constraints.record_count(1);
        constraints.record_bytes(0, "record.data");
        constraints.check().unwrap();
    }

    #[test]
    fn a_bad_name_is_told_with_the_pattern() {
        for bad in ["a b", "", "x/y"] {
            let mut constraints = Constraints::default();
            constraints.stream_name(Some(bad));
            assert!(message(constraints).contains("pattern: [a-zA-Z0-9_.-]+"), "{bad}");
        }
    }

    #[test]
    fn only_the_arn_of_a_key_is_one() {
        for good in [
            "arn:aws:kms:us-east-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab",
            "arn:aws-cn:kms:cn-north-1:123456789012:key/mrk-1",
        ] {
            assert!(is_key_arn(good), "{good}");
        }
        for bad in [
            "alias/mine",
            "arn:aws:kms:us-east-1:123456789012:alias/mine",
            "arn:aws:kms:us-east-1:12345:key/x",
            "arn:aws:kms:us-east-1:123456789012:key/",
            "arn:aws:s3:us-east-1:123456789012:key/x",
            "1234abcd-12ab-34cd-56ef-1234567890ab",
        ] {
            assert!(!is_key_arn(bad), "{bad}");
        }
    }
}
