//! Start and stop: one clear line and the right exit code, and what a stop does with what is there.

use std::io::{BufRead, BufReader, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::Output;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::http::Client;
use crate::ledger::Ledger;
use crate::pipe::{Pipe, Setup, TokenFile, is_true_within, metric_in, wait_until};
use crate::upstream::Upstream;

/// Runs it to its end, which is to come soon.
fn fails(setup: &Setup) -> (i32, String) {
    let directory = tempfile::tempdir().unwrap();
    let Output { status, stderr, .. } = setup.command(&directory).output().unwrap();
    (status.code().unwrap(), String::from_utf8(stderr).unwrap())
}

#[test]
fn a_used_port_ends_the_start_with_one_line_that_names_it() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("data.sock");
    for variable in ["STANDPIPE_INGEST_LISTEN", "STANDPIPE_ADMIN_LISTEN"] {
        let setup = Setup::new("http://127.0.0.1:9")
            .set("STANDPIPE_INGEST_UNIX_SOCKET", socket.to_str().unwrap());
        let (code, error) = fails(&setup.set(variable, &address));
        assert_eq!(code, 69, "{error}");
        assert!(!socket.exists(), "nothing is left behind");
        let lines: Vec<&str> = error.lines().filter(|line| !line.starts_with('{')).collect();
        assert_eq!(lines.len(), 1, "{error}");
        assert!(lines[0].contains(&address), "{error}");
    }
}

#[test]
fn a_token_that_is_not_fit_ends_the_start_with_the_setting_that_names_it() {
    let token = TokenFile::new("two words");
    for (variable, key) in [
        ("STANDPIPE_INGEST_TOKEN_FILE", "ingest.token_file"),
        ("STANDPIPE_ADMIN_TOKEN_FILE", "admin.token_file"),
    ] {
        let (code, error) = fails(&Setup::new("http://127.0.0.1:9").set(variable, token.path()));
        assert_eq!(code, 78, "{error}");
        assert!(error.contains(key) && error.contains("one word"), "{error}");
    }
}

#[test]
fn all_faults_of_a_configuration_are_said_at_once_with_their_lines() {
    let setup = Setup::new("http://127.0.0.1:9")
        .config("[[streams]]\nname = \"a b\"\nlinger = 3\n[ingest.repeats]\nwindow_ms = \"x\"\n");
    let (code, error) = fails(&setup);
    assert_eq!(code, 78, "{error}");
    for part in ["standpipe.toml:11", "standpipe.toml:12", "linger_ms", "standpipe.toml:14"] {
        assert!(error.contains(part), "{part} in: {error}");
    }
}

/// Runs `check --live`, and says how it ended and what it printed.
fn check_live(setup: &Setup) -> (i32, String) {
    let directory = tempfile::tempdir().unwrap();
    let mut command = setup.command_of(&directory, &["check", "--live"]);
    let Output { status, stdout, stderr } = command.output().unwrap();
    let said = [stdout, stderr].concat();
    (status.code().unwrap(), String::from_utf8(said).unwrap())
}

#[test]
fn a_live_check_asks_the_service_about_each_stream() {
    let upstream = Upstream::start();
    let (code, said) = check_live(&Setup::new(&upstream.endpoint()));
    assert_eq!(code, 0, "{said}");
    assert!(
        said.contains(
            "demo: ACTIVE, source DirectPut, records go to firehose, encryption disabled"
        ),
        "{said}"
    );

    let both = Setup::new(&upstream.endpoint()).set("STANDPIPE_STREAMS", "demo,missing");
    let (code, said) = check_live(&both);
    assert_eq!(code, 69, "{said}");
    assert!(said.contains("missing: ResourceNotFoundException"), "{said}");
    assert!(said.contains("1 of 2 streams can not be delivered to now"), "{said}");
}

#[test]
fn a_live_check_says_that_credentials_are_missing() {
    let setup = Setup::new("http://127.0.0.1:9")
        .set("AWS_ACCESS_KEY_ID", "")
        .set("AWS_SECRET_ACCESS_KEY", "");
    let (code, said) = check_live(&setup);
    assert_eq!(code, 69, "{said}");
    assert!(said.contains("NoCredentials"), "{said}");
}

