//! One request to Kinesis, once its body is read: judged by the faults, admitted, routed, answered.

use std::rc::Rc;

use super::dispatch::{lose, meet};
use super::injector::Ending;
use super::kinesis::naming::{arn_of, named_stream};
use super::kinesis::put_input::{parse_put_record, parse_put_records};
use super::kinesis::reads::stream_of_iterator;
use super::kinesis::{self, puts};
use super::server::Line;
use super::service::Service;
use super::state::Shared;
use super::wire::{Answer, ServiceError, success};

/// Serves an action of Kinesis.
pub(super) async fn serve_kinesis(
    shared: &Rc<Shared>,
    line: &Line,
    action: &'static str,
    body: &[u8],
) -> Result<Answer, ServiceError> {
    let region = shared.state.borrow().config.region.clone();
    let put = match action {
        "PutRecord" => Some(parse_put_record(body)?),
        "PutRecords" => Some(parse_put_records(body)?),
        _ => None,
    };
    let stream = match &put {
        Some(put) => put.stream(&region).ok(),
        None => named_stream(body, &region).or_else(|| stream_of_iterator(body)),
    };
    let stream = stream.as_deref();
    count_call(shared, stream, action);
    let verdict = {
        let mut state = shared.state.borrow_mut();
        let records = put.iter().flat_map(|put| put.records.iter());
        state.kinesis_injector_of(stream).judge(action, records)
    };
    if put.is_some() && matches!(verdict.ending, Ending::Reset | Ending::Hang) {
        count_refused(shared, stream);
    }
    let lose_answer = verdict.lose_answer;
    let admitted = match meet(line, verdict.delay, verdict.ending).await {
        Ok(()) => admit(shared, action, stream, &region),
        Err(refused) => Err(refused),
    };
    let served = match (admitted, put) {
        (Err(refused), put) => Err((refused, put.is_some())),
        (Ok(()), None) => {
            let outcome = kinesis::act(&mut shared.state.borrow_mut(), action, body);
            outcome.map(|json| success(json.to_string())).map_err(|refused| (refused, false))
        }
        (Ok(()), Some(put)) => {
            let failed = verdict.failed.as_ref();
            let served = match put.stream(&region) {
                Ok(name) => puts::serve(shared, &name, put, failed, lose_answer).await,
                Err(refused) => Err(refused),
            };
            served.map_err(|refused| (refused, true))
        }
    };
    let served = served.map_err(|(refused, is_put)| {
        if is_put {
            tracing::debug!(stream, code = refused.code(), "refused a put");
            count_refused(shared, stream);
        }
        refused
    });
    lose(line, lose_answer).await;
    served
}

fn admit(
    shared: &Shared,
    action: &str,
    stream: Option<&str>,
    region: &str,
) -> Result<(), ServiceError> {
    let mut state = shared.state.borrow_mut();
    let uptime = state.uptime();
    let resource = || stream.map_or_else(|| String::from("*"), |name| arn_of(name, region));
    state.account.admit(Service::Kinesis, action, resource, uptime)
}

fn count_call(shared: &Shared, stream: Option<&str>, action: &'static str) {
    let mut state = shared.state.borrow_mut();
    if let Some(stream) = stream.and_then(|name| state.kinesis.streams.get_mut(name)) {
        *stream.calls.entry(action).or_default() += 1;
    }
}

fn count_refused(shared: &Shared, stream: Option<&str>) {
    let mut state = shared.state.borrow_mut();
    if let Some(stream) = stream.and_then(|name| state.kinesis.streams.get_mut(name)) {
        stream.counters.put_requests_refused += 1;
    }
}
