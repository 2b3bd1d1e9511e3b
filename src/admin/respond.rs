//! Answers: the one place where what happened becomes HTTP.

use bytes::Bytes;
use http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE,
    X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderName, HeaderValue, Response, StatusCode};
use serde_json::{Value, json};

use super::body::Held;
use super::encryption::{CALLS_RETRY_AFTER, EncryptionRefused};
use super::page;
use super::replay::ReplayRefused;
use super::routes::{Endpoint, Listener};

/// An answer, whole in memory.
pub(super) type Answer = Response<Held>;

/// Prometheus' text format, as its scrapers name it.
pub(super) const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";
const PROBLEM: &str = "application/problem+json";
const HTML: &str = "text/html; charset=utf-8";

/// An answer with `body`.
pub(super) fn body(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Held::new(body.into()));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    answer
}

pub(super) fn text(status: StatusCode, text: impl Into<String>) -> Answer {
    let mut text = text.into();
    text.push('\n');
    body(status, TEXT, text)
}

pub(super) fn json(status: StatusCode, value: &Value) -> Answer {
    body(status, JSON, format!("{value:#}\n"))
}

pub(super) fn html(page: String) -> Answer {
    let answer = body(StatusCode::OK, HTML, page);
    with(answer, CONTENT_SECURITY_POLICY, page::CONTENT_SECURITY_POLICY)
}

/// A request that was not served, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Problem {
    /// Nothing has that path at that listener.
    NotFound { path: String, listener: Listener },
    /// What is there knows other methods.
    MethodNotAllowed(Endpoint),
    /// The token is missing.
    TokenMissing,
    /// The token is wrong.
    TokenWrong,
    /// The token is needed, and none is configured.
    TokenUnconfigured,
    /// The body is longer than `bytes_max`.
    BodyTooLarge { bytes_max: usize },
    /// The body did not come in time.
    BodySlow,
    /// The body broke off.
    BodyBroken,
    /// The body is no log filter.
    BadFilter(String),
    /// The body does not say what is to be replayed.
    BadReplay(String),
    /// Nothing is replayed.
    NotReplayed(ReplayRefused),
    /// The encryption of streams is only shown.
    EncryptionNotManaged,
    /// The encryption of a stream was not changed, or is not shown.
    NotChanged(EncryptionRefused),
    /// There are as many connections as there may be.
    TooManyConnections,
    /// Others have not taken their answers yet, and there is no room for one more.
    TooManyAnswers,
}