#[test]
fn durable_is_refused_by_a_pipe_without_a_spool() {
    let setup = Setup::new("http://127.0.0.1:9").set("STANDPIPE_DEFAULTS_ACK", "durable");
    let (code, error) = fails(&setup);
    assert_eq!(code, 78, "{error}");
    assert!(error.contains("durable") && error.contains("spool"), "{error}");
}

#[test]
fn a_system_without_certificates_ends_the_start_with_what_is_missing() {
    let setup = |endpoint: &str| {
        let none = "/nonexistent";
        Setup::new(endpoint).set("SSL_CERT_FILE", none).set("SSL_CERT_DIR", none)
    };
    let (code, error) = fails(&setup("https://127.0.0.1:9"));
    assert_eq!(code, 69, "{error}");
    assert!(error.contains("ca-certificates"), "{error}");
    // In the clear nothing needs them.
    let upstream = Upstream::start();
    let pipe = setup(&upstream.endpoint()).start();
    assert_eq!(Ledger::default().post(&mut pipe.client(), 1, &[]), 202);
    pipe.settle();
    // Kinesis does, whose endpoint is not named: what is known to go there fails at once.
    let declared =
        "[[streams]]\nname = \"demo\"\ndestination = \"kinesis\"\nkinesis_stream = \"clicks\"\n";
    let (code, error) = fails(&setup(&upstream.endpoint()).config(declared));
    assert_eq!(code, 69, "{error}");
    assert!(error.contains("ca-certificates"), "{error}");
}

#[test]
fn a_stream_that_turns_out_to_need_certificates_is_held_and_says_so() {
    let upstream = Upstream::with_data_streams(&[], &["clicks=demo"]);
    let pipe = Setup::new(&upstream.endpoint())
        .set("SSL_CERT_FILE", "/nonexistent")
        .set("SSL_CERT_DIR", "/nonexistent")
        .config("[control]\npoll_min_ms = 10\npoll_max_ms = 200\n")
        .start();
    assert_eq!(Ledger::default().post(&mut pipe.client(), 1, &[]), 202);
    wait_until("it says what is missing", || {
        pipe.stream("demo").to_string().contains("ca-certificates")
    });
    assert_eq!(pipe.stream("demo")["records_in_memory"], 1, "and keeps the record");
}

#[test]
fn it_is_ready_without_the_service_and_without_credentials() {
    let setup = Setup::new("http://127.0.0.1:9")
        .set("AWS_ACCESS_KEY_ID", "")
        .set("AWS_SECRET_ACCESS_KEY", "");
    let begun = Instant::now();
    let pipe = setup.start();
    assert!(begun.elapsed() < Duration::from_secs(10));
    assert_eq!(pipe.client().request("POST", &Pipe::path("demo"), &[], b"x").status, 202);
    wait_until("it says what is missing", || {
        let status = pipe.status().to_string();
        status.contains("credentials") || status.contains("refused")
    });
    assert_eq!(pipe.admin().get("/livez").status, 200);
}

#[test]
fn a_stop_delivers_what_is_there_and_ends_with_success() {
    let upstream = Upstream::start();
    let pipe =
        Setup::new(&upstream.endpoint()).set("STANDPIPE_DEFAULTS_LINGER_MS", "60000").start();
    let mut ledger = Ledger::default();
    for _ in 0..7 {
        ledger.post(&mut pipe.client(), 33, &[]);
    }
    let (status, _) = pipe.stop();
    assert!(status.success());
    assert_eq!(ledger.check(upstream.records("demo").values()), 0);
}

#[test]
fn a_signal_that_comes_with_the_first_connection_is_heard() {
    let upstream = Upstream::start();
    for _ in 0..20 {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("data.sock");
        let setup = Setup::new(&upstream.endpoint())
            .set("STANDPIPE_INGEST_UNIX_SOCKET", socket.to_str().unwrap())
            .set("STANDPIPE_STOP_QUIET_MS", "0");
        let mut child = setup.command(&directory).spawn().unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        while UnixStream::connect(&socket).is_err() {
            assert!(Instant::now() < deadline, "it listens");
            std::hint::spin_loop();
        }
        let killed = std::process::Command::new("kill").arg(child.id().to_string()).status();
        assert!(killed.unwrap().success());
        assert_eq!(child.wait().unwrap().code(), Some(0), "it stops of its own accord");
    }
}

