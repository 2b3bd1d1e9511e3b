//! The calls of the Firehose protocol about streams, over the wire: how they stand, and who may change them.

use std::sync::Arc;

use crossbeam_channel::{Receiver, unbounded};
use serde_json::{Value, json};

use super::{Ack, Config, Reply, Rig, config};
use crate::ingest::{CallFailed, EncryptionCall, EncryptionFacts, StreamControl, StreamFacts};

const ARN: &str = "arn:aws:kms:eu-west-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";

/// A listener that lets applications change streams, or not, and what it is asked for. Each change comes to this.
fn rig(
    allow_encryption_calls: bool,
    facts: StreamFacts,
    comes_to: Result<(), CallFailed>,
) -> (Rig, Receiver<EncryptionCall>) {
    let (asked, calls) = unbounded();
    let control = StreamControl::new(
        move |_| facts.clone(),
        move |call| {
            asked.send(call).unwrap();
            Box::pin(std::future::ready(comes_to.clone()))
        },
    );
    let config = Config {
        allow_encryption_calls,
        region: Some("eu-west-1".to_owned()),
        ..config(Ack::Memory, Ack::Memory)
    };
    (Rig::start_minded(config, control), calls)
}

fn call(rig: &Rig, operation: &str, body: &Value) -> Reply {
    rig.wire(operation, &body.to_string()).reply()
}

fn start(rig: &Rig, input: &Value) -> Reply {
    let body = json!({ "DeliveryStreamName": "demo", "DeliveryStreamEncryptionConfigurationInput": input });
    call(rig, "StartDeliveryStreamEncryption", &body)
}

fn demo() -> Value {
    json!({ "DeliveryStreamName": "demo" })
}

#[test]
fn applications_change_no_stream_unless_they_are_allowed_to() {
    let (rig, calls) = rig(false, StreamFacts::default(), Ok(()));
    for operation in ["StartDeliveryStreamEncryption", "StopDeliveryStreamEncryption"] {
        let refused = call(&rig, operation, &demo());
        assert_eq!(
            (refused.status, &refused.body["__type"]),
            (400, &json!("AccessDeniedException"))
        );
        let message = refused.body["message"].as_str().unwrap();
        assert!(
            message.starts_with(&format!("not authorized to perform: firehose:{operation}")),
            "{message}"
        );
        assert!(message.ends_with("ingest.allow_encryption_calls = true"), "{message}");
    }
    assert!(calls.is_empty());
}

#[test]
fn what_they_ask_for_goes_to_who_minds_the_streams() {
    let (rig, calls) = rig(true, StreamFacts::default(), Ok(()));
    let stream: crate::record::StreamName = "demo".parse().unwrap();
    let asked = |reply: Reply| {
        assert_eq!((reply.status, &reply.body), (200, &json!({})));
        let call = calls.recv().unwrap();
        assert_eq!(call.stream, stream);
        call.start
    };
    assert_eq!(asked(call(&rig, "StopDeliveryStreamEncryption", &demo())), None);
    assert_eq!(asked(call(&rig, "StartDeliveryStreamEncryption", &demo())), Some(None));
    assert_eq!(asked(start(&rig, &json!({ "KeyType": "AWS_OWNED_CMK" }))), Some(None));
    let customer = json!({ "KeyType": "CUSTOMER_MANAGED_CMK", "KeyARN": ARN });
    assert_eq!(asked(start(&rig, &customer)), Some(Some(ARN.to_owned())));
}

#[test]
fn what_makes_no_sense_is_refused_as_the_service_does() {
    let (rig, calls) = rig(true, StreamFacts::default(), Ok(()));
    for (input, kind) in [
        (json!({}), "ValidationException"),
        (json!({ "KeyType": "MINE" }), "ValidationException"),
        (json!({ "KeyType": "CUSTOMER_MANAGED_CMK" }), "InvalidArgumentException"),
        (json!({ "KeyType": "AWS_OWNED_CMK", "KeyARN": ARN }), "InvalidArgumentException"),
        (json!(1), "SerializationException"),
    ] {
        let refused = start(&rig, &input);
        assert_eq!((refused.status, &refused.body["__type"]), (400, &json!(kind)), "{input}");
    }
    let unknown = call(&rig, "StopDeliveryStreamEncryption", &json!({ "DeliveryStreamName": "x" }));
    assert_eq!(unknown.body["__type"], "ResourceNotFoundException");
    let nameless = call(&rig, "StopDeliveryStreamEncryption", &json!({}));
    assert_eq!(nameless.body["__type"], "ValidationException");
    assert!(calls.is_empty());
}

