//! The ARN of a KMS key, as far as one has to know it. Pure.

/// The Region in the ARN of a KMS key: `arn:<partition>:kms:<region>:<account>:key/<id>`. Of anything else,
/// an alias too, it is `None`.
#[must_use]
pub fn key_region(arn: &str) -> Option<&str> {
    let mut parts = arn.splitn(6, ':');
    let ("arn", partition, "kms", region, account, resource) =
        (parts.next()?, parts.next()?, parts.next()?, parts.next()?, parts.next()?, parts.next()?)
    else {
        return None;
    };
    let id = resource.strip_prefix("key/")?;
    let is_word = |text: &str| {
        !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    let is_account = account.len() == 12 && account.bytes().all(|b| b.is_ascii_digit());
    (is_word(partition) && is_word(region) && is_account && is_word(id)).then_some(region)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_arn_of_a_key_has_a_region() {
        for (arn, region) in [
            (
                "arn:aws:kms:eu-west-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab",
                "eu-west-1",
            ),
            ("arn:aws-cn:kms:cn-north-1:111122223333:key/mrk-1234", "cn-north-1"),
        ] {
            assert_eq!(key_region(arn), Some(region));
        }
        for none in [
            "",
            "alias/mine",
            "1234abcd-12ab-34cd-56ef-1234567890ab",
            "arn:aws:kms:eu-west-1:111122223333:alias/mine",
            "arn:aws:kms:eu-west-1:111122223333:key/",
            "arn:aws:kms:eu-west-1:111122223333:key/a b",
            "arn:aws:kms:eu-west-1:1111:key/1234",
            "arn:aws:kms::111122223333:key/1234",
            "arn:aws:s3:eu-west-1:111122223333:key/1234",
        ] {
            assert_eq!(key_region(none), None, "{none}");
        }
    }
}
