//! The ARNs of a KMS key and of a data stream, as far as one has to know them. Pure.

/// The Region in the ARN of a KMS key: `arn:<partition>:kms:<region>:<account>:key/<id>`. Of anything else,
/// an alias too, it is `None`.
#[must_use]
pub fn key_region(arn: &str) -> Option<&str> {
    let (region, resource) = parts(arn, "kms")?;
    resource.strip_prefix("key/").filter(|id| is_word(id))?;
    Some(region)
}

/// Whether it is the ARN of a Kinesis data stream: `arn:<partition>:kinesis:<region>:<account>:stream/<name>`.
#[must_use]
pub fn is_data_stream_arn(arn: &str) -> bool {
    let name = parts(arn, "kinesis").and_then(|(_, resource)| resource.strip_prefix("stream/"));
    name.is_some_and(|name| {
        (1..=128).contains(&name.len())
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
    })
}

/// The Region and the resource in an ARN of `service`.
fn parts<'a>(arn: &'a str, service: &str) -> Option<(&'a str, &'a str)> {
    let mut parts = arn.splitn(6, ':');
    let mut next = || parts.next();
    let (arn, partition, of) = (next()?, next()?, next()?);
    let (region, account, resource) = (next()?, next()?, next()?);
    let is_account = account.len() == 12 && account.bytes().all(|b| b.is_ascii_digit());
    let is_right = arn == "arn" && of == service && is_word(partition) && is_word(region);
    (is_right && is_account).then_some((region, resource))
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
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

    #[test]
    fn only_the_arn_of_a_data_stream_is_one() {
        for arn in [
            "arn:aws:kinesis:eu-west-1:111122223333:stream/clicks",
            "arn:aws-us-gov:kinesis:us-gov-west-1:111122223333:stream/a_b.c-d",
        ] {
            assert!(is_data_stream_arn(arn), "{arn}");
        }
        for none in [
            "clicks",
            "arn:aws:kinesis:eu-west-1:111122223333:stream/",
            "arn:aws:kinesis:eu-west-1:111122223333:stream/a b",
            "arn:aws:kinesis:eu-west-1:111122223333:consumer/clicks",
            "arn:aws:firehose:eu-west-1:111122223333:deliverystream/clicks",
        ] {
            assert!(!is_data_stream_arn(none), "{none}");
        }
    }
}
