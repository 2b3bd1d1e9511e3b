//! What a failure means: whose fault it is, and what is to be done about it.
//!
//! Pure. By the error's code, never by the HTTP status where there is a code. It acts on nothing.

use std::sync::Arc;

use super::code::Code;
use crate::aws::{CallError, Unready};
use crate::gate::Doubt;

/// What a failed request means for its records and its stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    /// Too much at once: slower, and again.
    Throttled,
    /// The service takes nothing at the moment, and says so: a throttle of everything, or an outage.
    Unavailable,
    /// The service may have the records or not: again, which may send them twice.
    Ambiguous,
    /// The service saw nothing: again.
    Unreachable,
    /// One of the records may be at fault, or the stream: `plan` finds out which.
    Refused,
    /// An operator has to put something right: the stream is held.
    Hold,
}

impl Class {
    /// Whether it is a sign that the service is away.
    pub(super) const fn is_outage(self) -> bool {
        matches!(self, Self::Unavailable | Self::Ambiguous | Self::Unreachable)
    }
}

/// Why something failed, for people and for metrics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reason {
    /// The known code.
    pub(super) code: Code,
    /// The code as it came, which may be one that is not known.
    pub(super) text: Arc<str>,
    /// The service's or the transport's words, shortened.
    pub(super) message: Arc<str>,
}

/// The most characters of a message that are kept: messages can quote what was sent.
const MESSAGE_CHARS_MAX: usize = 300;

/// What the service's words for a stream that reads from something else have in common: `KinesisStreamAsSource`,
/// `MSKAsSource`, `DatabaseAsSource`.
const OTHER_SOURCE: &str = "AsSource";

/// The most characters of a code that are kept: anybody can stand at the other end.
const CODE_CHARS_MAX: usize = 100;

impl Reason {
    /// A reason with one of our own codes.
    pub(super) fn ours(code: Code, message: &str) -> Self {
        Self { code, text: code.as_str().into(), message: shortened(message, MESSAGE_CHARS_MAX) }
    }

    /// A reason with the service's code.
    pub(super) fn service(text: &str, message: &str) -> Self {
        Self {
            code: Code::of(text),
            text: shortened(text, CODE_CHARS_MAX),
            message: shortened(message, MESSAGE_CHARS_MAX),
        }
    }
}

fn shortened(text: &str, chars_max: usize) -> Arc<str> {
    let one_line = |c: char| if c.is_control() { ' ' } else { c };
    let text: String = text.chars().take(chars_max).map(one_line).collect();
    text.into()
}

/// What `error` means.
pub(super) fn classify(error: &CallError) -> (Class, Reason) {
    match error {
        CallError::Connect { message } => {
            (Class::Unreachable, Reason::ours(Code::Connect, message))
        }
        CallError::Timeout => {
            (Class::Ambiguous, Reason::ours(Code::Timeout, "no answer came in time"))
        }
        CallError::Broken { status: Some(status), message } => of_status(*status, message),
        CallError::Broken { status: None, message } => {
            (Class::Ambiguous, Reason::ours(Code::Broken, message))
        }
        CallError::Service { code: None, status, message } => of_status(*status, message),
        CallError::Service { code: Some(text), status, message } => {
            (of_code(Code::of(text), *status, message), Reason::service(text, message))
        }
        CallError::Unready(unready) => (Class::Hold, of_unready(unready)),
    }
}

/// What a request that came to nothing makes doubtful about its stream, if anything.
pub(super) fn doubt(reason: &Reason) -> Option<Doubt> {
    match reason.code {
        Code::InvalidArgument if reason.message.contains(OTHER_SOURCE) => Some(Doubt::Source),
        Code::ResourceNotFound | Code::InvalidSource => Some(Doubt::Source),
        Code::InvalidKmsResource
        | Code::KmsDisabled
        | Code::KmsInvalidState
        | Code::KmsAccessDenied
        | Code::KmsNotFound
        | Code::KmsOptInRequired => Some(Doubt::Key),
        Code::AccessDenied if reason.message.to_ascii_lowercase().contains("kms") => {
            Some(Doubt::Key)
        }
        _ => None,
    }
}

/// Whether an entry of an answer with this code is its own record's fault, if another record went through.
pub(super) fn is_of_record(code: Code) -> bool {
    of_code(code, 200, "") == Class::Refused
}

