//! The encryption of streams between those who mind it and those who show and change it: the admin listener and the
//! Firehose protocol, each in its own words.

use std::sync::Arc;
use std::time::Instant;

use serde_json::{Value, json};

use crate::admin::{Encryption, EncryptionChange, EncryptionChanged, EncryptionRefused};
use crate::encryption::sse::{
    Change, ChangeRefused, Changed, Declared, Destination, Key, State, StreamStatus, Target,
    Watcher,
};
use crate::gate::{Passage, Route};
use crate::ingest::{CallFailed, EncryptionCall, EncryptionFacts, StreamControl, StreamFacts};
use crate::record::StreamName;

/// The most streams that are noted one by one where probes look.
const NOTES_MAX: usize = 20;

/// What the admin listener shows and changes.
pub(super) fn for_admin(watcher: &Watcher) -> Encryption {
    let (looks, changes) = (watcher.clone(), watcher.clone());
    Encryption {
        show: Box::new(move |name| {
            let known = looks.status();
            known.iter().find(|status| status.stream.as_str() == name).map(shown)
        }),
        change: Box::new(move |change| {
            let watcher = changes.clone();
            Box::pin(async move {
                let changed = watcher.change(asked(&change)?).await.map_err(refused)?;
                Ok(told(&changed))
            })
        }),
    }
}

/// What the Firehose protocol asks.
pub(super) fn for_applications(watcher: &Watcher) -> StreamControl {
    let (looks, changes) = (watcher.clone(), watcher.clone());
    StreamControl::new(
        move |name| {
            let known = looks.status();
            known.iter().find(|status| status.stream == *name).map(facts).unwrap_or_default()
        },
        move |EncryptionCall { stream, start }| {
            let watcher = changes.clone();
            Box::pin(async move {
                let target = match start {
                    None => Target::Plain,
                    Some(None) => Target::Encrypted(Key::AwsOwned),
                    Some(Some(key)) => Target::Encrypted(
                        Key::parse(&key).map_err(|bad| CallFailed::Impossible(bad.to_string()))?,
                    ),
                };
                watcher.change(Change { stream, target }).await.map(drop).map_err(failed)
            })
        },
    )
}

/// The gates that are not open, for whoever asks whether all is well.
pub(super) fn notes(watcher: &Watcher) -> Vec<(String, String)> {
    let known = watcher.status();
    let mut closed = known.iter().filter_map(|status| {
        let why = match &status.passage {
            Passage::Open => return None,
            Passage::Half => "half open: one record goes first, and its answer decides".to_owned(),
            Passage::Closed(why) => format!("closed: {why}"),
        };
        Some((format!("gate of {}", status.stream), why))
    });
    let mut notes: Vec<_> = closed.by_ref().take(NOTES_MAX).collect();
    match closed.count() {
        0 => {}
        more => notes.push(("gates".to_owned(), format!("{more} more are not open"))),
    }
    notes
}

/// A change as the control is asked for it.
fn asked(change: &EncryptionChange) -> Result<Change, EncryptionRefused> {
    let stream: StreamName = change.stream.parse().map_err(|_| EncryptionRefused::UnknownStream)?;
    let target = match &change.key {
        None => Target::Plain,
        Some(key) => Target::Encrypted(
            Key::parse(key).map_err(|bad| EncryptionRefused::Malformed(bad.to_string()))?,
        ),
    };
    Ok(Change { stream, target })
}

fn refused(refused: ChangeRefused) -> EncryptionRefused {
    match refused {
        ChangeRefused::UnknownStream => EncryptionRefused::UnknownStream,
        ChangeRefused::Impossible(why) => EncryptionRefused::Impossible(why),
        ChangeRefused::Busy(why) => EncryptionRefused::Busy(why),
        ChangeRefused::TooManyCalls { retry_after_seconds } => {
            EncryptionRefused::TooManyCalls { why: refused.to_string(), retry_after_seconds }
        }
        ChangeRefused::Service { code, message } => EncryptionRefused::Service { code, message },
        ChangeRefused::Unanswered(why) => EncryptionRefused::Unanswered(why),
        ChangeRefused::Stopping => EncryptionRefused::Stopping,
    }
}

