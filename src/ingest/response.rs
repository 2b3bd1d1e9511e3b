//! The answers to requests that were accepted, in both dialects.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use http::{Response, StatusCode};
use http_body_util::Full;

use crate::pipeline::Delivered;
use crate::record::Ack;

/// The content type of the Firehose protocol.
pub(super) const AMZ_JSON: &str = "application/x-amz-json-1.1";

/// The account that names in answers are made with: the application needs none of its own.
pub(super) const ACCOUNT: &str = "000000000000";

/// The header in which a request names the level it wants, and an answer the level it reached.
pub(super) const ACK_HEADER: HeaderName = HeaderName::from_static("standpipe-ack");

/// The header with which a request gives its records their partition key.
pub(super) const PARTITION_KEY_HEADER: HeaderName =
    HeaderName::from_static("standpipe-partition-key");

/// An answer's body.
pub(super) type Answer = Response<Full<Bytes>>;

/// A 200 or 202 to a native request. Beside its records, so many were set aside.
pub(super) fn accepted(
    records: usize,
    bytes: usize,
    set_aside: usize,
    reached: &Reached,
) -> Answer {
    let mut body = String::with_capacity(64);
    let ack = reached.ack();
    // Writing to a string does not fail.
    let _infallible = write!(body, r#"{{"accepted":{records},"bytes":{bytes},"ack":"{ack}""#);
    if set_aside > 0 {
        let _infallible = write!(body, r#","set_aside":{set_aside}"#);
    }
    if let Reached::Delivered(delivered) = reached {
        body.push_str(r#","record_ids":["#);
        for (index, record) in delivered.iter().enumerate() {
            body.push_str(if index == 0 { "" } else { "," });
            push_json_string(&mut body, &record.record_id);
        }
        body.push(']');
    }
    match reached {
        Reached::NotYetDelivered(Ack::Durable | Ack::Delivered) => {
            body.push_str(r#","detail":"not delivered yet; it is in the spool and will be""#);
        }
        Reached::NotYetDelivered(Ack::Memory) => body
            .push_str(r#","detail":"not delivered yet; it will be, as long as the process lives""#),
        Reached::Memory | Reached::Durable | Reached::Delivered(_) => {}
    }
    body.push('}');
    let status = match reached {
        Reached::Memory | Reached::NotYetDelivered(_) => StatusCode::ACCEPTED,
        Reached::Durable | Reached::Delivered(_) => StatusCode::OK,
    };
    answer(status, "application/json", body, Some(ack))
}

/// What had happened to the records when the answer was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reached {
    /// They stand in a batch in memory, as was asked for.
    Memory,
    /// The spool has them, as was asked for.
    Durable,
    /// Delivery was asked for and is not to be had now: they are safe at this level and will be delivered.
    NotYetDelivered(Ack),
    /// The service has them.
    Delivered(Vec<Delivered>),
}

impl Reached {
    pub(super) const fn ack(&self) -> Ack {
        match self {
            Self::Memory => Ack::Memory,
            Self::Durable => Ack::Durable,
            Self::NotYetDelivered(ack) => *ack,
            Self::Delivered(_) => Ack::Delivered,
        }
    }

    /// What the service said of the record at `index`.
    pub(super) fn delivered(&self, index: usize) -> Option<&Delivered> {
        match self {
            Self::Delivered(records) => records.get(index),
            Self::Memory | Self::Durable | Self::NotYetDelivered(_) => None,
        }
    }

    /// The service's word on encryption, where all records of the request have the same.
    pub(super) fn encrypted(&self) -> Option<bool> {
        let Self::Delivered(records) = self else { return None };
        records
            .iter()
            .map(|record| record.encrypted)
            .reduce(|all, one| all.zip(one).map(|(all, one)| all && one))
            .flatten()
    }
}

/// An answer with a body of `content_type`.
pub(super) fn answer(
    status: StatusCode,
    content_type: &'static str,
    body: String,
    ack: Option<Ack>,
) -> Answer {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    if let Some(ack) = ack {
        headers.insert(ACK_HEADER, HeaderValue::from_static(ack.as_str()));
    }
    response
}

/// Adds `text` as a JSON string.
pub(super) fn push_json_string(body: &mut String, text: &str) {
    let is_plain = text.bytes().all(|byte| byte >= b' ' && byte != b'"' && byte != b'\\');
    if is_plain {
        body.push('"');
        body.push_str(text);
        body.push('"');
    } else {
        body.push_str(&serde_json::Value::from(text).to_string());
    }
}

/// Makes ids of records and requests that no other process and no other thread makes.
#[derive(Debug)]
pub(super) struct Ids {
    life: u64,
    next: AtomicU64,
}

impl Ids {
    pub(super) fn new() -> Self {
        Self { life: fastrand::u64(..), next: AtomicU64::new(1) }
    }

    /// Takes `count` ids in a row and says the first.
    pub(super) fn take(&self, count: usize) -> u64 {
        self.next.fetch_add(count as u64, Ordering::Relaxed)
    }

    /// Adds an id taken before to a body.
    pub(super) fn push(&self, body: &mut String, id: u64) {
        // Writing to a string does not fail.
        let _infallible = write!(body, "{:016x}{id:016x}", self.life);
    }

    /// A request id in the form of the service's.
    pub(super) fn request_id(&self) -> String {
        let id = self.take(1);
        let (high, low) = (self.life >> 32, self.life & 0xffff_ffff);
        format!("{high:08x}-{:04x}-4{:03x}-8000-{id:012x}", low >> 16, low & 0xfff)
    }
}
