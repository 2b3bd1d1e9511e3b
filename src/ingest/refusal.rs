//! Why a request is not accepted, said once for both dialects.
//!
//! This is the one file that turns what went wrong at the data listener into HTTP: problem details for
//! native requests, the service's own error shapes for the Firehose protocol.

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{Response, StatusCode};
use http_body_util::Full;

use super::limit::Over;
use super::stream_control::CallFailed;
use crate::pipeline::NotDurable;
use crate::record::RECORD_BYTES_MAX;

/// A request that left nothing behind, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The request can not be understood: what is wrong with it.
    Malformed(String),
    /// The bearer token is missing or wrong.
    Unauthorized,
    /// A bearer token is needed, and the Firehose protocol has no place for one.
    NoPlaceForToken,
    /// A page of a web browser sent it.
    CrossOrigin,
    /// There is nothing at this path.
    NoSuchPath,
    /// No stream of this name is configured.
    UnknownStream(String),
    /// The path is there, the method is not.
    MethodNotAllowed(&'static str),
    /// The body took longer than allowed.
    SlowBody(Duration),
    /// A record is larger than the service takes.
    RecordTooLarge { index: usize, bytes: usize },
    /// The records together are larger than the service takes in one call.
    BatchTooLarge,
    /// The body is larger than allowed, as it was sent.
    BodyTooLarge { bytes_max: usize },
    /// The body is larger than allowed after decompression.
    DecodedTooLarge { bytes_max: usize },
    /// The body has an encoding that is not spoken here.
    UnsupportedEncoding(String),
    /// The level asked for can not be given: this pipe has no spool.
    NoSpool,
    /// The spool takes nothing now, and nothing of the request was taken: why not.
    NotDurable(NotDurable),
    /// The spool did not say in time that it has the records, or said why it has not. It may have some.
    NotKept(Option<NotDurable>),
    /// The stream is over its ingest limit.
    OverLimit(Over),
    /// There is no memory for the records now.
    NoRoom,
    /// As many requests as allowed are being served.
    TooManyRequests,
    /// As many requests as allowed wait on this stream.
    TooManyWaiting,
    /// The process is stopping and takes no more records.
    Stopping,
    /// The process ended before it was known what became of the records. It may have saved them.
    CutShort,
    /// The operation of the Firehose API does not exist.
    UnknownOperation,
    /// The operation of the Firehose API is not for applications.
    ForbiddenOperation(&'static str),
    /// The encryption of a stream was not changed.
    NotChanged(CallFailed),
    /// A member of a Firehose request breaks its constraint: the service's own sentence.
    Invalid(String),
    /// The members of a Firehose request do not go together.
    InvalidArgument(&'static str),
    /// A Firehose request's JSON or base64 can not be read.
    NotSerialized(String),
}

/// How a refusal is said in both dialects.
struct Wording {
    status: StatusCode,
    /// The stable `code` of problem details, which is also the metric's label.
    code: &'static str,
    /// The error type of the Firehose protocol.
    wire: &'static str,
    /// What is wrong, and what to do.
    detail: Cow<'static, str>,
}

impl Refusal {
    /// All stable codes.
    pub(super) const CODES: &[&str] = &[
        "malformed",
        "invalid",
        "unauthorized",
        "no_place_for_token",
        "cross_origin",
        "forbidden_operation",
        "encryption_not_changed",
        "no_such_path",
        "unknown_stream",
        "unknown_operation",
        "method_not_allowed",
        "slow_body",
        "record_too_large",
        "batch_too_large",
        "body_too_large",
        "decoded_too_large",
        "unsupported_encoding",
        "over_ingest_limit",
        "durable_unavailable",
        "no_room",
        "too_many_requests",
        "too_many_waiting",
        "stopping",
    ];

    /// The stable code: for `code` in answers and as the metric's label.
    pub(super) fn code(&self) -> &'static str {
        self.wording().code
    }

    /// As problem details (RFC 9457).
    pub(super) fn native(&self, retry_after: Duration) -> Response<Full<Bytes>> {
        let Wording { status, code, detail, .. } = self.wording();
        let mut problem = serde_json::json!({
            "type": "about:blank",
            "title": status.canonical_reason().unwrap_or("error"),
            "status": status.as_u16(),
            "code": code,
            "detail": detail,
        });
        if let (Self::RecordTooLarge { index, .. }, Some(members)) = (self, problem.as_object_mut())
        {
            members.insert("index".to_owned(), (*index).into());
        }
        self.response(status, "application/problem+json", problem.to_string(), retry_after)
    }

    /// As an error of the Firehose API.
    pub(super) fn wire(&self, retry_after: Duration) -> Response<Full<Bytes>> {
        let Wording { status, wire, detail, .. } = self.wording();
        // The API has two statuses for a caller's fault and for its own; clients look at the type.
        let status = match self {
            // The service says that it can not now, as for want of room.
            Self::OverLimit(_) => StatusCode::SERVICE_UNAVAILABLE,
            _ if status.is_server_error() => status,
            _ => StatusCode::BAD_REQUEST,
        };
        let error = serde_json::json!({ "__type": wire, "message": detail });
        self.response(status, super::response::AMZ_JSON, error.to_string(), retry_after)
    }

    fn response(
        &self,
        status: StatusCode,
        content_type: &'static str,
        body: String,
        retry_after: Duration,
    ) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::new(Bytes::from(body)));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        match self {
            Self::NoRoom
            | Self::TooManyRequests
            | Self::TooManyWaiting
            | Self::Stopping
            | Self::CutShort
            | Self::NotDurable(_)
            | Self::NotKept(_) => {
                headers.insert(RETRY_AFTER, retry_after.as_secs().max(1).into());
            }
            Self::OverLimit(over) => {
                headers.insert(RETRY_AFTER, over.retry_after_seconds.into());
            }
            Self::MethodNotAllowed(allowed) => {
                headers.insert(ALLOW, HeaderValue::from_static(allowed));
            }
            Self::Unauthorized => {
                headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            _ => {}
        }
        response
    }

    /// The table of all refusals.
    #[expect(clippy::too_many_lines, reason = "one table, one row a refusal, nothing else")]
    fn wording(&self) -> Wording {
        const INVALID: &str = "InvalidArgumentException";
        const DENIED: &str = "AccessDeniedException";
        const BUSY: &str = "ServiceUnavailableException";
        const NOT_SERIALIZED: &str = "SerializationException";
        const DURABLE: &str = "durable_unavailable";
        const NO_OPERATION: &str = "UnknownOperationException";
        let (status, code, wire, detail): (u16, _, _, Cow<'static, str>) = match self {
            Self::Malformed(what) => (400, "malformed", NOT_SERIALIZED, what.clone().into()),
            Self::NotSerialized(what) => (400, "malformed", NOT_SERIALIZED, what.clone().into()),
            Self::Invalid(what) => (400, "invalid", "ValidationException", what.clone().into()),
            Self::Unauthorized => (
                401,
                "unauthorized",
                DENIED,
                "this listener needs the header \"authorization: Bearer <token>\"".into(),
            ),
            Self::NoPlaceForToken => (
                403,
                "no_place_for_token",
                DENIED,
                "this listener needs a bearer token (ingest.token_file), which an AWS SDK can not send"
                    .into(),
            ),
            Self::CrossOrigin => (
                403,
                "cross_origin",
                DENIED,
                "requests of web pages (with the header \"origin\") are not taken".into(),
            ),
            Self::ForbiddenOperation(operation) => {
                (403, "forbidden_operation", DENIED, forbidden(operation).into())
            }
            Self::NotChanged(failed) => (
                failed.status(),
                "encryption_not_changed",
                failed.wire(),
                failed.to_string().into(),
            ),
            Self::InvalidArgument(what) => (400, "invalid", INVALID, (*what).into()),
            Self::NoSuchPath => (
                404,
                "no_such_path",
                NO_OPERATION,
                "records go to POST /v1/streams/{stream}/records, the Firehose API to POST /"
                    .into(),
            ),
            Self::UnknownStream(name) => (
                404,
                "unknown_stream",
                "ResourceNotFoundException",
                format!("Firehose {name} under account {} not found.", super::response::ACCOUNT)
                    .into(),
            ),
            Self::UnknownOperation => (
                400,
                "unknown_operation",
                NO_OPERATION,
                "the header \"x-amz-target\" names no operation of Firehose_20150804".into(),
            ),
            Self::MethodNotAllowed(allowed) => {
                (405, "method_not_allowed", NO_OPERATION, format!("use {allowed}").into())
            }
            Self::SlowBody(limit) => {
                let detail = format!("the body did not arrive within {} ms", limit.as_millis());
                (408, "slow_body", "RequestTimeoutException", detail.into())
            }
            Self::RecordTooLarge { index, bytes } => {
                (413, "record_too_large", "ValidationException", too_large(*index, *bytes).into())
            }
            Self::BatchTooLarge => {
                (413, "batch_too_large", INVALID, "Records size exceeds 4 MB limit".into())
            }
            Self::BodyTooLarge { bytes_max } => {
                let detail = format!("the body has more than {bytes_max} bytes; send it in parts");
                (413, "body_too_large", INVALID, detail.into())
            }
            Self::DecodedTooLarge { bytes_max } => {
                let detail =
                    format!("the body has more than {bytes_max} bytes after decompression");
                (413, "decoded_too_large", INVALID, detail.into())
            }
            Self::UnsupportedEncoding(found) => {
                let detail =
                    format!("content-encoding {found:?} is neither gzip, zstd nor identity");
                (415, "unsupported_encoding", NOT_SERIALIZED, detail.into())
            }
            Self::NoSpool => (
                503,
                DURABLE,
                BUSY,
                "this pipe has no spool and can not answer as durable; ask for memory or delivered"
                    .into(),
            ),
            Self::NotDurable(why) => {
                (503, DURABLE, BUSY, format!("Slow down. Nothing was kept: {why}").into())
            }
            Self::NotKept(why) => (503, DURABLE, BUSY, not_kept(*why).into()),
            Self::OverLimit(over) => (429, "over_ingest_limit", BUSY, over_limit(*over).into()),
            Self::NoRoom => {
                (503, "no_room", BUSY, "Slow down. The memory for records is full.".into())
            }
            Self::TooManyRequests => {
                (503, "too_many_requests", BUSY, "Slow down. Too many requests at once.".into())
            }
            Self::TooManyWaiting => (
                503,
                "too_many_waiting",
                BUSY,
                "Slow down. As many requests wait on this stream as may (a part of \
                 ingest.requests_max); memory waits for nothing."
                    .into(),
            ),
            Self::Stopping => (503, "stopping", BUSY, "the process is stopping".into()),
            Self::CutShort => (
                503,
                "stopping",
                BUSY,
                "the process is stopping. The records may be saved all the same, so that a repeat can \
                 double them"
                    .into(),
            ),
        };
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Wording { status, code, wire, detail }
    }
}

/// A failed write may be found again after a restart, and one that is slow may still come to its end.
fn not_kept(why: Option<NotDurable>) -> String {
    let why = why.map_or("the spool did not write in time (ingest.durable_wait_ms)", |why| {
        NotDurable::sentence(why)
    });
    format!(
        "Slow down. The records may be kept all the same, so that a repeat can double them: {why}"
    )
}

/// The key is what an operator has to look for.
fn over_limit(Over { rate, per_second, .. }: Over) -> String {
    let what = rate.as_str();
    format!(
        "Slow down. This stream takes {per_second} {what} in a second (ingest_{what}_per_second)."
    )
}

/// In the service's manner: who is not authorized to do what.
fn forbidden(operation: &str) -> String {
    let way_out = if super::firehose_streams::ENCRYPTION.contains(&operation) {
        ", or set ingest.allow_encryption_calls = true"
    } else {
        ""
    };
    format!(
        "not authorized to perform: firehose:{operation}, which is not for applications here; call the \
         service itself{way_out}"
    )
}

fn too_large(index: usize, bytes: usize) -> String {
    format!(
        "record {index} has {bytes} bytes with its delimiter, more than the service takes \
         ({RECORD_BYTES_MAX})"
    )
}