fn failed(refused: ChangeRefused) -> CallFailed {
    match refused {
        ChangeRefused::UnknownStream => CallFailed::UnknownStream,
        ChangeRefused::Impossible(why) => CallFailed::Impossible(why),
        ChangeRefused::Busy(why) => CallFailed::InUse(why),
        ChangeRefused::TooManyCalls { .. } => CallFailed::TooMany(refused.to_string()),
        ChangeRefused::Service { code, message } => CallFailed::Service { code, message },
        ChangeRefused::Unanswered(why) => CallFailed::Unanswered(why),
        ChangeRefused::Stopping => CallFailed::Stopping,
    }
}

/// What is said of a change that was taken, or that nobody had to make.
fn told(Changed { call, status }: &Changed) -> EncryptionChanged {
    let done = call.map_or_else(
        || "nothing had to be done at the service".to_owned(),
        |call| format!("the service has taken {call} and goes on with it by itself"),
    );
    let later = status.declared.manage.as_ref().map_or_else(
        || "nothing is declared that would undo it then (manage = false)".to_owned(),
        |target| format!("the declaration wins then (manage = true: {target})"),
    );
    EncryptionChanged {
        is_under_way: call.is_some(),
        shown: json!({
            "stream": status.stream.as_str(),
            "call": call,
            "detail": format!("{done}; it is in force until this process restarts, and {later}"),
            "encryption": shown(status),
        }),
    }
}

/// Everything about one stream.
fn shown(status: &StreamStatus) -> Value {
    let now = Instant::now();
    let ago = |at: Instant| now.saturating_duration_since(at).as_secs_f64();
    let declared = &status.declared;
    let in_force = status.by_hand.as_ref().or(declared.manage.as_ref());
    json!({
        "stream": status.stream.as_str(),
        "declared": declaration(declared),
        "by_hand": status.by_hand.as_ref().map(target),
        "in_force": in_force.map(target),
        "state": status.state.as_str(),
        "state_seconds": ago(status.since),
        "detail": &*status.detail,
        "key": status.key.as_ref().map(ToString::to_string),
        "failure": status.failure.as_ref().map(failure),
        "source": status.source.as_deref(),
        "route": route(&status.route, status.is_route_assumed),
        "gate": gate(&status.passage),
        "gate_reason": gate_reason(&status.passage),
        "gate_seconds": ago(status.passage_since),
        "records_confirmed": status.records.confirmed,
        "records_unencrypted": status.records.unencrypted,
        "records_unverified": status.records.unverified,
        "confirmed_age_seconds": status.confirmed_at.map(ago),
        "asked_age_seconds": status.described_at.map(ago),
        "asked_again_in_seconds": status
            .describe_at
            .map(|at| at.saturating_duration_since(now).as_secs_f64()),
        "trouble": status.trouble.as_deref(),
        "calls_left": status.calls_left,
        "doing": status.doing,
    })
}

/// What a person and a program look for first, for the status of the whole process.
pub(super) fn members(status: &StreamStatus) -> serde_json::Map<String, Value> {
    let members = json!({
        "encryption": {
            "state": status.state.as_str(),
            "policy": status.declared.policy.as_str(),
            "managed": status.declared.manage.is_some() || status.by_hand.is_some(),
            "key": status.key.as_ref().map(ToString::to_string),
            "detail": &*status.detail,
            "failure": status.failure.as_ref().map(failure),
            "trouble": status.trouble.as_deref(),
            "records_confirmed": status.records.confirmed,
            "records_unencrypted": status.records.unencrypted,
            "records_unverified": status.records.unverified,
        },
        "gate": gate(&status.passage),
        "gate_reason": gate_reason(&status.passage),
        "goes_to": match &status.route {
            Route::Unknown => "nobody knows yet".to_owned(),
            Route::Firehose => "firehose".to_owned(),
            Route::Kinesis(stream) => format!("kinesis: {}", stream.id),
            Route::Nowhere(why) => format!("nowhere: {why}"),
        },
    });
    if let Value::Object(members) = members { members } else { serde_json::Map::new() }
}