impl Problem {
    pub(super) const fn status(&self) -> StatusCode {
        match self {
            Self::NotFound { .. } => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed(_) | Self::EncryptionNotManaged => {
                StatusCode::METHOD_NOT_ALLOWED
            }
            Self::NotChanged(refused) => refused.status(),
            Self::TokenMissing | Self::TokenWrong => StatusCode::UNAUTHORIZED,
            Self::TokenUnconfigured => StatusCode::FORBIDDEN,
            Self::BodyTooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::BodySlow => StatusCode::REQUEST_TIMEOUT,
            Self::BodyBroken
            | Self::BadFilter(_)
            | Self::BadReplay(_)
            | Self::NotReplayed(ReplayRefused::Malformed(_)) => StatusCode::BAD_REQUEST,
            Self::NotReplayed(ReplayRefused::NoSpool | ReplayRefused::UnknownStream) => {
                StatusCode::NOT_FOUND
            }
            Self::TooManyConnections
            | Self::TooManyAnswers
            | Self::NotReplayed(ReplayRefused::Stopping) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// The stable name of the problem.
    const fn code(&self) -> &'static str {
        match self {
            Self::NotFound { .. } => "not_found",
            Self::MethodNotAllowed(_) => "method_not_allowed",
            Self::EncryptionNotManaged => "encryption_not_managed",
            Self::NotChanged(refused) => refused.code(),
            Self::TokenMissing => "token_missing",
            Self::TokenWrong => "token_wrong",
            Self::TokenUnconfigured => "token_unconfigured",
            Self::BodyTooLarge { .. } => "body_too_large",
            Self::BodySlow => "body_slow",
            Self::BodyBroken => "body_broken",
            Self::BadFilter(_) => "bad_filter",
            Self::BadReplay(_) | Self::NotReplayed(ReplayRefused::Malformed(_)) => "bad_replay",
            Self::NotReplayed(ReplayRefused::NoSpool) => "no_spool",
            Self::NotReplayed(ReplayRefused::UnknownStream) => "unknown_stream",
            Self::NotReplayed(ReplayRefused::Stopping) => "stopping",
            Self::TooManyConnections => "too_many_connections",
            Self::TooManyAnswers => "too_many_answers",
        }
    }

    fn detail(&self) -> String {
        match self {
            Self::NotFound { path, .. } => format!("there is nothing at {path}"),
            Self::MethodNotAllowed(endpoint) => {
                format!("{} knows {}", endpoint.path(), endpoint.allow())
            }
            Self::TokenMissing => "this needs the header `Authorization: Bearer TOKEN`".to_owned(),
            Self::TokenWrong => "the token is wrong".to_owned(),
            Self::TokenUnconfigured => "this needs a token, and none is configured: set \
                 admin.token_file to a file that holds one"
                .to_owned(),
            Self::BodyTooLarge { bytes_max } => format!("the body may have {bytes_max} bytes"),
            Self::BodySlow => "the body did not come in time".to_owned(),
            Self::BodyBroken => "the body broke off, or is not UTF-8".to_owned(),
            Self::BadFilter(why) | Self::BadReplay(why) => why.clone(),
            Self::NotReplayed(why) => why.to_string(),
            Self::EncryptionNotManaged => "the encryption of streams is only shown here: \
                 admin.manage_encryption = true lets who has the token change it"
                .to_owned(),
            Self::NotChanged(why) => why.to_string(),
            Self::TooManyConnections => {
                "as many connections are open as admin.connections_max allows".to_owned()
            }
            Self::TooManyAnswers => {
                "clients have not taken their answers yet, and no more fit in memory".to_owned()
            }
        }
    }

    /// The problem as an object: RFC 9457 with a `code`.
    pub(super) fn to_json(&self) -> Value {
        let status = self.status();
        let mut problem = json!({
            "status": status.as_u16(),
            "title": status.canonical_reason().unwrap_or_default(),
            "code": self.code(),
            "detail": self.detail(),
        });
        if let (
            Self::NotChanged(EncryptionRefused::Service { code, message }),
            Value::Object(problem),
        ) = (self, &mut problem)
        {
            problem.insert("service_code".to_owned(), code.as_str().into());
            problem.insert("service_message".to_owned(), message.as_str().into());
        }
        if let (Self::NotFound { listener, .. }, Value::Object(problem)) = (self, &mut problem) {
            let there: Vec<String> = Endpoint::ALL
                .into_iter()
                .filter(|endpoint| endpoint.is_at(*listener))
                .map(|endpoint| format!("{} {}", endpoint.allow(), endpoint.path()))
                .collect();
            problem.insert("endpoints".to_owned(), there.into());
        }
        problem
    }

    pub(super) fn answer(&self) -> Answer {
        let answer = body(self.status(), PROBLEM, format!("{:#}\n", self.to_json()));
        match self {
            Self::MethodNotAllowed(endpoint) => with(answer, ALLOW, endpoint.allow()),
            Self::EncryptionNotManaged => with(answer, ALLOW, "GET, HEAD"),
            Self::NotChanged(EncryptionRefused::TooManyCalls { retry_after_seconds, .. }) => {
                let mut answer = answer;
                let seconds = retry_after_seconds.unwrap_or(CALLS_RETRY_AFTER);
                answer.headers_mut().insert(RETRY_AFTER, seconds.max(1).into());
                answer
            }
            Self::NotChanged(EncryptionRefused::Stopping) => with(answer, RETRY_AFTER, "1"),
            Self::TokenMissing => with(answer, WWW_AUTHENTICATE, "Bearer realm=\"standpipe\""),
            Self::TokenWrong => with(
                answer,
                WWW_AUTHENTICATE,
                "Bearer realm=\"standpipe\", error=\"invalid_token\"",
            ),
            Self::TooManyConnections | Self::TooManyAnswers => with(answer, RETRY_AFTER, "1"),
            _ => answer,
        }
    }

    /// The answer as bytes, for a connection that gets no server.
    pub(super) fn wire(&self) -> String {
        let body = format!("{}\n", self.to_json());
        format!(
            "HTTP/1.1 {}\r\ncontent-type: {PROBLEM}\r\ncontent-length: {}\r\nretry-after: 1\r\n\
             cache-control: no-store\r\nconnection: close\r\n\r\n{body}",
            self.status(),
            body.len()
        )
    }
}

fn with(mut answer: Answer, name: HeaderName, value: &'static str) -> Answer {
    answer.headers_mut().insert(name, HeaderValue::from_static(value));
    answer
}
