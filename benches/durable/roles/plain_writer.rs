//! The floor: reads a whole body, has it appended and synced with what else came, and answers.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use tokio::sync::{mpsc, oneshot};

use super::appender::{self, Append};
use crate::common::fault::Fault;
use crate::common::roles::{Orders, http1};

/// Serves until the owner is gone. Asked anything, it says how many bytes are durable.
pub(super) async fn serve(folder: &Path, orders: Orders) -> Result<(), Fault> {
    let durable = Arc::new(AtomicU64::new(0));
    // One word for a group, so that this thread is woken once for all that one sync made durable.
    let (groups_in, mut groups) = mpsc::unbounded_channel::<Vec<oneshot::Sender<()>>>();
    let appends = appender::start(folder, Arc::clone(&durable), groups_in)?;
    tokio::spawn(async move {
        while let Some(group) = groups.recv().await {
            for waiting in group {
                // A client that went away waits for nothing.
                let _is_heard = waiting.send(()).is_ok();
            }
        }
    });
    let answer = move |request: Request<Incoming>| {
        let appends = appends.clone();
        async move { answer(request, appends).await }
    };
    http1::serve(answer, orders, move |_| durable.load(Ordering::Relaxed).to_string()).await
}

async fn answer(
    request: Request<Incoming>,
    appends: crossbeam_channel::Sender<Append>,
) -> Response<Full<Bytes>> {
    let Ok(body) = request.into_body().collect().await else {
        return with(StatusCode::BAD_REQUEST, String::new());
    };
    let body = body.to_bytes();
    let bytes = body.len();
    let (done, is_done) = oneshot::channel();
    let is_sent = appends.send(Append { body, done }).is_ok();
    if !is_sent || is_done.await.is_err() {
        return with(StatusCode::INTERNAL_SERVER_ERROR, String::new());
    }
    with(StatusCode::OK, format!(r#"{{"accepted":1,"bytes":{bytes},"ack":"durable"}}"#))
}

fn with(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