fn declaration(declared: &Declared) -> Value {
    let (destination, data_stream) = match &declared.destination {
        Destination::Auto => ("auto", None),
        Destination::Firehose => ("firehose", None),
        Destination::Kinesis(stream) => ("kinesis", Some(&**stream)),
    };
    json!({
        "destination": destination,
        "kinesis_stream": data_stream,
        "encryption": declared.policy.as_str(),
        "manage": declared.manage.as_ref().map(target),
    })
}

fn target(target: &Target) -> Value {
    match target {
        Target::Encrypted(key) => json!({ "state": "enabled", "key": key.to_string() }),
        Target::Plain => json!({ "state": "disabled", "key": null }),
    }
}

fn route(route: &Route, is_assumed: bool) -> Value {
    let (to, data_stream, reason) = match route {
        Route::Unknown => ("unknown", None, None),
        Route::Firehose => ("firehose", None, None),
        Route::Kinesis(stream) => ("kinesis", Some(&*stream.id), None),
        Route::Nowhere(why) => ("nowhere", None, Some(&**why)),
    };
    json!({ "to": to, "data_stream": data_stream, "reason": reason, "assumed": is_assumed })
}

const fn gate(passage: &Passage) -> &'static str {
    match passage {
        Passage::Open => "open",
        Passage::Half => "half",
        Passage::Closed(_) => "closed",
    }
}

fn gate_reason(passage: &Passage) -> Option<&str> {
    match passage {
        Passage::Closed(why) => Some(why),
        Passage::Open | Passage::Half => None,
    }
}

/// What the protocol's Describe says. A stream that reads from a data stream has no encryption of its own.
fn facts(status: &StreamStatus) -> StreamFacts {
    if let Route::Kinesis(stream) = &status.route {
        return StreamFacts { data_stream: Some(stream.id.clone()), encryption: None };
    }
    let as_service_says = match status.state {
        State::Unknown => None,
        State::Disabled => Some("DISABLED"),
        State::Enabling => Some("ENABLING"),
        State::Enabled | State::Contradicted => Some("ENABLED"),
        State::EnablingFailed => Some("ENABLING_FAILED"),
        State::Disabling => Some("DISABLING"),
        State::DisablingFailed => Some("DISABLING_FAILED"),
    };
    let encryption = as_service_says.map(|word| EncryptionFacts {
        status: word,
        key_arn: match &status.key {
            Some(Key::Customer(arn)) => Some(Arc::clone(arn)),
            Some(Key::AwsOwned) | None => None,
        },
        failure: status.failure.clone(),
    });
    StreamFacts { data_stream: None, encryption }
}

