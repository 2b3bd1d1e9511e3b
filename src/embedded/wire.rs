//! Answers and errors of awsJson1_1: the shapes, the codes, the headers.
//!
//! This is the only file that turns an error into HTTP. It decides nothing.

use std::borrow::Cow;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode};
use http_body_util::Full;
use serde_json::json;

use super::ACCOUNT_ID;

/// What every request is answered with.
pub(super) type Answer = Response<Full<Bytes>>;

/// What the service says to a request that it sheds.
pub(super) const SLOW_DOWN: &str = "Slow down.";

/// What the service says when it fails by itself.
pub(super) const INTERNAL_FAILURE: &str =
    "The request processing has failed because of an unknown error, exception or failure.";

/// What Kinesis says to a request that it sheds as a whole.
pub(super) const RATE_EXCEEDED: &str = "Rate exceeded for the stream.";

/// An error as the service tells it: a code, an HTTP status and a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ServiceError {
    code: Cow<'static, str>,
    status: StatusCode,
    message: String,
    /// The `code` member of an `InvalidKMSResourceException`: what KMS said.
    kms_code: Option<&'static str>,
}

impl ServiceError {
    /// An error of any code. The status follows from the code unless it is given.
    pub(super) fn of_code(
        code: impl Into<Cow<'static, str>>,
        status: Option<StatusCode>,
        message: impl Into<String>,
    ) -> Self {
        let code = code.into();
        let status = status.unwrap_or_else(|| status_of(&code));
        // The one error whose model has a second member.
        let kms_code = (code == INVALID_KMS_RESOURCE).then_some("AccessDeniedException");
        Self { code, status, message: message.into(), kms_code }
    }

    /// The request is not JSON, or a member is not of its type.
    pub(super) fn serialization(message: impl Into<String>) -> Self {
        Self::of_code("SerializationException", None, message)
    }

    /// The service does not know what it is asked to do.
    pub(super) fn unknown_operation() -> Self {
        Self::of_code("UnknownOperationException", None, "")
    }

    /// The request breaks what its members make sure of each for itself.
    pub(super) fn validation(message: impl Into<String>) -> Self {
        Self::of_code("ValidationException", None, message)
    }

    /// The request breaks a rule that stands above single members.
    pub(super) fn invalid_argument(message: impl Into<String>) -> Self {
        Self::of_code("InvalidArgumentException", None, message)
    }

    /// There is no such stream, or none that takes records.
    pub(super) fn not_found(stream: &str) -> Self {
        Self::of_code(
            "ResourceNotFoundException",
            None,
            format!("Firehose {stream} under account {ACCOUNT_ID} not found."),
        )
    }

    /// The key of a delivery stream cannot be used: what KMS said, and a message.
    pub(super) fn invalid_kms_resource(kms_code: &'static str, message: impl Into<String>) -> Self {
        let error = Self::of_code(INVALID_KMS_RESOURCE, None, message);
        Self { kms_code: Some(kms_code), ..error }
    }

    /// The caller may not do this. `action` is that of a permission, `resource` an ARN or `*`.
    pub(super) fn access_denied(action: &str, resource: &str) -> Self {
        let message = format!(
            "User: arn:aws:iam::{ACCOUNT_ID}:user/emulator is not authorized to perform: {action} on \
             resource: {resource} because no identity-based policy allows the {action} action"
        );
        Self::of_code("AccessDeniedException", None, message)
    }

    /// The stream is in a state that does not allow this.
    pub(super) fn in_use(message: impl Into<String>) -> Self {
        Self::of_code("ResourceInUseException", None, message)
    }

    /// A number of something is used up.
    pub(super) fn limit_exceeded(message: impl Into<String>) -> Self {
        Self::of_code("LimitExceededException", None, message)
    }

    /// The stream's quota does not allow this now.
    pub(super) fn slow_down() -> Self {
        Self::of_code("ServiceUnavailableException", None, SLOW_DOWN)
    }

    /// The emulator itself could not do it.
    pub(super) fn internal() -> Self {
        Self::of_code("InternalFailure", None, INTERNAL_FAILURE)
    }

    /// The body is larger than the emulator reads.
    pub(super) fn body_too_large(bytes_max: usize) -> Self {
        Self::of_code(
            "RequestEntityTooLargeException",
            Some(StatusCode::PAYLOAD_TOO_LARGE),
            format!("The body of the request is larger than {bytes_max} bytes"),
        )
    }