#[test]
fn a_stop_goes_on_accepting_until_the_application_is_gone() {
    let upstream = Upstream::start();
    let pipe = Setup::new(&upstream.endpoint()).start();
    let mut ledger = Ledger::default();
    let mut client = pipe.client();
    assert_eq!(ledger.post(&mut client, 1, &[]), 202);
    pipe.signal("TERM");
    wait_until("it is not ready", || pipe.admin().get("/readyz").status == 503);
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(2) {
        assert_eq!(ledger.post(&mut client, 1, &[]), 202, "the application is still there");
        assert_eq!(ledger.post(&mut pipe.client(), 1, &[]), 202, "new connections too");
    }
    drop(client);
    let (status, _) = pipe.ended();
    assert!(status.success());
    assert_eq!(ledger.check(upstream.records("demo").values()), 0);
}

#[test]
fn an_application_that_never_goes_is_cut_off_before_the_grace_time_is_over() {
    let upstream = Upstream::start();
    let pipe = Setup::new(&upstream.endpoint())
        .config("[stop]\ngrace_ms = 3000\ndeliver_ms = 1500\nquiet_ms = 200\n")
        .start();
    let mut ledger = Ledger::default();
    let mut client = pipe.client();
    assert_eq!(ledger.post(&mut client, 1, &[]), 202);
    let begun = Instant::now();
    pipe.signal("TERM");
    let was_refused = is_true_within(Duration::from_secs(10), || {
        let (id, record) = ledger.record(100);
        let head = crate::http::head("POST", &Pipe::path("demo"), &[], record.len());
        let answer = client
            .send(&[&head[..], record.as_bytes()].concat())
            .ok()
            .and_then(|()| client.answer());
        let is_accepted = answer.is_some_and(|answer| answer.status == 202);
        if is_accepted {
            ledger.note(id);
        }
        !is_accepted
    });
    assert!(was_refused);
    let (status, _) = pipe.ended();
    assert!(status.success());
    assert!(begun.elapsed() < Duration::from_secs(6), "{:?}", begun.elapsed());
    assert_eq!(ledger.check(upstream.records("demo").values()), 0);
}

#[test]
fn what_a_stop_can_not_deliver_is_named_and_the_exit_code_is_not_zero() {
    let upstream = Upstream::start();
    upstream.fault(&json!({"outage": "unavailable"}));
    let pipe = Setup::new(&upstream.endpoint())
        .config("[stop]\ngrace_ms = 1500\ndeliver_ms = 500\nquiet_ms = 100\n")
        .start();
    let mut ledger = Ledger::default();
    ledger.post(&mut pipe.client(), 42, &[]);
    let (status, log) = pipe.stop();
    assert_eq!(status.code(), Some(74), "{log:?}");
    let lost = log.iter().find(|line| line["stream"] == "demo" && line["level"] == "ERROR");
    assert_eq!(lost.unwrap()["records"], 42, "{log:?}");
}

#[test]
fn who_comes_to_the_unix_socket_while_the_rest_is_delivered_is_not_kept_waiting() {
    let upstream = Upstream::start();
    upstream.fault(&json!({"outage": "unavailable"}));
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("data.sock");
    let pipe = Setup::new(&upstream.endpoint())
        .set("STANDPIPE_INGEST_UNIX_SOCKET", socket.to_str().unwrap())
        .set("STANDPIPE_INGEST_WORKERS", "2")
        .config("[stop]\ngrace_ms = 8000\ndeliver_ms = 7000\nquiet_ms = 100\n")
        .start();
    let mut client = Client::unix(&socket);
    assert_eq!(client.request("POST", &Pipe::path("demo"), &[], b"x").status, 202);
    drop(client);
    pipe.signal("TERM");
    wait_until("it delivers", || pipe.status()["phase"] == "flushing");
    wait_until("nobody is let in", || UnixStream::connect(&socket).is_err());
    assert!(!socket.exists(), "the path is free for the next process");
    assert_eq!(pipe.status()["phase"], "flushing");
    let next = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    pipe.signal("INT");
    assert_eq!(pipe.ended().0.code(), Some(74));
    assert!(socket.exists(), "what the next process has stays");
    drop(next);
}

