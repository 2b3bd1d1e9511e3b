//! What a test commands of encryption, keys, permissions and rates, over the wire.

use serde_json::{Value, json};

use super::Emulator;
use super::testing::{AT_ONCE, Rig, Told, code, config, start, start_with};

const ENCRYPTION: &str = "streams/direct/encryption";

/// The ARN of a key in the account of somebody else.
const THEIRS: &str = "arn:aws:kms:us-east-1:123456789012:key/theirs";

impl Rig {
    fn try_put_direct(&self) -> Told {
        let records = json!([{ "Data": "YQ==" }]);
        let put = json!({ "DeliveryStreamName": "direct", "Records": records });
        self.firehose("PutRecordBatch", &put)
    }

    /// What the answer to a put says of encryption.
    fn flag(&self) -> Value {
        self.try_put_direct().unwrap()["Encrypted"].take()
    }

    fn start_direct(&self, key: Option<&str>) -> Told {
        let mut body = json!({ "DeliveryStreamName": "direct" });
        if let Some(key) = key {
            let key = json!({ "KeyType": "CUSTOMER_MANAGED_CMK", "KeyARN": key });
            body["DeliveryStreamEncryptionConfigurationInput"] = key;
        }
        self.firehose("StartDeliveryStreamEncryption", &body)
    }

    fn described(&self) -> Value {
        let named = json!({ "DeliveryStreamName": "direct" });
        let mut described = self.firehose("DescribeDeliveryStream", &named).unwrap();
        described["DeliveryStreamDescription"]["DeliveryStreamEncryptionConfiguration"].take()
    }

    fn command(&self, command: &Value) -> Value {
        self.control("PUT", ENCRYPTION, command)
    }

    fn new_key(&self) -> String {
        let made = self.kms("CreateKey", &json!({}));
        made["KeyMetadata"]["Arn"].as_str().unwrap().to_owned()
    }

    fn deny(&self, actions: &[&str]) {
        self.control("PUT", "account", &json!({ "denied": actions }));
    }
}

#[test]
fn encryption_can_be_switched_from_outside_and_costs_no_call() {
    let rig = start();
    rig.start_direct(None).unwrap();
    assert_eq!(rig.flag(), true);
    let shown = rig.command(&json!({ "set": "disabled" }));
    assert_eq!((&shown["encrypts"], &shown["calls"]), (&json!(false), &json!(1)));
    assert_eq!((rig.flag(), &rig.described()["Status"]), (json!(false), &json!("DISABLED")));
    rig.command(&json!({ "set": "enabled", "key": THEIRS }));
    assert_eq!((rig.flag(), &rig.described()["KeyARN"]), (json!(true), &json!(THEIRS)));

    let Rig { emulator, dir } = rig;
    emulator.stop().unwrap();
    let rig = Rig { emulator: Emulator::start(config(dir.path())).unwrap(), dir };
    assert_eq!((rig.flag(), &rig.described()["Status"]), (json!(true), &json!("ENABLED")));
}

#[test]
fn answers_can_be_made_to_say_what_is_not_true_while_the_journal_tells_the_truth() {
    let rig = start();
    rig.start_direct(None).unwrap();
    for (flag, said) in [
        (json!("absent"), Value::Null),
        (json!("false"), json!(false)),
        (json!("true"), json!(true)),
        (Value::Null, json!(true)),
    ] {
        rig.command(&json!({ "flag": flag }));
        assert_eq!(rig.flag(), said, "{flag}");
    }
    rig.command(&json!({ "flag": "true", "set": "disabled" }));
    assert_eq!(rig.flag(), true);
    let truth: Vec<_> =
        rig.journal("streams/direct").iter().map(|record| record["encrypted"] == true).collect();
    assert_eq!(truth, [true, true, true, true, false]);
    rig.control("DELETE", ENCRYPTION, &json!({}));
    assert_eq!(rig.flag(), false);
}

#[test]
fn changes_take_as_long_as_is_commanded_while_it_runs() {
    let rig = start();
    rig.command(&json!({ "transition_ms": 3_600_000 }));
    rig.start_direct(None).unwrap();
    assert_eq!((rig.flag(), &rig.described()["Status"]), (json!(false), &json!("ENABLING")));
    rig.command(&json!({ "set": "disabled", "transition_ms": 0, "settle_ms": 3_600_000 }));
    rig.start_direct(None).unwrap();
    assert_eq!((rig.flag(), &rig.described()["Status"]), (json!(false), &json!("ENABLED")));
}

#[test]
fn the_calls_of_a_day_can_be_set_and_every_call_is_counted() {
    let rig = start();
    rig.command(&json!({ "calls": 24 }));
    rig.start_direct(None).unwrap();
    assert_eq!(code(rig.start_direct(None)), "LimitExceededException");
    assert_eq!(rig.command(&json!({}))["calls"], 25);
    rig.described();
    rig.flag();
    let calls = rig.get("streams/direct")["calls"].take();
    let expected = json!({ "DescribeDeliveryStream": 1, "PutRecordBatch": 1,
        "StartDeliveryStreamEncryption": 2 });
    assert_eq!(calls, expected);
    assert_eq!(rig.get("calls")["firehose"], expected);
}