    /// The code alone, for logs and tests.
    pub(super) fn code(&self) -> &str {
        &self.code
    }

    /// The message alone.
    #[cfg(test)]
    pub(super) fn message(&self) -> &str {
        &self.message
    }

    /// The error as it goes over the wire.
    pub(super) fn into_answer(self) -> Answer {
        // The service leaves an empty message out.
        let mut body = json!({ "__type": self.code });
        if let Some(members) = body.as_object_mut() {
            if !self.message.is_empty() {
                members.insert("message".into(), self.message.into());
            }
            if let Some(kms_code) = self.kms_code {
                members.insert("code".into(), kms_code.into());
            }
        }
        let mut answer = answer(self.status, body.to_string());
        if let Ok(code) = HeaderValue::from_str(&self.code) {
            answer.headers_mut().insert("x-amzn-errortype", code);
        }
        answer
    }
}

const INVALID_KMS_RESOURCE: &str = "InvalidKMSResourceException";

/// The HTTP status that the service gives a code, as its model and its common errors say.
fn status_of(code: &str) -> StatusCode {
    match code {
        "ServiceUnavailableException" | "ServiceUnavailable" => StatusCode::SERVICE_UNAVAILABLE,
        "DependencyTimeoutException" => StatusCode::SERVICE_UNAVAILABLE,
        "InternalFailure" | "InternalFailureException" | "InternalServerError" => {
            StatusCode::INTERNAL_SERVER_ERROR
        }
        "KMSInternalException" | "KeyUnavailableException" => StatusCode::INTERNAL_SERVER_ERROR,
        _ => StatusCode::BAD_REQUEST,
    }
}

/// An answer of 200 with this JSON.
pub(super) fn success(json: impl Into<Bytes>) -> Answer {
    answer(StatusCode::OK, json)
}

fn answer(status: StatusCode, json: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(json.into()));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-amz-json-1.1"));
    let id = random_uuid();
    let id = HeaderValue::from_str(&id).expect("a UUID is made of hex digits and hyphens");
    headers.insert("x-amzn-requestid", id);
    answer
}

/// A UUID of random bits (version 4).
pub(super) fn random_uuid() -> String {
    uuid_text(random_uuid_bits())
}

/// The bits of a UUID of version 4: [`uuid_text`] leaves them as they are.
pub(super) fn random_uuid_bits() -> u128 {
    uuid_bits(fastrand::u128(..))
}

/// These bits as the text of a UUID of version 4.
pub(super) fn uuid_text(bits: u128) -> String {
    let hex = format!("{:032x}", uuid_bits(bits));
    let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default();
    format!("{}-{}-{}-{}-{}", part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32))
}

fn uuid_bits(bits: u128) -> u128 {
    let version = bits & !(0xf << 76) | (0x4 << 76);
    version & !(0x3 << 62) | (0x2 << 62)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_is_of_version_four() {
        assert_eq!(uuid_text(0), "00000000-0000-4000-8000-000000000000");
        assert_eq!(uuid_text(u128::MAX), "ffffffff-ffff-4fff-bfff-ffffffffffff");
    }

    #[test]
    fn an_error_has_the_status_of_its_code_and_a_request_id() {
        for (error, status) in [
            (ServiceError::slow_down(), 503),
            (ServiceError::internal(), 500),
            (ServiceError::not_found("demo"), 400),
            (ServiceError::body_too_large(1), 413),
        ] {
            let answer = error.into_answer();
            assert_eq!(answer.status().as_u16(), status);
            assert!(answer.headers().contains_key("x-amzn-requestid"));
            assert_eq!(answer.headers()[CONTENT_TYPE], "application/x-amz-json-1.1");
        }
    }

    #[test]
    fn an_unusable_key_is_told_with_what_kms_said() {
        let error = ServiceError::of_code("InvalidKMSResourceException", None, "no");
        assert_eq!(error.kms_code, Some("AccessDeniedException"));
        let error = ServiceError::invalid_kms_resource("DisabledException", "no");
        assert_eq!(
            (error.code(), error.kms_code),
            (INVALID_KMS_RESOURCE, Some("DisabledException"))
        );
    }

    #[test]
    fn an_unknown_stream_is_named_as_the_service_names_it() {
        assert_eq!(
            ServiceError::not_found("demo").message(),
            "Firehose demo under account 000000000000 not found."
        );
    }
}
