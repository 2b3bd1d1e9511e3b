//! A tiny real HTTP server that plays the service in this stage's tests, with answers from a closure.
//!
//! It keeps what it was sent. It checks nothing that the service would check.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use crossbeam_channel::{Receiver, Sender};
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};

/// One request as it came.
#[derive(Debug, Clone)]
pub(super) struct Put {
    pub(super) number: usize,
    pub(super) at: Instant,
    /// The delivery stream, or the name or the ARN of the data stream.
    pub(super) stream: String,
    pub(super) records: Vec<Vec<u8>>,
    /// The partition keys, where it is `PutRecords`.
    pub(super) keys: Vec<String>,
    pub(super) is_kinesis: bool,
    pub(super) headers: http::HeaderMap,
}

/// What is answered.
#[derive(Debug, Clone)]
pub(super) struct Reply {
    status: u16,
    body: String,
    delay: Duration,
}

impl Reply {
    /// Every record but those at the places that `fails` names.
    pub(super) fn entries(put: &Put, fails: impl Fn(usize, &[u8]) -> bool) -> Self {
        Self::flagged(put, Some(true), fails)
    }

    /// The same, with this flag: a record that fails is throttled.
    pub(super) fn flagged(
        put: &Put,
        encrypted: Option<bool>,
        fails: impl Fn(usize, &[u8]) -> bool,
    ) -> Self {
        let throttle = if put.is_kinesis {
            "ProvisionedThroughputExceededException"
        } else {
            "ServiceUnavailableException"
        };
        let entry = |(place, record): (usize, &Vec<u8>)| {
            let head = record.get(..64).unwrap_or(record);
            let id = format!("id-{}", String::from_utf8_lossy(head));
            match (fails(place, record), put.is_kinesis) {
                (true, _) => json!({"ErrorCode": throttle, "ErrorMessage": "Slow down."}),
                (false, false) => json!({"RecordId": id}),
                (false, true) => json!({"ShardId": "shardId-1", "SequenceNumber": id}),
            }
        };
        let entries: Vec<Value> = put.records.iter().enumerate().map(entry).collect();
        // The counts are wrong on purpose: nobody is to trust them.
        let mut body = if put.is_kinesis {
            json!({"FailedRecordCount": 0, "Records": entries})
        } else {
            json!({"FailedPutCount": 0, "RequestResponses": entries})
        };
        match (encrypted, put.is_kinesis) {
            (None, _) => {}
            (Some(flag), false) => body["Encrypted"] = flag.into(),
            (Some(flag), true) => {
                body["EncryptionType"] = if flag { "KMS" } else { "NONE" }.into();
            }
        }
        Self::json(200, &body)
    }

    pub(super) fn ok(put: &Put) -> Self {
        Self::entries(put, |_, _| false)
    }

    pub(super) fn error(status: u16, code: &str, message: &str) -> Self {
        Self::json(status, &json!({"__type": code, "message": message}))
    }

    pub(super) fn json(status: u16, body: &Value) -> Self {
        Self { status, body: body.to_string(), delay: Duration::ZERO }
    }

    pub(super) fn text(status: u16, body: &str) -> Self {
        Self { status, body: body.to_owned(), delay: Duration::ZERO }
    }

    pub(super) fn after(self, delay: Duration) -> Self {
        Self { delay, ..self }
    }
}

type Answer = Arc<dyn Fn(&Put) -> Reply + Send + Sync>;

/// The running server. It ends with its handle.
pub(super) struct Stub {
    pub(super) address: SocketAddr,
    pub(super) puts: Receiver<Put>,
    _stop: tokio::sync::oneshot::Sender<()>,
}

impl Stub {
    pub(super) fn start(answer: impl Fn(&Put) -> Reply + Send + Sync + 'static) -> Self {
        Self::start_at(SocketAddr::from(([127, 0, 0, 1], 0)), answer)
    }

    pub(super) fn start_at(
        address: SocketAddr,
        answer: impl Fn(&Put) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let (sender, puts) = crossbeam_channel::unbounded();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let (bound, address_known) = crossbeam_channel::bounded(1);
        let answer: Answer = Arc::new(answer);
        std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let listener = tokio::net::TcpListener::bind(address).await.unwrap();
                bound.send(listener.local_addr().unwrap()).unwrap();
                tokio::select! {
                    () = serve(listener, answer, sender) => {}
                    _ = stopped => {}
                }
            });
        });
        Self { address: address_known.recv().unwrap(), puts, _stop: stop }
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The next request, which comes soon.
    pub(super) fn put(&self) -> Put {
        self.puts.recv_timeout(Duration::from_secs(20)).expect("a request comes")
    }
}

async fn serve(listener: tokio::net::TcpListener, answer: Answer, puts: Sender<Put>) {
    let number = Arc::new(AtomicUsize::new(0));
    loop {
        let Ok((stream, _)) = listener.accept().await else { return };
        let (answer, puts, number) = (Arc::clone(&answer), puts.clone(), Arc::clone(&number));
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                play(request, Arc::clone(&answer), puts.clone(), Arc::clone(&number))
            });
            let server = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
            // A client that goes away is part of the play.
            server.serve_connection(TokioIo::new(stream), service).await.ok();
        });
    }
}

async fn play(
    request: Request<Incoming>,
    answer: Answer,
    puts: Sender<Put>,
    number: Arc<AtomicUsize>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let headers = request.headers().clone();
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let body: Value = serde_json::from_slice(&body).unwrap();
    let sent = body["Records"].as_array().unwrap();
    let records = sent.iter().map(|record| {
        base64_simd::STANDARD.decode_to_vec(record["Data"].as_str().unwrap()).unwrap()
    });
    let is_kinesis = headers["x-amz-target"] == "Kinesis_20131202.PutRecords";
    let key = |record: &Value| record["PartitionKey"].as_str().unwrap().to_owned();
    let keys = if is_kinesis { sent.iter().map(key).collect() } else { Vec::new() };
    let name = ["DeliveryStreamName", "StreamName", "StreamARN"];
    let name = name.iter().find_map(|name| body[name].as_str()).unwrap();
    let put = Put {
        number: number.fetch_add(1, Ordering::SeqCst),
        at: Instant::now(),
        stream: name.to_owned(),
        records: records.collect(),
        keys,
        is_kinesis,
        headers,
    };
    let reply = answer(&put);
    puts.send(put).ok();
    tokio::time::sleep(reply.delay).await;
    let response = Response::builder()
        .status(reply.status)
        .header("content-type", "application/x-amz-json-1.1")
        .body(Full::from(reply.body))
        .unwrap();
    Ok(response)
}