/// Whether the service may have the record whose entry in an answer has this code.
pub(super) fn is_ambiguous(code: Code) -> bool {
    // Of a code that nobody foresaw nothing is known.
    code == Code::Missing || of_code(code, 500, "") == Class::Ambiguous
}

fn of_unready(unready: &Unready) -> Reason {
    match unready {
        Unready::NoRegion => Reason::ours(
            Code::NoRegion,
            "no Region is set: neither here, nor in the environment, the profile or the instance",
        ),
        Unready::NoCredentials { message } => Reason::ours(Code::NoCredentials, message),
        Unready::Unbuildable { message } => Reason::ours(Code::Unbuildable, message),
    }
}

fn of_code(code: Code, status: u16, message: &str) -> Class {
    match code {
        Code::ServiceUnavailable => Class::Unavailable,
        Code::Throttling
        | Code::ThrottlingShort
        | Code::RequestLimit
        | Code::LimitExceeded
        | Code::ThroughputExceeded
        | Code::KmsThrottling
        | Code::TooMany => Class::Throttled,
        Code::InternalFailure
        | Code::InternalServerError
        | Code::InternalException
        | Code::InternalFailureException
        | Code::RequestTimeout
        | Code::HttpServerError
        | Code::Broken
        | Code::Timeout
        | Code::WrongLength => Class::Ambiguous,
        Code::Connect => Class::Unreachable,
        Code::InvalidArgument if message.contains(OTHER_SOURCE) => Class::Hold,
        Code::Validation
        | Code::InvalidArgument
        | Code::Serialization
        | Code::TooLarge
        | Code::RecordTooLarge => Class::Refused,
        Code::InvalidKmsResource
        | Code::KmsDisabled
        | Code::KmsInvalidState
        | Code::KmsAccessDenied
        | Code::KmsNotFound
        | Code::KmsOptInRequired
        | Code::NotEncrypted
        | Code::NoRoute
        | Code::InvalidSource
        | Code::ResourceNotFound
        | Code::ResourceInUse
        | Code::AccessDenied
        | Code::ExpiredToken
        | Code::UnrecognizedClient
        | Code::InvalidSignature
        | Code::IncompleteSignature
        | Code::RequestExpired
        | Code::UnknownOperation
        | Code::HttpClientError
        | Code::Missing
        | Code::DeadLetterStore
        | Code::NoRegion
        | Code::NoCredentials
        | Code::Unbuildable => Class::Hold,
        // What nobody foresaw is asked again: fast if the service says that it failed, else slowly.
        Code::Other if status >= 500 => Class::Ambiguous,
        Code::Other => Class::Hold,
    }
}