#[test]
fn every_failure_can_be_asked_for() {
    let rig =
        start_with(|config| config.sse = super::SseTiming { calls_per_day_max: 99, ..AT_ONCE });
    for failure in [
        "RETIRE_KMS_GRANT_FAILED",
        "CREATE_KMS_GRANT_FAILED",
        "KMS_ACCESS_DENIED",
        "DISABLED_KMS_KEY",
        "INVALID_KMS_KEY",
        "KMS_KEY_NOT_FOUND",
        "KMS_OPT_IN_REQUIRED",
        "UNKNOWN_ERROR",
    ] {
        let faults = json!({ "sse_failure": failure, "fail_next": 1 });
        rig.control("PUT", "streams/direct/faults", &faults);
        rig.start_direct(None).unwrap();
        let described = rig.described();
        assert_eq!(described["Status"], "ENABLING_FAILED");
        assert_eq!(described["FailureDescription"]["Type"], failure);
        assert_eq!(rig.flag(), false);
        rig.start_direct(None).unwrap();
        assert_eq!(rig.described()["Status"], "ENABLED");
        rig.command(&json!({ "set": "disabled" }));
    }
}

#[test]
fn a_key_that_cannot_be_used_lets_the_start_fail() {
    let rig = start();
    let missing = "arn:aws:kms:us-east-1:000000000000:key/00000000-0000-4000-8000-000000000009";
    let (disabled, dying) = (rig.new_key(), rig.new_key());
    rig.kms("DisableKey", &json!({ "KeyId": disabled }));
    rig.kms("ScheduleKeyDeletion", &json!({ "KeyId": dying }));
    for (key, failure) in [
        (missing, "KMS_KEY_NOT_FOUND"),
        (&disabled, "DISABLED_KMS_KEY"),
        (&dying, "INVALID_KMS_KEY"),
    ] {
        rig.start_direct(Some(key)).unwrap();
        let described = rig.described();
        assert_eq!(described["Status"], "ENABLING_FAILED");
        assert_eq!(described["FailureDescription"]["Type"], failure);
    }
    rig.start_direct(Some(THEIRS)).unwrap();
    assert_eq!(rig.described()["Status"], "ENABLED", "keys of others are believed");
}

#[test]
fn puts_are_refused_while_the_key_of_the_stream_cannot_be_used() {
    let rig = start();
    let key = rig.new_key();
    let named = json!({ "KeyId": key });
    rig.start_direct(Some(&key)).unwrap();
    assert_eq!(rig.flag(), true);
    for (trouble, remedy) in [
        (&["DisableKey"][..], &["EnableKey"][..]),
        (&["ScheduleKeyDeletion"], &["CancelKeyDeletion", "EnableKey"]),
    ] {
        trouble.iter().for_each(|action| drop(rig.kms(action, &named)));
        assert_eq!(code(rig.try_put_direct()), "InvalidKMSResourceException", "{trouble:?}");
        remedy.iter().for_each(|action| drop(rig.kms(action, &named)));
        assert_eq!(rig.flag(), true);
    }
    assert_eq!(rig.get("streams/direct")["counters"]["put_requests_refused"], 2);
}

#[test]
fn those_who_put_under_a_customer_s_key_need_its_permissions_and_others_do_not() {
    let rig = start();
    rig.start_direct(None).unwrap();
    rig.deny(&["kms:GenerateDataKey", "kms:Decrypt"]);
    assert_eq!(rig.flag(), true, "nobody needs a permission for the service's own key");
    rig.start_direct(Some(THEIRS)).unwrap();
    for denied in ["kms:GenerateDataKey", "kms:Decrypt"] {
        rig.deny(&[denied]);
        let (code, message) = rig.try_put_direct().unwrap_err();
        assert_eq!(code, "InvalidKMSResourceException");
        assert!(message.starts_with("The grant for the CMK"), "{message}");
    }
    rig.deny(&[&format!("kms:Decrypt {}", rig.emulator.key_arn())]);
    assert_eq!(rig.flag(), true, "it is denied on another key");
    rig.deny(&["kms:CreateGrant"]);
    rig.start_direct(Some(THEIRS)).unwrap();
    let failure = rig.described()["FailureDescription"].take();
    assert_eq!(failure["Type"], "CREATE_KMS_GRANT_FAILED");
}

#[test]
fn an_action_that_callers_may_not_use_is_denied() {
    let rig = start();
    rig.deny(&["firehose:StartDeliveryStreamEncryption", "kms:CreateKey"]);
    let (code, message) = rig.start_direct(None).unwrap_err();
    assert_eq!(code, "AccessDeniedException");
    assert!(
        message.contains(
            "perform: firehose:StartDeliveryStreamEncryption on resource: \
             arn:aws:firehose:us-east-1:000000000000:deliverystream/direct"
        ),
        "{message}"
    );
    assert!(rig.ask("TrentService.CreateKey", &json!({})).is_err());
    rig.described();
}

#[test]
fn describe_is_throttled_when_it_is_asked_for() {
    let rig = start();
    rig.control("PUT", "account", &json!({ "rps": { "firehose:DescribeDeliveryStream": 1 } }));
    let describe = || {
        let named = json!({ "DeliveryStreamName": "direct" });
        rig.firehose("DescribeDeliveryStream", &named)
    };
    // A bucket of one a second has nothing left after the first, unless a second goes by.
    let refused = (0..20).find_map(|_| describe().err());
    let (code, message) = refused.expect("twenty calls do not take twenty seconds");
    assert_eq!(code, "ThrottlingException");
    assert!(message.starts_with("Please slow down. Max limit of 1 RPS has breached for"));
    rig.flag();
}
