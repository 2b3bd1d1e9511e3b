//! What both ways out send to: answers `PutRecordBatch` as the service does, and counts the records.
//!
//! It is as cheap as can be, since it shares the machine with what is measured. It keeps nothing.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use memchr::memmem::Finder;

use super::{Orders, http1};
use crate::common::fault::Fault;

/// What stands before each record and, since data is base64, never in one.
const MARK: &[u8] = b"\"Data\"";

/// The most records of a request.
const BATCH_RECORDS_MAX: usize = 500;

/// How long the service's record ids are.
const RECORD_ID_BYTES: usize = 224;

const TARGET: HeaderName = HeaderName::from_static("x-amz-target");
const PUT_RECORD_BATCH: &str = "Firehose_20150804.PutRecordBatch";

/// What all connections share.
#[derive(Debug)]
struct Sink {
    records: AtomicU64,
    mark: Finder<'static>,
    /// The answers, by the number of records.
    answers: BTreeMap<usize, Bytes>,
}

pub(crate) async fn serve(orders: Orders) -> Result<(), Fault> {
    let answers = (1..=BATCH_RECORDS_MAX).map(|records| (records, put_answer(records))).collect();
    let sink = Arc::new(Sink { records: AtomicU64::new(0), mark: Finder::new(MARK), answers });
    let answer = move |request| {
        let sink = Arc::clone(&sink);
        async move { sink.answer(request).await }
    };
    http1::serve(answer, orders).await
}

impl Sink {
    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        if request.method() == Method::GET {
            let records = self.records.load(Ordering::Relaxed);
            return Response::new(Full::new(Bytes::from(records.to_string())));
        }
        let is_put = request.headers().get(TARGET).is_some_and(|t| t == PUT_RECORD_BATCH);
        let count = if is_put { self.count(request.into_body()).await } else { None };
        let Some((count, answer)) = count.and_then(|n| Some((n, self.answers.get(&n)?))) else {
            let mut response = Response::new(Full::new(Bytes::from_static(
                br#"{"__type":"InvalidArgumentException","message":"not a PutRecordBatch"}"#,
            )));
            *response.status_mut() = StatusCode::BAD_REQUEST;
            return response;
        };
        self.records.fetch_add(u64::try_from(count).unwrap_or(u64::MAX), Ordering::Relaxed);
        let mut response = Response::new(Full::new(answer.clone()));
        let json = HeaderValue::from_static("application/x-amz-json-1.1");
        response.headers_mut().insert(CONTENT_TYPE, json);
        response
    }

    /// How many records the body has, if it can be read. No more than one part of it is kept at a time.
    async fn count(&self, mut body: Incoming) -> Option<usize> {
        const JOINT: usize = MARK.len() - 1;
        let mut count = 0;
        // The end of what came before, in which a mark may have begun, and the begin of what comes.
        let mut seam = Vec::with_capacity(2 * JOINT);
        while let Some(frame) = body.frame().await {
            let Ok(part) = frame.ok()?.into_data() else { continue };
            seam.extend_from_slice(part.get(..JOINT).unwrap_or(&part));
            count += self.mark.find_iter(&seam).count() + self.mark.find_iter(&part).count();
            let end = part.get(part.len().saturating_sub(JOINT)..).unwrap_or_default();
            if end.len() == JOINT {
                seam.clear();
                seam.extend_from_slice(end);
            } else {
                seam.drain(..seam.len().saturating_sub(JOINT));
            }
        }
        Some(count)
    }
}

/// What the service answers when it has taken so many records.
fn put_answer(records: usize) -> Bytes {
    let mut body = String::from(r#"{"Encrypted":true,"FailedPutCount":0,"RequestResponses":["#);
    for index in 0..records {
        let comma = if index == 0 { "" } else { "," };
        // Writing to a string does not fail.
        let _infallible = write!(body, r#"{comma}{{"RecordId":"{index:0RECORD_ID_BYTES$}"}}"#);
    }
    body.push_str("]}");
    Bytes::from(body)
}
