//! Encryption as people and applications manage it: the command, the admin listener, the Firehose protocol.

use std::process::Output;

use serde_json::{Value, json};

use crate::http::{Answer, Client};
use crate::pipe::{Pipe, Setup, TokenFile, wait_until};
use crate::upstream::Upstream;

const TOKEN: &str = "an-admin-token-of-some-length";

/// Runs the command, and says how it ended and what it printed.
fn command(setup: &Setup, words: &[&str]) -> (i32, String) {
    let directory = tempfile::tempdir().unwrap();
    let Output { status, stdout, stderr } = setup.command_of(&directory, words).output().unwrap();
    (status.code().unwrap(), String::from_utf8([stdout, stderr].concat()).unwrap())
}

/// An emulator whose changes of encryption take no time.
fn quick() -> Upstream {
    let upstream = Upstream::start();
    let path = "/emulator/streams/demo/encryption";
    upstream.control("PUT", path, &json!({ "transition_ms": 20, "settle_ms": 0 }));
    upstream
}

fn put(pipe: &Pipe, token: &str, body: &str) -> Answer {
    let authorization = format!("Bearer {token}");
    let headers = [("authorization", authorization.as_str())];
    let path = "/v1/streams/demo/encryption";
    Client::tcp(&pipe.admin).request("PUT", path, &headers, body.as_bytes())
}

fn shown(pipe: &Pipe) -> Value {
    let answer = Client::tcp(&pipe.admin).request("GET", "/v1/streams/demo/encryption", &[], b"");
    assert_eq!(answer.status, 200);
    answer.json()
}

fn wire(pipe: &Pipe, operation: &str, body: &Value) -> Answer {
    let target = format!("Firehose_20150804.{operation}");
    let headers = [("x-amz-target", target.as_str())];
    pipe.client().request("POST", "/", &headers, body.to_string().as_bytes())
}

#[test]
fn the_command_changes_a_stream_and_ends_as_it_says() {
    let upstream = quick();
    let setup = Setup::new(&upstream.endpoint());
    let status = |more: &[&str]| command(&setup, &[&["encryption", "status"], more].concat());
    let (code, said) = status(&[]);
    assert!(code == 0 && said.contains("demo    disabled"), "{code}: {said}");
    let (code, said) = status(&["--require"]);
    assert!(code == 1 && said.contains("1 of 1 streams are not encrypted"), "{code}: {said}");
    let (code, said) = command(&setup, &["encryption", "enable", "demo", "--wait", "--json"]);
    let shown: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((code, &shown["waited"]), (0, &json!("reached")), "{said}");
    let (code, said) = status(&["--require", "--json"]);
    let shown: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((code, &shown["streams"][0]["encrypted"]), (0, &json!(true)));
    let (code, said) = command(&setup, &["encryption", "disable", "demo"]);
    assert!(code == 0 && said.contains("has taken StopDeliveryStreamEncryption"), "{code}: {said}");
    let (code, said) = status(&["nobody"]);
    assert!(code == 69 && said.contains("ResourceNotFoundException"), "{code}: {said}");
    assert_eq!(command(&setup, &["encryption", "enable", "demo", "--key", "mine"]).0, 64);
    assert_eq!(command(&setup, &["encryption", "enable"]).0, 64);
    let wrong = Setup::new(&upstream.endpoint()).config("[control]\ncalls_max = 0\n");
    assert_eq!(command(&wrong, &["encryption", "status", "demo"]).0, 78);
}

#[test]
fn a_change_by_hand_is_made_with_the_token_and_is_in_force() {
    let (upstream, token) = (quick(), TokenFile::new(TOKEN));
    let managed = Setup::new(&upstream.endpoint())
        .set("STANDPIPE_ADMIN_TOKEN_FILE", token.path())
        .set("STANDPIPE_ADMIN_MANAGE_ENCRYPTION", "true");
    let pipe = managed.start();
    assert_eq!(put(&pipe, "wrong", r#"{"state":"enabled"}"#).status, 401);
    let taken = put(&pipe, TOKEN, r#"{"state":"enabled"}"#);
    assert_eq!(taken.status, 202, "{}", taken.json());
    assert_eq!(taken.json()["call"], "StartDeliveryStreamEncryption");
    let detail = taken.json()["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("in force until this process restarts"), "{detail}");
    assert_eq!(shown(&pipe)["by_hand"], json!({ "state": "enabled", "key": "aws-owned" }));
    wait_until("it is encrypted", || shown(&pipe)["state"] == "enabled");
    let again = put(&pipe, TOKEN, r#"{"state":"enabled"}"#);
    assert_eq!((again.status, &again.json()["call"]), (200, &Value::Null));
    let alias = put(&pipe, TOKEN, r#"{"state":"enabled","key":"alias/x"}"#);
    assert_eq!((alias.status, &alias.json()["code"]), (422, &json!("impossible")));
    let status = Client::tcp(&pipe.admin).request("GET", "/v1/status", &[], b"").json();
    let stream = &status["streams"][0];
    assert_eq!(
        (&stream["encryption"]["state"], &stream["gate"]),
        (&json!("enabled"), &json!("open"))
    );
    assert_eq!(stream["goes_to"], "firehose");
}

#[test]
fn an_application_changes_a_stream_only_where_it_may() {
    let upstream = quick();
    let body = json!({ "DeliveryStreamName": "demo" });
    let pipe = Setup::new(&upstream.endpoint()).start();
    let denied = wire(&pipe, "StartDeliveryStreamEncryption", &body);
    assert_eq!((denied.status, &denied.json()["__type"]), (400, &json!("AccessDeniedException")));

    let allowed =
        Setup::new(&upstream.endpoint()).set("STANDPIPE_INGEST_ALLOW_ENCRYPTION_CALLS", "true");
    let pipe = allowed.start();
    let started = wire(&pipe, "StartDeliveryStreamEncryption", &body);
    assert_eq!((started.status, started.json()), (200, json!({})));
    let described = || {
        let answer = wire(&pipe, "DescribeDeliveryStream", &body).json();
        answer["DeliveryStreamDescription"]["DeliveryStreamEncryptionConfiguration"].clone()
    };
    wait_until("the stream is described as encrypted", || described()["Status"] == "ENABLED");
    assert_eq!(described()["KeyType"], "AWS_OWNED_CMK");
}

#[test]
fn a_closed_gate_is_told_to_probes_and_makes_nothing_unready() {
    let upstream = quick();
    let pipe =
        Setup::new(&upstream.endpoint()).set("STANDPIPE_DEFAULTS_ENCRYPTION", "require").start();
    let ready = || Client::tcp(&pipe.admin).request("GET", "/readyz?verbose", &[], b"");
    wait_until("the stream is known not to be encrypted", || shown(&pipe)["state"] == "disabled");
    let answer = ready();
    let text = String::from_utf8(answer.body).unwrap();
    assert_eq!(answer.status, 200);
    assert!(text.starts_with("ready\n") && text.contains("note: gate of demo: closed: "), "{text}");
    assert_eq!(shown(&pipe)["gate"], "closed");
    assert_eq!(pipe.metric("standpipe_encryption_gate", "stream=\"demo\",gate=\"closed\""), 1.0);
}