/// An answer without a code: from something between us and the service, or from a broken one.
fn of_status(status: u16, message: &str) -> (Class, Reason) {
    let (class, code) = match status {
        413 => (Class::Refused, Code::TooLarge),
        429 => (Class::Throttled, Code::TooMany),
        400..=499 => (Class::Hold, Code::HttpClientError),
        500.. => (Class::Ambiguous, Code::HttpServerError),
        _ => (Class::Ambiguous, Code::Broken),
    };
    let text = if status == 200 { code.as_str().into() } else { format!("HTTP{status}").into() };
    (class, Reason { code, text, message: shortened(message, MESSAGE_CHARS_MAX) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(code: &str, status: u16, message: &str) -> Class {
        let error =
            CallError::Service { code: Some(code.to_owned()), status, message: message.to_owned() };
        classify(&error).0
    }

    #[test]
    fn every_code_of_the_service_means_what_the_table_says_whatever_the_status() {
        for status in [400, 403, 500, 503] {
            assert_eq!(
                class("ServiceUnavailableException", status, "Slow down."),
                Class::Unavailable
            );
            assert_eq!(class("ThrottlingException", status, ""), Class::Throttled);
            assert_eq!(class("InternalFailure", status, ""), Class::Ambiguous);
            for code in
                ["ValidationException", "InvalidArgumentException", "SerializationException"]
            {
                assert_eq!(class(code, status, ""), Class::Refused);
            }
            for code in [
                "ResourceNotFoundException",
                "InvalidKMSResourceException",
                "AccessDeniedException",
                "ExpiredTokenException",
                "UnrecognizedClientException",
                "InvalidSignatureException",
                "InvalidSourceException",
                "RequestExpired",
                "UnknownOperationException",
            ] {
                assert_eq!(class(code, status, ""), Class::Hold);
            }
        }
        let kinesis =
            "This operation is not permitted on KinesisStreamAsSource delivery stream type.";
        assert_eq!(class("InvalidArgumentException", 400, kinesis), Class::Hold);
        let kafka = "This operation is not permitted on MSKAsSource delivery stream type.";
        assert_eq!(class("InvalidArgumentException", 400, kafka), Class::Hold);
        assert_eq!(class("SomethingNew", 400, ""), Class::Hold);
        for code in ["ProvisionedThroughputExceededException", "KMSThrottlingException"] {
            assert_eq!(class(code, 400, ""), Class::Throttled);
        }
        for code in [
            "KMSDisabledException",
            "KMSInvalidStateException",
            "KMSAccessDeniedException",
            "KMSNotFoundException",
            "KMSOptInRequired",
        ] {
            assert_eq!(class(code, 400, ""), Class::Hold);
        }
        assert_eq!(class("InternalFailureException", 500, ""), Class::Ambiguous);
        assert_eq!(class("SomethingNew", 500, ""), Class::Ambiguous);
    }

    #[test]
    fn only_what_speaks_of_the_source_or_the_key_makes_them_doubtful() {
        let doubt = |code: &str, message: &str| doubt(&Reason::service(code, message));
        let kinesis =
            "This operation is not permitted on KinesisStreamAsSource delivery stream type.";
        for (code, message) in [
            ("InvalidArgumentException", kinesis),
            ("ResourceNotFoundException", "Firehose demo not found under account 1."),
            ("InvalidSourceException", ""),
        ] {
            assert_eq!(doubt(code, message), Some(Doubt::Source), "{code}");
        }
        let denied = "User: x is not authorized to perform: kms:GenerateDataKey on resource: y";
        for (code, message) in [
            ("InvalidKMSResourceException", ""),
            ("AccessDeniedException", denied),
            ("AccessDeniedException", "The KMS key is not to be had"),
            ("KMSDisabledException", ""),
            ("KMSInvalidStateException", ""),
            ("KMSAccessDeniedException", ""),
            ("KMSNotFoundException", ""),
            ("KMSOptInRequired", ""),
        ] {
            assert_eq!(doubt(code, message), Some(Doubt::Key), "{code}");
        }
        for (code, message) in [
            ("InvalidArgumentException", "Records size exceeds 4 MB limit"),
            ("ValidationException", kinesis),
            ("AccessDeniedException", "not authorized to perform: firehose:PutRecordBatch"),
            ("KMSThrottlingException", ""),
            ("ProvisionedThroughputExceededException", ""),
            ("ServiceUnavailableException", "Slow down."),
        ] {
            assert_eq!(doubt(code, message), None, "{code}");
        }
    }

    #[test]
    fn what_has_no_code_is_judged_by_its_status() {
        let classes = [413, 429, 403, 407, 502, 200].map(|status| {
            classify(&CallError::Broken { status: Some(status), message: String::new() }).0
        });
        assert_eq!(
            classes,
            [
                Class::Refused,
                Class::Throttled,
                Class::Hold,
                Class::Hold,
                Class::Ambiguous,
                Class::Ambiguous
            ]
        );
    }

    #[test]
    fn a_message_is_short_and_on_one_line() {
        let reason = Reason::service("X", &"a\nb".repeat(1_000));
        assert_eq!(reason.message.chars().count(), MESSAGE_CHARS_MAX);
        assert!(!reason.message.contains('\n'));
        assert_eq!((reason.code, &*reason.text), (Code::Other, "X"));
        let reason = Reason::service(&"X\n".repeat(1_000), "");
        assert_eq!(reason.text.chars().count(), CODE_CHARS_MAX);
        assert!(!reason.text.contains('\n'));
    }

    #[test]
    fn only_what_the_service_may_have_is_ambiguous() {
        let ambiguous = [Code::InternalFailure, Code::Missing, Code::Other];
        let not =
            [Code::ServiceUnavailable, Code::Throttling, Code::Validation, Code::AccessDenied];
        assert!(ambiguous.into_iter().all(is_ambiguous));
        assert!(!not.into_iter().any(is_ambiguous));
    }
}
