//! One request from its head to its answer: read within bounds, judged by the faults, routed.

use std::convert::Infallible;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;

use super::actions::{self, Outcome};
use super::control;
use super::dispatch_kinesis::serve_kinesis;
use super::injector::{Ending, HeadVerdict};
use super::kms;
use super::put_input::{Put, parse_put_record, parse_put_record_batch};
use super::puts;
use super::server::Line;
use super::service::{self, Service};
use super::state::{Shared, State};
use super::streams::delivery_stream_arn;
use super::wire::{Answer, ServiceError, success};

/// Answers a request, or asks the line to be cut and never answers.
pub(super) async fn respond(
    shared: Rc<Shared>,
    line: Rc<Line>,
    request: Request<Incoming>,
) -> Answer {
    let (head, body) = request.into_parts();
    if head.uri.path().starts_with(control::PREFIX) {
        return match read(body, shared.body_bytes_max).await {
            Ok(body) => control::respond(&shared, &head, &body).await,
            Err(error) => error.into_answer(),
        };
    }
    let action = action_of(&head);
    let judged = judge_head(&mut shared.state.borrow_mut(), action);
    if judged == HeadVerdict::Reset {
        match line.reset().await {}
    }
    let body = match read(body, shared.body_bytes_max).await {
        Ok(body) => body,
        Err(error) => return error.into_answer(),
    };
    let served = match action {
        Some((Service::Kms, action)) => serve_kms(&shared, &line, action, &body).await,
        Some((Service::Kinesis, action)) => serve_kinesis(&shared, &line, action, &body).await,
        Some((Service::Firehose, action @ "PutRecord")) => {
            serve_put(&shared, &line, action, parse_put_record(&body)).await
        }
        Some((Service::Firehose, action @ "PutRecordBatch")) => {
            serve_put(&shared, &line, action, parse_put_record_batch(&body)).await
        }
        Some((Service::Firehose, action)) => {
            serve_control_plane(&shared, &line, action, &body).await
        }
        None => Err(ServiceError::unknown_operation()),
    };
    served.unwrap_or_else(ServiceError::into_answer)
}

/// The action that the head names, of those that there are.
fn action_of(head: &Parts) -> Option<(Service, &'static str)> {
    if head.method != Method::POST || head.uri.path() != "/" {
        return None;
    }
    service::action_of(head.headers.get("x-amz-target")?.to_str().ok()?)
}

