//! What both ways out send to: answers `PutRecordBatch` as the service does, and counts the records.
//!
//! It is as cheap as can be, since it shares the machine with what is measured. It keeps no record, but
//! knows which numbers it has had. Told `refuse`, it answers 503 until it is told `accept`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use memchr::memmem::Finder;

use super::scan::{self, Scan};
use super::{Orders, http1};
use crate::common::fault::Fault;

/// The most records of a request.
const BATCH_RECORDS_MAX: usize = 500;

/// How long the service's record ids are.
const RECORD_ID_BYTES: usize = 224;

const TARGET: HeaderName = HeaderName::from_static("x-amz-target");
const PUT_RECORD_BATCH: &str = "Firehose_20150804.PutRecordBatch";

/// How many numbers are known of. A record with a higher one counts as one without a number.
const NUMBERS: usize = 1 << 28;

/// What all connections share.
#[derive(Debug)]
struct Sink {
    is_refusing: AtomicBool,
    records: AtomicU64,
    /// Records without a number, and those whose number had not been there before.
    distinct: AtomicU64,
    /// A bit for each number that has been there.
    seen: Vec<AtomicU64>,
    mark: Finder<'static>,
    /// The answers, by the number of records.
    answers: BTreeMap<usize, Bytes>,
}

pub(crate) async fn serve(orders: Orders) -> Result<(), Fault> {
    let mut seen = Vec::new();
    seen.resize_with(NUMBERS / 64, AtomicU64::default);
    let sink = Arc::new(Sink {
        is_refusing: AtomicBool::new(false),
        records: AtomicU64::new(0),
        distinct: AtomicU64::new(0),
        seen,
        mark: scan::mark(),
        answers: (1..=BATCH_RECORDS_MAX).map(|records| (records, put_answer(records))).collect(),
    });
    let obeying = Arc::clone(&sink);
    let obey = move |order: &str| {
        obeying.is_refusing.store(order == "refuse", Ordering::Relaxed);
        order.to_owned()
    };
    let answer = move |request| {
        let sink = Arc::clone(&sink);
        async move { sink.answer(request).await }
    };
    http1::serve(answer, orders, obey).await
}

impl Sink {
    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        if request.method() == Method::GET {
            let [records, distinct] =
                [&self.records, &self.distinct].map(|count| count.load(Ordering::Relaxed));
            return Response::new(Full::new(Bytes::from(format!("{records} {distinct}"))));
        }
        let is_put = request.headers().get(TARGET).is_some_and(|t| t == PUT_RECORD_BATCH);
        let scan = if is_put { self.read(request.into_body()).await } else { None };
        let known = scan.and_then(|scan| Some((self.answers.get(&scan.records)?, scan)));
        let Some((answer, scan)) = known else {
            return refusal(
                StatusCode::BAD_REQUEST,
                r#"{"__type":"InvalidArgumentException","message":"not a PutRecordBatch"}"#,
            );
        };
        if self.is_refusing.load(Ordering::Relaxed) {
            return refusal(
                StatusCode::SERVICE_UNAVAILABLE,
                r#"{"__type":"ServiceUnavailableException","message":"told to refuse"}"#,
            );
        }
        self.count(&scan);
        json(answer.clone())
    }

    /// Reads a body, if it can be read.
    async fn read(&self, mut body: Incoming) -> Option<Scan<'_>> {
        let mut scan = Scan::new(&self.mark);
        while let Some(frame) = body.frame().await {
            if let Ok(part) = frame.ok()?.into_data() {
                scan.part(&part);
            }
        }
        scan.end();
        Some(scan)
    }

    fn count(&self, scan: &Scan<'_>) {
        let is_known = |&number: &u64| {
            let word = usize::try_from(number / 64).ok().and_then(|index| self.seen.get(index));
            let bit = 1 << (number % 64);
            word.is_some_and(|word| word.fetch_or(bit, Ordering::Relaxed) & bit != 0)
        };
        let known = scan.numbers.iter().filter(|number| is_known(number)).count();
        let add = |count: &AtomicU64, records: usize| {
            count.fetch_add(u64::try_from(records).unwrap_or(u64::MAX), Ordering::Relaxed)
        };
        add(&self.distinct, scan.records - known);
        add(&self.records, scan.records);
    }
}

fn refusal(status: StatusCode, body: &'static str) -> Response<Full<Bytes>> {
    let mut response = json(Bytes::from_static(body.as_bytes()));
    *response.status_mut() = status;
    response
}

fn json(body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    let json = HeaderValue::from_static("application/x-amz-json-1.1");
    response.headers_mut().insert(CONTENT_TYPE, json);
    response
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
