//! What the Firehose protocol asks of whoever minds the streams: how they stand, and a change of their encryption.
//!
//! It is handed in by `app`; no stage that knows the answer is imported.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use crate::record::StreamName;

/// What is known of a stream at the service.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StreamFacts {
    /// The name or the ARN of the data stream that it reads from, if that is so.
    pub data_stream: Option<Arc<str>>,
    /// Its encryption, if it has one of its own that anything is known of.
    pub encryption: Option<EncryptionFacts>,
}

/// The encryption of a delivery stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncryptionFacts {
    /// Its status, as the service writes it.
    pub status: &'static str,
    /// The ARN of the customer's key, if it is one.
    pub key_arn: Option<Arc<str>>,
    /// Why the last change failed: the service's type, and its details.
    pub failure: Option<(Arc<str>, Arc<str>)>,
}

/// A change of a stream's encryption that an application asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncryptionCall {
    /// The delivery stream.
    pub stream: StreamName,
    /// What it is to be encrypted under: the ARN of a key, or nothing for the service's own.
    pub start: Option<Option<String>>,
}

/// Why nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallFailed {
    /// Nobody minds the stream.
    UnknownStream,
    /// It can not be what was asked for.
    Impossible(String),
    /// A change is under way, or the stream is not active.
    InUse(String),
    /// The calls of the last 24 hours are used up.
    TooMany(String),
    /// The service refuses it, by its code and words.
    Service {
        /// The code.
        code: String,
        /// The words.
        message: String,
    },
    /// The service did not answer.
    Unanswered(String),
    /// The process stops.
    Stopping,
}

impl CallFailed {
    /// The type of the error, as one that an SDK knows of these calls.
    pub(super) fn wire(&self) -> &'static str {
        match self {
            Self::UnknownStream => NOT_FOUND,
            Self::Impossible(_) => INVALID,
            Self::InUse(_) => IN_USE,
            Self::TooMany(_) => LIMIT,
            Self::Service { code, .. } => known(code),
            Self::Unanswered(_) | Self::Stopping => UNAVAILABLE,
        }
    }

    /// The status, by the type.
    pub(super) fn status(&self) -> u16 {
        match self.wire() {
            FAILURE => 500,
            UNAVAILABLE => 503,
            _ => 400,
        }
    }
}

/// The service's own code, where it is one of these calls'. Kinesis has a code for each trouble with a key, and
/// Firehose one for all.
fn known(code: &str) -> &'static str {
    if code.starts_with("KMS") {
        return KEY;
    }
    let known =
        [NOT_FOUND, IN_USE, INVALID, LIMIT, KEY, UNAVAILABLE, DENIED, THROTTLED, VALIDATION];
    known.into_iter().find(|known| *known == code).unwrap_or(FAILURE)
}

const NOT_FOUND: &str = "ResourceNotFoundException";
const IN_USE: &str = "ResourceInUseException";
const INVALID: &str = "InvalidArgumentException";
const LIMIT: &str = "LimitExceededException";
const KEY: &str = "InvalidKMSResourceException";
const UNAVAILABLE: &str = "ServiceUnavailableException";
const DENIED: &str = "AccessDeniedException";
const THROTTLED: &str = "ThrottlingException";
const VALIDATION: &str = "ValidationException";
const FAILURE: &str = "InternalFailure";

impl fmt::Display for CallFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownStream => f.write_str("nobody minds a stream of that name"),
            Self::Impossible(why)
            | Self::InUse(why)
            | Self::TooMany(why)
            | Self::Unanswered(why) => f.write_str(why),
            Self::Service { message, code } if known(code) == code => f.write_str(message),
            Self::Service { code, message } => write!(f, "{code}: {message}"),
            Self::Stopping => f.write_str("the process is stopping"),
        }
    }
}

/// What becomes of a call.
pub type CallAnswer = Pin<Box<dyn Future<Output = Result<(), CallFailed>>>>;

/// Who knows how streams stand.
type Look = dyn Fn(&StreamName) -> StreamFacts + Send + Sync;

/// Who changes them. It does not wait; what it gives does.
type Call = dyn Fn(EncryptionCall) -> CallAnswer + Send + Sync;

/// Whoever minds the streams. Cloning gives another way to the same.
#[derive(Clone)]
pub struct StreamControl {
    look: Arc<Look>,
    call: Arc<Call>,
}

impl StreamControl {
    /// By who knows and who changes.
    pub fn new(
        look: impl Fn(&StreamName) -> StreamFacts + Send + Sync + 'static,
        call: impl Fn(EncryptionCall) -> CallAnswer + Send + Sync + 'static,
    ) -> Self {
        Self { look: Arc::new(look), call: Arc::new(call) }
    }

    /// Nobody, who knows nothing and changes nothing.
    #[must_use]
    pub fn nobody() -> Self {
        Self::new(
            |_| StreamFacts::default(),
            |_| Box::pin(std::future::ready(Err(CallFailed::UnknownStream))),
        )
    }

    pub(super) fn look(&self, stream: &StreamName) -> StreamFacts {
        (self.look)(stream)
    }

    pub(super) async fn call(&self, call: EncryptionCall) -> Result<(), CallFailed> {
        (self.call)(call).await
    }
}

impl fmt::Debug for StreamControl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StreamControl")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_of_the_service_keeps_its_type_where_the_call_has_it() {
        let failed =
            |code: &str| CallFailed::Service { code: code.to_owned(), message: "m".into() };
        for (code, wire, status, shown) in [
            ("InvalidKMSResourceException", KEY, 400, "m"),
            ("KMSDisabledException", KEY, 400, "KMSDisabledException: m"),
            ("AccessDeniedException", DENIED, 400, "m"),
            ("ServiceUnavailableException", UNAVAILABLE, 503, "m"),
            ("ExpiredTokenException", FAILURE, 500, "ExpiredTokenException: m"),
        ] {
            let failed = failed(code);
            assert_eq!((failed.wire(), failed.status()), (wire, status), "{code}");
            assert_eq!(failed.to_string(), shown);
        }
        assert_eq!(CallFailed::TooMany("x".into()).wire(), LIMIT);
        assert_eq!(CallFailed::Unanswered("x".into()).status(), 503);
    }
}