#[test]
fn a_second_signal_ends_it_at_once_and_says_what_was_lost() {
    let upstream = Upstream::start();
    upstream.fault(&json!({"outage": "hang"}));
    let pipe = Setup::new(&upstream.endpoint()).start();
    let mut client = pipe.client();
    let mut ledger = Ledger::default();
    ledger.post(&mut client, 5, &[]);
    pipe.signal("TERM");
    wait_until("it drains", || pipe.admin().get("/readyz").status == 503);
    let begun = Instant::now();
    pipe.signal("INT");
    let (status, log) = pipe.ended();
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert_eq!(status.code(), Some(74), "{log:?}");
    assert!(log.iter().any(|line| line["records"] == 5 && line["level"] == "ERROR"), "{log:?}");
}

#[test]
fn quitquitquit_stops_like_a_signal_for_who_has_the_token() {
    let upstream = Upstream::start();
    let token = TokenFile::new("a-token-of-the-test");
    let pipe = Setup::new(&upstream.endpoint())
        .set("STANDPIPE_ADMIN_TOKEN_FILE", token.path())
        .set("STANDPIPE_DEFAULTS_LINGER_MS", "60000")
        .start();
    let mut ledger = Ledger::default();
    ledger.post(&mut pipe.client(), 3, &[]);
    assert_eq!(pipe.admin().request("POST", "/quitquitquit", &[], b"").status, 401);
    let right = [("authorization", "Bearer a-token-of-the-test")];
    let answer = pipe.admin().request("POST", "/quitquitquit", &right, b"");
    assert!(answer.status < 300, "{answer:?}");
    let (status, _) = pipe.ended();
    assert!(status.success());
    assert_eq!(ledger.check(upstream.records("demo").values()), 0);
}

/// Writes into `end` until nothing more fits, since nobody reads at the other one.
fn fill(end: &mut UnixStream) {
    end.set_nonblocking(true).unwrap();
    for piece in [4096, 1] {
        while end.write(&vec![b'x'; piece]).is_ok() {}
    }
    end.set_nonblocking(false).unwrap();
}

#[test]
fn a_reader_of_logs_that_reads_no_more_stops_neither_records_nor_the_stop() {
    let upstream = Upstream::with_streams(&["demo", "troubled"]);
    let setup = Setup::new(&upstream.endpoint())
        .set("STANDPIPE_STREAMS", "demo,troubled")
        .config("[stop]\ngrace_ms = 1500\ndeliver_ms = 500\nquiet_ms = 100\n");
    let directory = tempfile::tempdir().unwrap();
    let (reader, mut writer) = UnixStream::pair().unwrap();
    let stderr = OwnedFd::from(writer.try_clone().unwrap());
    let mut child = setup.command(&directory).stderr(stderr).spawn().unwrap();
    let mut lines = BufReader::new(reader).lines();
    let listening = lines.find(|line| line.as_ref().unwrap().contains("listening")).unwrap();
    let listening: serde_json::Value = serde_json::from_str(&listening.unwrap()).unwrap();
    let address = |name: &str| listening[name].as_str().unwrap().to_owned();
    fill(&mut writer);
    upstream.fault_of("troubled", &json!({"error_code": "AccessDeniedException"}));
    let mut client = Client::tcp(&address("data"));
    client.request("POST", &Pipe::path("troubled"), &[], b"x");
    wait_until("something is logged", || {
        let text = String::from_utf8(Client::tcp(&address("admin")).get("/metrics").body).unwrap();
        metric_in(&text, "standpipe_forward_requests_total", "hold") > 0.0
    });
    let mut ledger = Ledger::default();
    assert_eq!(ledger.post(&mut client, 10, &[("standpipe-ack", "delivered")]), 200);
    assert_eq!(ledger.check(upstream.records("demo").values()), 0);
    drop(client);
    let killed = std::process::Command::new("kill").arg(child.id().to_string()).status();
    assert!(killed.unwrap().success());
    let has_ended = is_true_within(Duration::from_secs(20), || child.try_wait().unwrap().is_some());
    drop(child.kill());
    assert!(has_ended, "it stops although nobody reads what it lost");
    assert_eq!(child.wait().unwrap().code(), Some(74));
}
