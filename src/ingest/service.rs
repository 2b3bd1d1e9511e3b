//! From a request to its answer: which dialect it speaks, and what bounds all requests alike.

use std::rc::Rc;

use http::header::ORIGIN;
use http::{Method, Request};
use hyper::body::Incoming;

use super::refusal::Refusal;
use super::response::Answer;
use super::worker::Worker;
use super::{body, firehose_api, native};

/// Answers one request. The answer to a refusal is as good an answer as any other.
pub(super) async fn serve(worker: &Rc<Worker>, mut request: Request<Incoming>) -> Answer {
    let counted = worker.shared.requests.enter();
    let is_wire =
        request.headers().contains_key(&firehose_api::TARGET_HEADER) && request.uri().path() == "/";
    let answer = match refused_at_once(worker, &request, is_wire, counted.is_some()) {
        Some(refusal) => Err(refusal),
        None if is_wire => firehose_api::call(worker, &mut request).await,
        None => route(worker, &mut request).await,
    };
    let mut answer = match answer {
        Ok(answer) => answer,
        Err(refusal) => {
            worker.metrics.refused(is_wire, &refusal);
            body::drain(request.body_mut()).await;
            let retry_after = worker.shared.config.retry_after;
            if is_wire { refusal.wire(retry_after) } else { refusal.native(retry_after) }
        }
    };
    if is_wire {
        firehose_api::add_request_id(worker, &mut answer);
    }
    answer
}

fn refused_at_once(
    worker: &Worker,
    request: &Request<Incoming>,
    is_wire: bool,
    has_place: bool,
) -> Option<Refusal> {
    if !has_place {
        return Some(Refusal::TooManyRequests);
    }
    if let Some(token) = &worker.shared.token {
        // An SDK signs its requests in the header that a token would need.
        if is_wire {
            return Some(Refusal::NoPlaceForToken);
        }
        if token.check(request.headers()).is_err() {
            return Some(Refusal::Unauthorized);
        }
    }
    // A web page that somebody looks at on this machine must not be able to write into a stream.
    request.headers().contains_key(ORIGIN).then_some(Refusal::CrossOrigin)
}

async fn route(worker: &Worker, request: &mut Request<Incoming>) -> Result<Answer, Refusal> {
    let path = request.uri().path();
    if path == "/" && request.method() != Method::POST {
        return Err(Refusal::MethodNotAllowed("POST"));
    }
    let Some(stream) = stream_of(path) else { return Err(Refusal::NoSuchPath) };
    if request.method() != Method::POST {
        return Err(Refusal::MethodNotAllowed("POST"));
    }
    // A name has no character that would need an escape, so that an escaped one is an unknown one.
    let stream = stream.to_owned();
    let answer = native::take(worker, &stream, request).await?;
    worker.metrics.native_accepted();
    Ok(answer)
}

fn stream_of(path: &str) -> Option<&str> {
    let stream = path.strip_prefix("/v1/streams/")?.strip_suffix("/records")?;
    (!stream.is_empty() && !stream.contains('/')).then_some(stream)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_records_of_a_named_stream_have_a_path() {
        assert_eq!(stream_of("/v1/streams/demo/records"), Some("demo"));
        assert_eq!(stream_of("/v1/streams/a.b_c-d/records"), Some("a.b_c-d"));
        for path in ["/v1/streams//records", "/v1/streams/records", "/v1/streams/a/b/records", "/"]
        {
            assert_eq!(stream_of(path), None, "{path}");
        }
    }
}