#[test]
fn a_change_that_fails_has_the_services_own_shape() {
    let why = || "why".to_owned();
    let service = |code: &str| CallFailed::Service { code: code.to_owned(), message: why() };
    for (failed, status, kind) in [
        (CallFailed::InUse(why()), 400, "ResourceInUseException"),
        (CallFailed::TooMany(why()), 400, "LimitExceededException"),
        (CallFailed::Impossible(why()), 400, "InvalidArgumentException"),
        (CallFailed::UnknownStream, 400, "ResourceNotFoundException"),
        (service("InvalidKMSResourceException"), 400, "InvalidKMSResourceException"),
        (service("KMSAccessDeniedException"), 400, "InvalidKMSResourceException"),
        (service("AccessDeniedException"), 400, "AccessDeniedException"),
        (service("Strange"), 500, "InternalFailure"),
        (CallFailed::Unanswered(why()), 503, "ServiceUnavailableException"),
        (CallFailed::Stopping, 503, "ServiceUnavailableException"),
    ] {
        let (rig, _calls) = rig(true, StreamFacts::default(), Err(failed.clone()));
        let refused = call(&rig, "StopDeliveryStreamEncryption", &demo());
        assert_eq!((refused.status, &refused.body["__type"]), (status, &json!(kind)), "{failed:?}");
    }
}

#[test]
fn a_stream_is_described_as_far_as_it_is_known() {
    let described = |facts: StreamFacts| {
        let (rig, _calls) = rig(false, facts, Ok(()));
        call(&rig, "DescribeDeliveryStream", &demo()).body["DeliveryStreamDescription"].clone()
    };
    let nothing = described(StreamFacts::default());
    assert_eq!(nothing["DeliveryStreamType"], "DirectPut");
    assert_eq!(
        (&nothing["Source"], &nothing["DeliveryStreamEncryptionConfiguration"]),
        (&Value::Null, &Value::Null)
    );

    let facts = |status, key: Option<&str>, failure: Option<(&str, &str)>| StreamFacts {
        data_stream: None,
        encryption: Some(EncryptionFacts {
            status,
            key_arn: key.map(Arc::from),
            failure: failure.map(|(kind, details)| (kind.into(), details.into())),
        }),
    };
    let encryption = |facts| described(facts)["DeliveryStreamEncryptionConfiguration"].clone();
    assert_eq!(encryption(facts("DISABLED", None, None)), json!({ "Status": "DISABLED" }));
    let own = json!({ "Status": "ENABLED", "KeyType": "AWS_OWNED_CMK" });
    assert_eq!(encryption(facts("ENABLED", None, None)), own);
    let failed =
        encryption(facts("ENABLING_FAILED", Some(ARN), Some(("KMS_ACCESS_DENIED", "no grant"))));
    assert_eq!(
        (&failed["KeyType"], &failed["KeyARN"]),
        (&json!("CUSTOMER_MANAGED_CMK"), &json!(ARN))
    );
    assert_eq!(
        failed["FailureDescription"],
        json!({ "Type": "KMS_ACCESS_DENIED", "Details": "no grant" })
    );

    for (id, arn) in [
        ("clicks", "arn:aws:kinesis:eu-west-1:000000000000:stream/clicks"),
        (
            "arn:aws:kinesis:eu-west-1:111122223333:stream/x",
            "arn:aws:kinesis:eu-west-1:111122223333:stream/x",
        ),
    ] {
        let fed = described(StreamFacts { data_stream: Some(id.into()), encryption: None });
        assert_eq!(fed["DeliveryStreamType"], "KinesisStreamAsSource");
        assert_eq!(fed["Source"]["KinesisStreamSourceDescription"]["KinesisStreamARN"], arn);
    }
}
