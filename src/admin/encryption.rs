//! What is asked of, and answered by, `/v1/streams/{stream}/encryption`.
//!
//! GET shows how it stands; PUT asks for a change, where the configuration lets it. Who shows and who changes is
//! handed in by `app`; this only reads the request and knows what each refusal means in HTTP.

use std::fmt;
use std::pin::Pin;

use http::StatusCode;
use serde_json::Value;

use super::respond::Problem;

/// A change that is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncryptionChange {
    /// The name of the stream, as the path says it.
    pub stream: String,
    /// The key that it is to be encrypted under, as the request names it; nothing for not encrypted.
    pub key: Option<String>,
}

/// Why nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EncryptionRefused {
    /// The process knows no such stream.
    UnknownStream,
    /// The key is none.
    Malformed(String),
    /// The stream can not be what was asked for, and why.
    Impossible(String),
    /// A change is under way, or the stream is not active.
    Busy(String),
    /// The calls of the last 24 hours are used up.
    TooManyCalls {
        /// In a sentence.
        why: String,
        /// When the next one is free, as far as that is known.
        retry_after_seconds: Option<u64>,
    },
    /// The service refuses it, by its code and words.
    Service {
        /// The code.
        code: String,
        /// The words.
        message: String,
    },
    /// The service did not answer: it may have been done or not.
    Unanswered(String),
    /// The process stops.
    Stopping,
}

impl EncryptionRefused {
    pub(super) const fn status(&self) -> StatusCode {
        match self {
            Self::UnknownStream => StatusCode::NOT_FOUND,
            Self::Malformed(_) => StatusCode::BAD_REQUEST,
            Self::Impossible(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Busy(_) => StatusCode::CONFLICT,
            Self::TooManyCalls { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::Service { .. } => StatusCode::BAD_GATEWAY,
            Self::Unanswered(_) => StatusCode::GATEWAY_TIMEOUT,
            Self::Stopping => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    pub(super) const fn code(&self) -> &'static str {
        match self {
            Self::UnknownStream => "unknown_stream",
            Self::Malformed(_) => "bad_encryption",
            Self::Impossible(_) => "impossible",
            Self::Busy(_) => "busy",
            Self::TooManyCalls { .. } => "too_many_calls",
            Self::Service { .. } => "refused_by_service",
            Self::Unanswered(_) => "unanswered",
            Self::Stopping => "stopping",
        }
    }
}

impl fmt::Display for EncryptionRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownStream => f.write_str("no stream of that name is minded here"),
            Self::Malformed(why)
            | Self::Impossible(why)
            | Self::Busy(why)
            | Self::TooManyCalls { why, .. }
            | Self::Unanswered(why) => f.write_str(why),
            Self::Service { code, message } => write!(f, "{code}: {message}"),
            Self::Stopping => f.write_str("the process stops; ask again when that is over"),
        }
    }
}

/// What became of a change: what is shown of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncryptionChanged {
    /// Whether a call was made. The service has taken it then, and goes on with it by itself.
    pub is_under_way: bool,
    /// An object.
    pub shown: Value,
}

/// The answer to a change that is asked for.
pub type EncryptionAnswer =
    Pin<Box<dyn Future<Output = Result<EncryptionChanged, EncryptionRefused>>>>;

/// Shows one stream: an object, if it is minded.
pub type ShowEncryption = Box<dyn Fn(&str) -> Option<Value> + Send>;

/// Begins a change.
pub type ChangeEncryption = Box<dyn Fn(EncryptionChange) -> EncryptionAnswer + Send>;

/// Who shows how it stands with the encryption of streams, and who changes it. Both are called on the admin
/// thread and do not wait; what the second gives does.
pub struct Encryption {
    /// Shows the stream of this name.
    pub show: ShowEncryption,
    /// Begins a change.
    pub change: ChangeEncryption,
}

/// The most bytes of a request: the ARN of a key has at most 512.
pub(super) const REQUEST_BYTES_MAX: usize = 4 * 1024;

/// After how many seconds one may ask again when the calls of 24 hours are used up and it is not known when the
/// next one is free. They come back one by one.
pub(super) const CALLS_RETRY_AFTER: u64 = 3_600;

const KNOWN: &str = "what is known is {\"state\":\"enabled\",\"key\":\"...\"}, with the key \"aws-owned\" when none \
                     is named, and {\"state\":\"disabled\"}";

/// Reads a request.
pub(super) fn parse(stream: &str, body: &str) -> Result<EncryptionChange, Problem> {
    let bad = || Problem::NotChanged(EncryptionRefused::Malformed(KNOWN.to_owned()));
    let Ok(Value::Object(members)) = serde_json::from_str(body) else {
        return Err(bad());
    };
    let (mut state, mut key) = (None, None);
    for (name, value) in members {
        match (name.as_str(), value) {
            ("state", Value::String(text)) => state = Some(text),
            ("key", Value::String(text)) => key = Some(text),
            _ => return Err(bad()),
        }
    }
    let key = match (state.as_deref(), key) {
        (Some("enabled"), key) => Some(key.unwrap_or_else(|| "aws-owned".to_owned())),
        (Some("disabled"), None) => None,
        _ => return Err(bad()),
    };
    Ok(EncryptionChange { stream: stream.to_owned(), key })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_says_on_with_a_key_or_off() {
        let key = |body: &str| parse("demo", body).map(|change| change.key);
        assert_eq!(key(r#"{"state":"enabled"}"#), Ok(Some("aws-owned".to_owned())));
        assert_eq!(key(r#"{"key":"alias/x","state":"enabled"}"#), Ok(Some("alias/x".to_owned())));
        assert_eq!(key(r#" {"state":"disabled"}"#), Ok(None));
        for wrong in [
            "",
            "[]",
            "{}",
            "enabled",
            r#"{"state":true}"#,
            r#"{"state":"on"}"#,
            r#"{"key":"alias/x"}"#,
            r#"{"state":"disabled","key":"alias/x"}"#,
            r#"{"state":"enabled","key":null}"#,
            r#"{"state":"enabled","force":true}"#,
        ] {
            let problem = key(wrong).unwrap_err();
            assert_eq!(problem.status(), StatusCode::BAD_REQUEST, "{wrong}");
        }
    }
}
