//! How a request names a data stream: by its name, by its ARN, or by both. Pure.

use serde::Deserialize;

use crate::embedded::ACCOUNT_ID;
use crate::embedded::limits::{Constraints, STREAM_NAME_PATTERN};
use crate::embedded::put_input::from_json;
use crate::embedded::wire::ServiceError;

/// The members of a request that name its stream.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Named {
    #[serde(rename = "StreamName")]
    pub(super) name: Option<String>,
    #[serde(rename = "StreamARN")]
    pub(super) arn: Option<String>,
}

impl Named {
    /// Looks at what each member has to be.
    pub(super) fn check(&self, constraints: &mut Constraints) {
        if let Some(name) = &self.name {
            constraints.data_stream_name(Some(name), "streamName");
        }
    }

    /// The name of the stream that is meant, whether there is one or not.
    pub(super) fn resolve(self, region: &str) -> Result<String, ServiceError> {
        let of_arn = match &self.arn {
            Some(arn) => match name_of_arn(arn, region) {
                Some(name) => Some(name.to_owned()),
                None => return Err(not_found(arn)),
            },
            None => None,
        };
        match (self.name, of_arn) {
            (Some(name), Some(of_arn)) if name != of_arn => Err(ServiceError::invalid_argument(
                "StreamName and StreamARN name different streams.",
            )),
            (Some(name), _) | (None, Some(name)) => Ok(name),
            (None, None) => Err(ServiceError::invalid_argument(
                "Either StreamName or StreamARN has to be given.",
            )),
        }
    }
}

impl Constraints {
    /// The name of a data stream: 1 to 128 characters of `[a-zA-Z0-9_.-]`.
    pub(super) fn data_stream_name(&mut self, name: Option<&str>, at: &str) {
        self.text(name, at, NAME_CHARS_MAX, STREAM_NAME_PATTERN, |c| {
            c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-')
        });
    }
}

/// The stream that a request names, for the faults and the counts; what cannot be read names none.
pub(in crate::embedded) fn named_stream(body: &[u8], region: &str) -> Option<String> {
    from_json::<Named>(body).ok()?.resolve(region).ok()
}

/// The ARN of a data stream.
pub(in crate::embedded) fn arn_of(name: &str, region: &str) -> String {
    format!("{}{name}", arn_prefix(region))
}

/// The name in the ARN of a data stream of the emulator's account.
pub(in crate::embedded) fn name_of_arn<'a>(arn: &'a str, region: &str) -> Option<&'a str> {
    arn.strip_prefix(&arn_prefix(region)).filter(|name| !name.is_empty())
}

/// There is no such stream, or none that takes and gives records. `named` is a name or an ARN.
pub(super) fn not_found(named: &str) -> ServiceError {
    let message = format!("Stream {named} under account {ACCOUNT_ID} not found.");
    ServiceError::of_code("ResourceNotFoundException", None, message)
}

fn arn_prefix(region: &str) -> String {
    format!("arn:aws:kinesis:{region}:{ACCOUNT_ID}:stream/")
}

/// Source: the service model.
const NAME_CHARS_MAX: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    const ARN: &str = "arn:aws:kinesis:us-east-1:000000000000:stream/data";

    fn resolve(name: Option<&str>, arn: Option<&str>) -> Result<String, String> {
        let named = Named { name: name.map(str::to_owned), arn: arn.map(str::to_owned) };
        named.resolve("us-east-1").map_err(|error| error.code().to_owned())
    }

    #[test]
    fn a_stream_is_named_by_its_name_its_arn_or_both() {
        for (name, arn) in [(Some("data"), None), (None, Some(ARN)), (Some("data"), Some(ARN))] {
            assert_eq!(resolve(name, arn).as_deref(), Ok("data"));
        }
        assert_eq!(arn_of("data", "us-east-1"), ARN);
    }

    #[test]
    fn what_names_no_stream_or_two_is_refused() {
        let invalid = Err(String::from("InvalidArgumentException"));
        assert_eq!(resolve(None, None), invalid);
        assert_eq!(resolve(Some("other"), Some(ARN)), invalid);
        let not_found = Err(String::from("ResourceNotFoundException"));
        let elsewhere = "arn:aws:kinesis:us-east-1:123456789012:stream/data";
        assert_eq!(resolve(None, Some(elsewhere)), not_found);
    }
}