fn failure((kind, details): &(Arc<str>, Arc<str>)) -> String {
    if details.is_empty() { kind.to_string() } else { format!("{kind}: {details}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encryption::sse::{Policy, Records};
    use crate::gate::DataStream;

    fn status() -> StreamStatus {
        let now = Instant::now();
        StreamStatus {
            stream: "demo".parse().unwrap(),
            declared: Declared { policy: Policy::Require, ..Declared::default() },
            by_hand: None,
            route: Route::Firehose,
            is_route_assumed: false,
            source: Some("DirectPut".into()),
            state: State::Enabled,
            since: now,
            detail: "the answers confirm it".into(),
            key: None,
            failure: None,
            passage: Passage::Open,
            passage_since: now,
            records: Records { confirmed: 7, unencrypted: 0, unverified: 1 },
            confirmed_at: Some(now),
            described_at: None,
            describe_at: None,
            trouble: None,
            calls_left: 20,
            doing: "idle",
        }
    }

    #[test]
    fn everything_about_a_stream_is_shown_and_what_is_not_there_is_null() {
        let shown = shown(&status());
        assert_eq!(shown["declared"]["encryption"], "require");
        assert_eq!((&shown["in_force"], &shown["by_hand"]), (&Value::Null, &Value::Null));
        assert_eq!((&shown["state"], &shown["gate"]), (&json!("enabled"), &json!("open")));
        assert_eq!(
            shown["route"],
            json!({"to": "firehose", "data_stream": null, "reason": null, "assumed": false})
        );
        assert_eq!(
            (&shown["records_confirmed"], &shown["records_unverified"]),
            (&json!(7), &json!(1))
        );
        assert!(shown["confirmed_age_seconds"].is_number() && shown["asked_age_seconds"].is_null());
        let members = members(&status());
        assert_eq!(
            (&members["goes_to"], &members["gate_reason"]),
            (&json!("firehose"), &Value::Null)
        );
    }

    #[test]
    fn what_a_person_asked_for_is_in_force_and_the_declaration_that_will_win_is_named() {
        let by_hand = Some(Target::Plain);
        let managed =
            Declared { manage: Some(Target::Encrypted(Key::AwsOwned)), ..Declared::default() };
        let status = StreamStatus { by_hand, declared: managed, ..status() };
        let told = told(&Changed { call: Some("StopDeliveryStreamEncryption"), status });
        assert!(told.is_under_way);
        assert_eq!(told.shown["encryption"]["in_force"], json!({"state": "disabled", "key": null}));
        assert_eq!(
            told.shown["detail"],
            "the service has taken StopDeliveryStreamEncryption and goes on with it by itself; it is in force \
             until this process restarts, and the declaration wins then (manage = true: encrypted under aws-owned)"
        );
    }

    #[test]
    fn a_change_names_a_stream_and_a_key_that_can_be_one() {
        let change = |stream: &str, key: Option<&str>| {
            asked(&EncryptionChange { stream: stream.to_owned(), key: key.map(str::to_owned) })
        };
        assert_eq!(change("demo", None).unwrap().target, Target::Plain);
        let alias = Target::Encrypted(Key::Customer("alias/x".into()));
        assert_eq!(change("demo", Some("alias/x")).unwrap().target, alias);
        assert_eq!(change("a b", None), Err(EncryptionRefused::UnknownStream));
        assert!(matches!(change("demo", Some("x")), Err(EncryptionRefused::Malformed(_))));
    }

    #[test]
    fn the_protocol_is_told_in_the_services_words() {
        let arn: Arc<str> = "arn:aws:kms:eu-west-1:111122223333:key/1".into();
        let (state, key) = (State::EnablingFailed, Some(Key::Customer(Arc::clone(&arn))));
        let failure = Some(("KMS_ACCESS_DENIED".into(), "the grant is gone".into()));
        let told = facts(&StreamStatus { state, key, failure, ..status() });
        let encryption = told.encryption.unwrap();
        assert_eq!((encryption.status, encryption.key_arn), ("ENABLING_FAILED", Some(arn)));
        assert_eq!(
            encryption.failure,
            Some(("KMS_ACCESS_DENIED".into(), "the grant is gone".into()))
        );
        let route =
            Route::Kinesis(Arc::new(DataStream { id: "clicks".into(), record_bytes_max: 1 }));
        let told = facts(&StreamStatus { route, ..status() });
        assert_eq!((told.data_stream.as_deref(), told.encryption), (Some("clicks"), None));
        assert_eq!(
            facts(&StreamStatus { state: State::Unknown, ..status() }),
            StreamFacts::default()
        );
    }
}
