//! How the encryption of streams is shown and changed over the admin listener.

use serde_json::json;

use super::{Reply, Rig, TOKEN, config};
use crate::admin::{Config, EncryptionChange, EncryptionChanged, EncryptionRefused};
use crate::lifecycle::Phase;

/// What becomes of a change: the key says it, in a test.
pub(super) fn changed(change: &EncryptionChange) -> Result<EncryptionChanged, EncryptionRefused> {
    let why = || "why".to_owned();
    match (change.stream.as_str(), change.key.as_deref()) {
        ("demo", key) => Ok(EncryptionChanged {
            is_under_way: key != Some("same"),
            shown: json!({ "key": key }),
        }),
        ("bad", Some("malformed")) => Err(EncryptionRefused::Malformed(why())),
        ("bad", Some("impossible")) => Err(EncryptionRefused::Impossible(why())),
        ("bad", Some("busy")) => Err(EncryptionRefused::Busy(why())),
        ("bad", Some("calls")) => {
            Err(EncryptionRefused::TooManyCalls { why: why(), retry_after_seconds: None })
        }
        ("bad", Some("calls 60 s")) => {
            Err(EncryptionRefused::TooManyCalls { why: why(), retry_after_seconds: Some(60) })
        }
        ("bad", Some("service")) => {
            Err(EncryptionRefused::Service { code: "KeyTrouble".to_owned(), message: why() })
        }
        ("bad", Some("silent")) => Err(EncryptionRefused::Unanswered(why())),
        ("bad", _) => Err(EncryptionRefused::Stopping),
        _ => Err(EncryptionRefused::UnknownStream),
    }
}

fn rig() -> Rig {
    Rig::with_token(Config { manage_encryption: true, ..config() })
}

fn put(rig: &Rig, stream: &str, token: Option<&str>, body: &str) -> Reply {
    rig.send("PUT", &format!("/v1/streams/{stream}/encryption"), token, body)
}

fn key(name: &str) -> String {
    json!({ "state": "enabled", "key": name }).to_string()
}

#[test]
fn it_is_shown_to_anybody_on_this_machine() {
    let rig = Rig::start(&config());
    let demo = rig.get("/v1/streams/demo/encryption");
    assert_eq!((demo.status, demo.json()), (200, json!({ "state": "enabled" })));
    let other = rig.get("/v1/streams/other/encryption");
    assert_eq!((other.status, &other.json()["code"]), (404, &json!("unknown_stream")));
}

#[test]
fn without_the_switch_there_is_no_change_and_the_answer_names_it() {
    let rig = Rig::with_token(config());
    for token in [None, Some("wrong"), Some(TOKEN)] {
        let refused = put(&rig, "demo", token, r#"{"state":"enabled"}"#);
        assert_eq!(refused.status, 405);
        assert!(refused.has("allow: get, head"), "{}", refused.head);
        let detail = refused.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains("admin.manage_encryption = true"), "{detail}");
    }
}

#[test]
fn a_change_needs_the_token() {
    let rig = rig();
    for (token, code) in [(None, "token_missing"), (Some("wrong"), "token_wrong")] {
        let refused = put(&rig, "demo", token, r#"{"state":"disabled"}"#);
        assert_eq!((refused.status, &refused.json()["code"]), (401, &json!(code)));
    }
    assert_eq!(rig.counted(r#"standpipe_admin_tokens_refused_total{reason="wrong"}"#), 1);
    let taken = put(&rig, "demo", Some(TOKEN), r#"{"state":"disabled"}"#);
    assert_eq!((taken.status, taken.json()), (202, json!({ "key": null })));
}

#[test]
fn a_change_that_needs_no_call_is_done() {
    let same = put(&rig(), "demo", Some(TOKEN), &key("same"));
    assert_eq!((same.status, same.json()), (200, json!({ "key": "same" })));
}

#[test]
fn every_refusal_has_its_status_and_its_code() {
    let rig = rig();
    for (key_name, status, code) in [
        ("malformed", 400, "bad_encryption"),
        ("impossible", 422, "impossible"),
        ("busy", 409, "busy"),
        ("calls", 429, "too_many_calls"),
        ("service", 502, "refused_by_service"),
        ("silent", 504, "unanswered"),
        ("stop", 503, "stopping"),
    ] {
        let refused = put(&rig, "bad", Some(TOKEN), &key(key_name));
        assert_eq!((refused.status, &refused.json()["code"]), (status, &json!(code)));
        assert_eq!(refused.has("retry-after: 3600"), status == 429, "{}", refused.head);
    }
    let known = put(&rig, "bad", Some(TOKEN), &key("calls 60 s"));
    assert!(known.status == 429 && known.has("retry-after: 60"), "{}", known.head);
    let refused = put(&rig, "bad", Some(TOKEN), &key("service")).json();
    assert_eq!(refused["detail"], "KeyTrouble: why");
    assert_eq!(
        (&refused["service_code"], &refused["service_message"]),
        (&json!("KeyTrouble"), &json!("why"))
    );
    for wrong in ["", "[]", r#"{"state":"on"}"#] {
        let refused = put(&rig, "demo", Some(TOKEN), wrong);
        assert_eq!((refused.status, &refused.json()["code"]), (400, &json!("bad_encryption")));
    }
    assert_eq!(put(&rig, "demo", Some(TOKEN), &" ".repeat(5_000)).status, 413);
    assert_eq!(put(&rig, "other", Some(TOKEN), r#"{"state":"disabled"}"#).status, 404);
}

#[test]
fn a_closed_gate_is_a_note_and_no_reason_to_be_unready() {
    let rig = Rig::start(&config());
    rig.life.advance(Phase::Serving);
    let request =
        "GET /readyz HTTP/1.1\r\nhost: x\r\naccept: application/json\r\nconnection: close\r\n\r\n";
    let reply = rig.ask(request);
    assert_eq!(reply.status, 200);
    let note = json!([{ "what": "gate of demo", "why": "closed: not encrypted" }]);
    assert_eq!((&reply.json()["ready"], &reply.json()["notes"]), (&json!(true), &note));
    assert_eq!(rig.get("/readyz").body, "ready\n", "a probe's answer stays short");
}
