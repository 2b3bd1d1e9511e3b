//! The ARNs of a KMS key and of a data stream, as far as one has to know them. Pure.

/// The Region in the ARN of a KMS key: `arn:<partition>:kms:<region>:<account>:key/<id>`. Of anything else,
/// an alias too, it is `None`.
#[must_use]
pub fn key_region(arn: &str) -> Option<&str> {
    let (region, resource) = parts(arn, "kms")?;
    resource.strip_prefix("key/").filter(|id| is_word(id))?;
    Some(region)
}

/// Whether it names a Kinesis data stream: by its name, or by its ARN, which is
/// `arn:<partition>:kinesis:<region>:<account>:stream/<name>`. Source: the service model.
#[must_use]
pub fn is_data_stream(text: &str) -> bool {
    let is_name = |name: &str| {
        (1..=128).contains(&name.len())
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
    };
    let of_arn = parts(text, "kinesis").and_then(|(_, resource)| resource.strip_prefix("stream/"));
    is_name(of_arn.unwrap_or(text))
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
    fn a_data_stream_has_a_name_or_an_arn() {
        let long = "x".repeat(129);
        for (text, is_one) in [
            ("clicks", true),
            ("a_b.c-d", true),
            ("arn:aws:kinesis:eu-west-1:111122223333:stream/clicks", true),
            ("arn:aws-us-gov:kinesis:us-gov-west-1:111122223333:stream/a_b.c-d", true),
            ("", false),
            ("a b", false),
            (&long, false),
            ("arn:aws:kinesis:eu-west-1:111122223333:stream/", false),
            ("arn:aws:kinesis:eu-west-1:111122223333:stream/a b", false),
            ("arn:aws:kinesis:eu-west-1:111122223333:consumer/clicks", false),
            ("arn:aws:firehose:eu-west-1:111122223333:deliverystream/clicks", false),
        ] {
            assert_eq!(is_data_stream(text), is_one, "{text}");
        }
    }
}