fn judge_head(state: &mut State, action: Option<(Service, &'static str)>) -> HeadVerdict {
    let Some((service, action)) = action else { return state.injector.judge_head("") };
    state.count_call(service, action);
    match service {
        Service::Firehose => state.injector.judge_head(action),
        Service::Kinesis => state.kinesis.injector.judge_head(action),
        Service::Kms => state.kms.injector.judge_head(action),
    }
}

async fn serve_kms(
    shared: &Shared,
    line: &Line,
    action: &str,
    body: &[u8],
) -> Result<Answer, ServiceError> {
    let verdict = shared.state.borrow_mut().kms.injector.judge(action, std::iter::empty());
    meet(line, verdict.delay, verdict.ending).await?;
    let outcome = {
        let mut state = shared.state.borrow_mut();
        let named = kms::named_key(&state, body);
        let admitted = admit(&mut state, Service::Kms, action, || named.unwrap_or_default());
        admitted.and_then(|()| kms::act(&mut state, action, body))
    };
    lose(line, verdict.lose_answer).await;
    outcome.map(|json| success(json.to_string()))
}

async fn serve_put(
    shared: &Rc<Shared>,
    line: &Line,
    action: &'static str,
    put: Result<Put, ServiceError>,
) -> Result<Answer, ServiceError> {
    let put = put?;
    let stream = put.stream.clone();
    count_call(shared, Some(&stream), action);
    let verdict = shared.state.borrow_mut().judge(action, Some(&stream), put.records.iter());
    if matches!(verdict.ending, Ending::Reset | Ending::Hang) {
        count_refused(shared, &stream);
    }
    let lose_answer = verdict.lose_answer;
    let served = match meet(line, verdict.delay, verdict.ending).await {
        Ok(()) => match admit_to_stream(shared, action, &stream) {
            Ok(()) => puts::serve(shared, put, verdict.failed.as_ref(), lose_answer).await,
            Err(refused) => Err(refused),
        },
        Err(refused) => Err(refused),
    };
    if let Err(error) = &served {
        tracing::debug!(stream, code = error.code(), "refused a put");
        count_refused(shared, &stream);
    }
    lose(line, lose_answer).await;
    served
}

async fn serve_control_plane(
    shared: &Shared,
    line: &Line,
    action: &'static str,
    body: &[u8],
) -> Result<Answer, ServiceError> {
    let stream = actions::named_stream(body);
    count_call(shared, stream.as_deref(), action);
    let verdict = shared.state.borrow_mut().judge(action, stream.as_deref(), std::iter::empty());
    meet(line, verdict.delay, verdict.ending).await?;
    admit_to_stream(shared, action, stream.as_deref().unwrap_or("*"))?;
    let outcome = act(&mut shared.state.borrow_mut(), action, body);
    lose(line, verdict.lose_answer).await;
    outcome.map(|json| success(json.to_string()))
}

fn act(state: &mut State, action: &str, body: &[u8]) -> Outcome {
    match action {
        "CreateDeliveryStream" => actions::create(state, body),
        "DescribeDeliveryStream" => actions::describe_stream(state, body),
        "ListDeliveryStreams" => actions::list(state, body),
        "DeleteDeliveryStream" => actions::delete(state, body),
        "StartDeliveryStreamEncryption" => actions::start_encryption(state, body),
        "StopDeliveryStreamEncryption" => actions::stop_encryption(state, body),
        _ => Err(ServiceError::unknown_operation()),
    }
}

/// Refuses what the account's callers may not do, or not so often.
fn admit(
    state: &mut State,
    service: Service,
    action: &str,
    resource: impl FnOnce() -> String,
) -> Result<(), ServiceError> {
    let uptime = state.uptime();
    state.account.admit(service, action, resource, uptime)
}

fn admit_to_stream(shared: &Shared, action: &str, stream: &str) -> Result<(), ServiceError> {
    let mut state = shared.state.borrow_mut();
    let region = state.config.region.clone();
    let resource = || delivery_stream_arn(stream, &region);
    admit(&mut state, Service::Firehose, action, resource)
}

fn count_call(shared: &Shared, stream: Option<&str>, action: &'static str) {
    let mut state = shared.state.borrow_mut();
    if let Some(stream) = stream.and_then(|name| state.streams.get_mut(name)) {
        *stream.calls.entry(action).or_default() += 1;
    }
}

/// Lets a request meet its faults. It comes back only when the request is to be answered.
pub(super) async fn meet(line: &Line, delay: Duration, ending: Ending) -> Result<(), ServiceError> {
    if !delay.is_zero() {
        tokio::time::sleep(delay).await;
    }
    match ending {
        Ending::Serve => Ok(()),
        Ending::Refuse(error) => Err(error),
        Ending::Reset => match line.reset().await {},
        Ending::Hang => match std::future::pending::<Infallible>().await {},
    }
}

/// Cuts the line when the answer is to be lost.
pub(super) async fn lose(line: &Line, lose_answer: bool) {
    if lose_answer {
        match line.reset().await {}
    }
}

fn count_refused(shared: &Shared, stream: &str) {
    if let Some(stream) = shared.state.borrow_mut().streams.get_mut(stream) {
        stream.counters.put_requests_refused += 1;
    }
}

/// Reads a body within its bounds of size and time.
async fn read(body: Incoming, bytes_max: usize) -> Result<Bytes, ServiceError> {
    let collected = Limited::new(body, bytes_max).collect();
    match tokio::time::timeout(BODY_TIMEOUT, collected).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            Err(ServiceError::body_too_large(bytes_max))
        }
        // The client is gone or breaks HTTP; nobody will read this.
        Ok(Err(error)) => Err(ServiceError::serialization(error.to_string())),
        Err(_) => Err(ServiceError::of_code(
            "RequestTimeoutException",
            Some(StatusCode::REQUEST_TIMEOUT),
            "The body of the request came too slowly",
        )),
    }
}

/// How long a body may take.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);
