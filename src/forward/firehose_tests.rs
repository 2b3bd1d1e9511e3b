//! What the client takes from the environment, and what it does not.
//!
//! The environment belongs to the whole process, so that each case runs in a process of its own: this
//! test binary again, with just the one test that plays the case.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::process::Command;

use super::*;
use crate::aws::{Unready, Upstream};

/// Says to the child which case it plays.
const CASE: &str = "STANDPIPE_TEST_CASE";

/// An address at which nobody is, for what must never be asked.
const NOBODY: &str = "http://127.0.0.1:9";

fn run(case: &str, environment: &[(&str, &str)]) {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--ignored", "forward::firehose::tests::child", "--nocapture"])
        .env_clear()
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env("HOME", "/nonexistent")
        .envs(environment.iter().copied())
        .env(CASE, case)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{case}: {text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("1 passed"), "{case}: the child has played: {text}");
}

fn put(upstream: Upstream) -> Result<PutAnswer, CallError> {
    let config = Config { upstream, ..Config::default() };
    let firehose = Firehose::new(&config).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(firehose.put(&"demo".parse().unwrap(), b"{}".to_vec()))
}

/// A proxy that goes nowhere. It says what it was asked for.
fn proxy() -> (String, std::thread::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let asked = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut line = String::new();
        BufReader::new(&stream).read_line(&mut line).unwrap();
        stream.write_all(b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n").unwrap();
        line.trim().to_owned()
    });
    (url, asked)
}

#[test]
#[ignore = "a case that its parents run, with an environment of its own"]
fn child() {
    match std::env::var(CASE).unwrap_or_default().as_str() {
        "region's own endpoint" => {
            let (url, asked) = proxy();
            let answer = put(Upstream { proxy: Some(url), ..Upstream::default() });
            assert!(matches!(answer, Err(CallError::Connect { .. })), "{answer:?}");
            let asked = asked.join().unwrap();
            assert_eq!(asked, "CONNECT firehose.eu-west-3.amazonaws.com:443 HTTP/1.1");
        }
        "fips" => {
            let (url, asked) = proxy();
            let upstream = Upstream { proxy: Some(url), fips: true, ..Upstream::default() };
            let answer = put(upstream);
            assert!(matches!(answer, Err(CallError::Connect { .. })), "{answer:?}");
            let asked = asked.join().unwrap();
            assert_eq!(asked, "CONNECT firehose-fips.us-east-1.amazonaws.com:443 HTTP/1.1");
        }
        "no region" => {
            assert_eq!(put(Upstream::default()), Err(CallError::Unready(Unready::NoRegion)));
        }
        "no credentials" => {
            let answer = put(Upstream::default());
            let Err(CallError::Unready(Unready::NoCredentials { message })) = answer else {
                panic!("{answer:?}");
            };
            assert!(message.contains("credentials"), "{message}");
        }
        "credentials that come later" => {
            let (url, asked) = proxy();
            let config = Config {
                upstream: Upstream { proxy: Some(url), ..Upstream::default() },
                ..Config::default()
            };
            let firehose = Firehose::new(&config).unwrap();
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let put = || {
                runtime
                    .block_on(firehose.put(&"demo".parse().unwrap(), b"{}".to_vec()))
                    .unwrap_err()
            };
            assert!(matches!(put(), CallError::Unready(Unready::NoCredentials { .. })));
            let file = std::env::var("AWS_SHARED_CREDENTIALS_FILE").unwrap();
            std::fs::write(file, "[default]\naws_access_key_id = a\naws_secret_access_key = b\n")
                .unwrap();
            let answer = put();
            assert!(matches!(answer, CallError::Connect { .. }), "{answer:?}");
            assert!(asked.join().unwrap().starts_with("CONNECT firehose."));
        }
        case => panic!("nobody plays {case:?}"),
    }
}

const KEYS: [(&str, &str); 2] =
    [("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"), ("AWS_SECRET_ACCESS_KEY", "secret")];

#[test]
fn the_endpoint_of_the_application_is_never_used() {
    let directory = tempfile::tempdir().unwrap();
    let profile = directory.path().join("config");
    std::fs::write(
        &profile,
        format!(
            "[default]\nregion = eu-west-3\nendpoint_url = {NOBODY}\nservices = all\n\
             [services all]\nfirehose =\n  endpoint_url = {NOBODY}\n"
        ),
    )
    .unwrap();
    let mut environment = vec![
        ("AWS_ENDPOINT_URL", NOBODY),
        ("AWS_ENDPOINT_URL_FIREHOSE", NOBODY),
        ("AWS_CONFIG_FILE", profile.to_str().unwrap()),
    ];
    environment.extend(KEYS);
    run("region's own endpoint", &environment);
    run("region's own endpoint", &environment[2..]);
    let mut fips = vec![("AWS_REGION", "us-east-1"), ("AWS_ENDPOINT_URL", NOBODY)];
    fips.extend(KEYS);
    run("fips", &fips);
}

#[test]
fn a_missing_region_is_said() {
    run("no region", &KEYS);
}

#[test]
fn missing_credentials_are_said() {
    run("no credentials", &[("AWS_REGION", "us-east-1")]);
}

#[test]
fn credentials_that_are_written_later_are_found() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("credentials");
    let environment =
        [("AWS_REGION", "us-east-1"), ("AWS_SHARED_CREDENTIALS_FILE", file.to_str().unwrap())];
    run("credentials that come later", &environment);
}
