//! The source of a delivery stream, as `CreateDeliveryStream` is told it.

use serde::Deserialize;
use serde_json::Value;

use super::kinesis::name_of_arn;
use super::limits::Constraints;
use super::state::{State, unix_ms};
use super::streams::Source;
use super::wire::ServiceError;

/// `KinesisStreamSourceConfiguration`.
#[derive(Deserialize)]
pub(super) struct KinesisInput {
    #[serde(rename = "KinesisStreamARN")]
    arn: Option<String>,
    #[serde(rename = "RoleARN")]
    role_arn: Option<String>,
}

impl KinesisInput {
    /// Looks at what each member has to be.
    pub(super) fn check(&self, constraints: &mut Constraints) {
        let at = |member: &str| format!("kinesisStreamSourceConfiguration.{member}");
        match &self.arn {
            None => constraints.missing(&at("kinesisStreamARN")),
            Some(arn) if !is_stream_arn(arn) => {
                let constraint =
                    format!("Member must satisfy regular expression pattern: {ARN_PATTERN}");
                constraints.broken(arn, &at("kinesisStreamARN"), &constraint);
            }
            Some(_) => {}
        }
        if self.role_arn.is_none() {
            constraints.missing(&at("roleARN"));
        }
    }
}

/// The source of a stream of this type. A data stream of the emulator's account has to be there.
pub(super) fn of(
    stream_type: &str,
    kinesis: Option<KinesisInput>,
    msk: Option<Value>,
    state: &State,
) -> Result<Source, ServiceError> {
    if kinesis.is_some() != (stream_type == "KinesisStreamAsSource") {
        let message = "KinesisStreamSourceConfiguration has to be given with the delivery stream type \
                       KinesisStreamAsSource, and with no other.";
        return Err(ServiceError::invalid_argument(message));
    }
    match stream_type {
        "KinesisStreamAsSource" => {
            let given = kinesis.and_then(|given| Some((given.arn?, given.role_arn?)));
            let (arn, role_arn) = given.ok_or_else(ServiceError::internal)?;
            let name = name_of_arn(&arn, &state.config.region);
            let is_gone = |name| !state.kinesis.streams.contains_key(name);
            if name.is_some_and(is_gone) {
                let message = format!("The Kinesis data stream {arn} does not exist.");
                return Err(ServiceError::invalid_argument(message));
            }
            Ok(Source::DataStream { arn, role_arn, since_ms: unix_ms() })
        }
        "MSKAsSource" => Ok(Source::Msk { given: msk.unwrap_or_default() }),
        "DatabaseAsSource" => Ok(Source::Database),
        _ => Ok(Source::DirectPut),
    }
}

/// `arn:.*:kinesis:[a-zA-Z0-9\-]+:\d{12}:stream/[a-zA-Z0-9_.-]+`
fn is_stream_arn(arn: &str) -> bool {
    let parts: Vec<_> = arn.splitn(6, ':').collect();
    let [a, _, service, region, account, stream] = parts.as_slice() else { return false };
    let name = stream.strip_prefix("stream/").unwrap_or_default();
    *a == "arn"
        && *service == "kinesis"
        && !region.is_empty()
        && account.len() == 12
        && account.bytes().all(|b| b.is_ascii_digit())
        && !name.is_empty()
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
}

const ARN_PATTERN: &str = r"arn:.*:kinesis:[a-zA-Z0-9\-]+:\d{12}:stream/[a-zA-Z0-9_.-]+";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_arn_of_a_data_stream_is_one() {
        assert!(is_stream_arn("arn:aws:kinesis:us-east-1:000000000000:stream/data-1.x"));
        for bad in [
            "data",
            "arn:aws:kinesis:us-east-1:000000000000:stream/",
            "arn:aws:kinesis:us-east-1:0000:stream/data",
            "arn:aws:firehose:us-east-1:000000000000:deliverystream/data",
        ] {
            assert!(!is_stream_arn(bad), "{bad}");
        }
    }
}
