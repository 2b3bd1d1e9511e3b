//! The listeners over real loopback connections, with requests written by hand.

mod encryption;

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::connection::{HEAD_BYTES_MAX, Limits};
use super::server::start_within;
use super::{
    Admin, Config, Encryption, METRICS, ReplayRefused, ReplayRequest, Sources, StartError, start,
};
use crate::lifecycle::{Lifecycle, Phase};
use crate::telemetry::logs::{self, Look};
use crate::telemetry::{MetricsHandle, metrics::recorder};

const TOKEN: &str = "correct-horse-battery-staple";

/// A running admin and what the test does to it.
struct Rig {
    admin: Admin,
    life: Lifecycle,
    stalled: Arc<AtomicUsize>,
    quits: Arc<AtomicUsize>,
    upkeeps: Arc<AtomicUsize>,
    metrics: MetricsHandle,
    _directory: tempfile::TempDir,
}

fn config() -> Config {
    Config { listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), ..Config::default() }
}

/// What an admin shows, and the handles by which a test changes that.
fn sources(metrics: &MetricsHandle) -> (Sources, Lifecycle, [Arc<AtomicUsize>; 3]) {
    let life = Lifecycle::new();
    let counters: [Arc<AtomicUsize>; 3] = std::array::from_fn(|_| Arc::default());
    let [stalled, quits, upkeeps] = counters.clone();
    let (subscriber, log_level) = logs::build("info", Look::Json, std::io::sink).unwrap();
    let (metrics, looked) = (metrics.clone(), life.clone());
    let sources = Sources {
        lifecycle: life.clone(),
        look: Box::new(move || look(&looked)),
        stalled: Box::new(move || vec!["forward".to_owned(); stalled.load(Ordering::SeqCst)]),
        status: Box::new(move || {
            // The handle to the filter works as long as its subscriber lives: as long as the sources.
            let _kept = &subscriber;
            json!({ "streams": [{ "name": "<b>orders</b>", "state": "open" }] })
        }),
        metrics: Box::new(move || metrics.render()),
        upkeep: Box::new(move || add_one(&upkeeps)),
        notes: Box::new(|| vec![("gate of demo".to_owned(), "closed: not encrypted".to_owned())]),
        encryption: encryption(),
        replay: Box::new(|request| Box::pin(async move { replayed(&request) })),
        quit: Box::new(move || add_one(&quits)),
        log_level,
    };
    (sources, life, counters)
}

/// Who minds two streams: `demo`, whose changes go well, and `bad`, whose changes go as its key says.
fn encryption() -> Encryption {
    Encryption {
        show: Box::new(|name| (name == "demo").then(|| json!({ "state": "enabled" }))),
        change: Box::new(|change| Box::pin(async move { encryption::changed(&change) })),
    }
}

/// A stage whose trouble is seen only by looking: it has some while the process flushes.
fn look(life: &Lifecycle) {
    if life.phase() == Phase::Flushing {
        life.obstruct("seen", "by looking");
    }
}

/// A spool that knows one stream.
fn replayed(request: &ReplayRequest) -> Result<Value, ReplayRefused> {
    match request.stream.as_str() {
        "demo" => Ok(json!({ "ids": request.ids, "segment_max": request.segment_max })),
        _ => Err(ReplayRefused::UnknownStream),
    }
}

fn add_one(counter: &AtomicUsize) {
    counter.fetch_add(1, Ordering::SeqCst);
}

impl Rig {
    fn start(config: &Config) -> Self {
        Self::start_within(config, Limits::default())
    }

    fn with_token(mut config: Config) -> Self {
        let directory = tempfile::tempdir().unwrap();
        config.token_file = Some(token_file(directory.path(), 0o600));
        Self { _directory: directory, ..Self::start(&config) }
    }

    fn start_within(config: &Config, limits: Limits) -> Self {
        let (recorder, metrics) = recorder().unwrap();
        let (sources, life, [stalled, quits, upkeeps]) = sources(&metrics);
        let admin = ::metrics::with_local_recorder(&recorder, || {
            start_within(config, limits, sources).unwrap()
        });
        let _directory = tempfile::tempdir().unwrap();
        Self { admin, life, stalled, quits, upkeeps, metrics, _directory }
    }

    fn ask(&self, request: &str) -> Reply {
        exchange(self.admin.local_addr(), request)
    }

    fn get(&self, path: &str) -> Reply {
        self.ask(&format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"))
    }

    fn send(&self, method: &str, path: &str, token: Option<&str>, body: &str) -> Reply {
        self.ask(&request(method, path, token, body))
    }

    /// The value of a counter, as `/metrics` shows it.
    fn counted(&self, series: &str) -> u64 {
        let text = self.metrics.render();
        let value = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        value.unwrap_or_else(|| panic!("{series} in {text}")).parse().unwrap()
    }
}

fn token_file(directory: &Path, mode: u32) -> std::path::PathBuf {
    let path = directory.join("token");
    std::fs::write(&path, format!("{TOKEN}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    path
}

fn request(method: &str, path: &str, token: Option<&str>, body: &str) -> String {
    let authorization =
        token.map(|token| format!("authorization: Bearer {token}\r\n")).unwrap_or_default();
    format!(
        "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{authorization}\
         content-length: {}\r\n\r\n{body}",
        body.len()
    )
}

struct Reply {
    status: u16,
    head: String,
    body: String,
}

impl Reply {
    fn parse(text: &str) -> Self {
        let (head, body) =
            text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no head: {text:?}"));
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Self { status, head: head.to_lowercase(), body: body.to_owned() }
    }

    fn has(&self, header: &str) -> bool {
        self.head.lines().any(|line| line == header)
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
}

fn exchange(address: SocketAddr, request: &str) -> Reply {
    let mut stream = connect(address);
    stream.write_all(request.as_bytes()).unwrap();
    Reply::parse(&read_to_end(&mut stream))
}

/// What comes until the peer closes; a reset after the answer is a close too.
fn read_to_end(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    match stream.read_to_end(&mut bytes) {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
        Err(error) => panic!("{error}"),
    }
    String::from_utf8(bytes).unwrap()
}

/// Waits until `holds`, and fails when it takes too long.
fn eventually(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        std::thread::park_timeout(Duration::from_millis(2));
    }
}

#[test]
fn livez_is_ok_until_a_thread_stalls() {
    let rig = Rig::start(&config());
    let reply = rig.get("/livez");
    assert_eq!((reply.status, reply.body.as_str()), (200, "ok\n"));
    assert!(reply.has("content-type: text/plain; charset=utf-8"), "{}", reply.head);
    assert!(reply.has("cache-control: no-store"));
    rig.stalled.store(1, Ordering::SeqCst);
    let reply = rig.get("/livez");
    assert_eq!((reply.status, reply.body.as_str()), (503, "stalled: forward\n"));
}

#[test]
fn readyz_says_why_it_is_not_ready() {
    let rig = Rig::start(&config());
    let reply = rig.get("/readyz");
    assert_eq!((reply.status, reply.body.as_str()), (503, "not ready\nphase: starting\n"));
    rig.life.advance(Phase::Serving);
    rig.life.obstruct("spool", "the disk is full");
    let reply = rig.get("/readyz");
    assert_eq!((reply.status, reply.body.as_str()), (503, "not ready\nspool: the disk is full\n"));
    rig.life.clear("spool");
    let reply = rig.get("/readyz");
    assert_eq!((reply.status, reply.body.as_str()), (200, "ready\n"));
    let reply = rig.get("/readyz?verbose");
    let note = "note: gate of demo: closed: not encrypted\n";
    assert_eq!(reply.body, format!("ready\nphase: serving\nin the way: nothing\n{note}"));
}

#[test]
fn what_is_seen_only_by_looking_is_looked_at_before_each_answer() {
    for (path, shown) in [("/readyz", "seen: by looking"), ("/", "<dt>seen</dt>")] {
        let rig = Rig::start(&config());
        rig.life.advance(Phase::Flushing);
        let reply = rig.get(path);
        assert!(reply.body.contains(shown), "{}", reply.body);
    }
}

#[test]
fn a_replay_is_handed_on_with_its_stream_and_needs_the_token() {
    let rig = Rig::with_token(config());
    let replay = |stream: &str, token, body| {
        let path = format!("/v1/dead-letters/{stream}/replay");
        rig.send("POST", &path, token, body)
    };
    assert_eq!(replay("demo", None, "").status, 401);
    let some = replay("demo", Some(TOKEN), r#"{"ids":["a"],"segment_max":"b"}"#);
    assert_eq!((some.status, some.json()), (200, json!({ "ids": ["a"], "segment_max": "b" })));
    assert_eq!(replay("demo", Some(TOKEN), "").json()["ids"], json!([]));
    let unknown = replay("other", Some(TOKEN), "");
    assert_eq!((unknown.status, &unknown.json()["code"]), (404, &json!("unknown_stream")));
    let bad = replay("demo", Some(TOKEN), "[]");
    assert_eq!((bad.status, &bad.json()["code"]), (400, &json!("bad_replay")));
    assert_eq!(rig.send("GET", "/v1/dead-letters/demo/replay", Some(TOKEN), "").status, 405);
}

#[test]
fn readyz_speaks_json_to_who_accepts_it() {
    let rig = Rig::start(&config());
    rig.life.advance(Phase::Draining);
    let reply = rig.ask(
        "GET /readyz HTTP/1.1\r\nhost: x\r\naccept: text/html, Application/JSON;q=0.9\r\n\
         connection: close\r\n\r\n",
    );
    assert_eq!(reply.status, 503);
    assert!(reply.has("content-type: application/json"));
    let reasons = json!([{ "what": "phase", "why": "draining" }]);
    assert_eq!(reply.json()["reasons"], reasons);
    assert_eq!(
        (&reply.json()["ready"], &reply.json()["phase"]),
        (&json!(false), &json!("draining"))
    );
}

#[test]
fn metrics_come_in_the_text_format_and_count_themselves() {
    let rig = Rig::start(&config());
    assert_eq!(rig.get("/livez").status, 200);
    let reply = rig.get("/metrics");
    assert_eq!(reply.status, 200);
    assert!(reply.has("content-type: text/plain; version=0.0.4; charset=utf-8"), "{}", reply.head);
    let line = "standpipe_admin_requests_total{endpoint=\"/livez\",status=\"2xx\"} 1";
    assert!(reply.body.lines().any(|found| found == line), "{}", reply.body);
    for metric in METRICS {
        assert!(reply.body.contains(&format!("# HELP {} {}", metric.name, metric.help)));
    }
}

#[test]
fn a_head_request_gets_the_head_alone() {
    let rig = Rig::start(&config());
    for path in ["/metrics", "/livez", "/v1/status", "/"] {
        let reply =
            rig.ask(&format!("HEAD {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"));
        assert_eq!((reply.status, reply.body.as_str()), (200, ""), "{path}");
        assert!(reply.head.contains("content-length: "), "{path}: {}", reply.head);
    }
}

#[test]
fn the_status_is_what_app_says() {
    let rig = Rig::start(&config());
    let reply = rig.get("/v1/status");
    assert_eq!(reply.status, 200);
    assert!(reply.has("content-type: application/json"));
    assert_eq!(reply.json()["streams"][0]["state"], "open");
}

#[test]
fn the_page_escapes_and_forbids_scripts() {
    let rig = Rig::start(&config());
    rig.life.obstruct("spool", "<img src=x onerror=alert(1)>");
    let reply = rig.get("/");
    assert_eq!(reply.status, 200);
    assert!(reply.has("content-type: text/html; charset=utf-8"));
    assert!(reply.head.contains("content-security-policy: default-src 'none'; "), "{}", reply.head);
    assert!(reply.has("x-content-type-options: nosniff"));
    assert!(reply.body.contains("&lt;b&gt;orders&lt;/b&gt;"), "{}", reply.body);
    assert!(!reply.body.contains("<b>") && !reply.body.contains("<img"));
}

#[test]
fn an_unknown_path_is_told_what_exists() {
    let rig = Rig::start(&config());
    let reply = rig.get(&format!("/v1/streams/{}", "x".repeat(500)));
    assert_eq!(reply.status, 404);
    assert!(reply.has("content-type: application/problem+json"));
    let problem = reply.json();
    assert_eq!(problem["code"], "not_found");
    assert_eq!(problem["status"], 404);
    let there = problem["endpoints"].as_array().unwrap();
    assert_eq!(there.len(), 9);
    assert!(there.contains(&json!("GET, HEAD, PUT /v1/log-level")), "{there:?}");
    assert!(reply.body.len() < 1_000, "an unknown path is not repeated in full");
    assert_eq!(rig.counted("standpipe_admin_requests_total{endpoint=\"none\",status=\"4xx\"}"), 1);
}

#[test]
fn a_wrong_method_is_told_the_right_ones() {
    let rig = Rig::start(&config());
    for (method, path, allow) in [
        ("POST", "/metrics", "allow: get, head"),
        ("GET", "/quitquitquit", "allow: post"),
        ("DELETE", "/v1/log-level", "allow: get, head, put"),
    ] {
        let reply = rig.send(method, path, None, "");
        assert_eq!(reply.status, 405, "{method} {path}");
        assert!(reply.has(allow), "{}", reply.head);
        assert_eq!(reply.json()["code"], "method_not_allowed");
    }
    assert_eq!(rig.quits.load(Ordering::SeqCst), 0);
}

#[test]
fn what_changes_something_needs_the_token() {
    let rig = Rig::with_token(config());
    for (method, path) in [("POST", "/quitquitquit"), ("PUT", "/v1/log-level")] {
        let missing = rig.send(method, path, None, "debug");
        assert_eq!(missing.status, 401);
        assert!(missing.has("www-authenticate: bearer realm=\"standpipe\""), "{}", missing.head);
        assert_eq!(missing.json()["code"], "token_missing");
        let wrong = rig.send(method, path, Some("correct-horse"), "debug");
        assert_eq!(wrong.status, 401);
        assert!(wrong.head.contains("error=\"invalid_token\""), "{}", wrong.head);
        assert!(!wrong.body.contains("correct-horse"), "what was tried is not repeated");
    }
    assert_eq!(rig.quits.load(Ordering::SeqCst), 0);
    assert_eq!(rig.get("/v1/log-level").body, "info\n");
    assert_eq!(rig.counted("standpipe_admin_tokens_refused_total{reason=\"missing\"}"), 2);
    assert_eq!(rig.counted("standpipe_admin_tokens_refused_total{reason=\"wrong\"}"), 2);
    let right = rig.send("POST", "/quitquitquit", Some(TOKEN), "");
    assert_eq!((right.status, right.body.as_str()), (202, "stopping\n"));
    assert_eq!(rig.quits.load(Ordering::SeqCst), 1);
    assert_eq!(rig.get("/v1/status").status, 200, "looking needs no token on loopback");
}

#[test]
fn without_a_token_nothing_can_be_changed_and_the_answer_says_how_it_could() {
    let rig = Rig::start(&config());
    let reply = rig.send("POST", "/quitquitquit", Some("anything"), "");
    assert_eq!(reply.status, 403);
    assert_eq!(reply.json()["code"], "token_unconfigured");
    assert!(reply.body.contains("admin.token_file"), "{}", reply.body);
    assert_eq!(rig.quits.load(Ordering::SeqCst), 0);
    let refused = "standpipe_admin_tokens_refused_total{reason=\"unconfigured\"}";
    assert_eq!(rig.counted(refused), 1);
}

#[test]
fn the_log_filter_is_changed_and_a_bad_one_is_explained() {
    let rig = Rig::with_token(config());
    let put = |body: &str| rig.send("PUT", "/v1/log-level", Some(TOKEN), body);
    let reply = put("warn,standpipe::forward=debug\n");
    assert_eq!((reply.status, reply.body.as_str()), (200, "warn,standpipe::forward=debug\n"));
    assert_eq!(rig.get("/v1/log-level").body, "warn,standpipe::forward=debug\n");
    let reply = put("wran");
    assert_eq!(reply.status, 400);
    assert_eq!(reply.json()["code"], "bad_filter");
    assert!(reply.body.contains("`wran` is no level"), "{}", reply.body);
    assert_eq!(put("").status, 400);
    assert_eq!(put(&"x".repeat(5_000)).status, 413);
    assert_eq!(rig.get("/v1/log-level").body, "warn,standpipe::forward=debug\n");
}

#[test]
fn the_health_listener_shows_three_things_alone() {
    let health = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let rig = Rig::with_token(Config { health_listen: Some(health), ..config() });
    let address = rig.admin.health_addr().unwrap();
    let ask = |method: &str, path: &str| exchange(address, &request(method, path, Some(TOKEN), ""));
    assert_eq!(ask("GET", "/livez").status, 200);
    assert_eq!(ask("GET", "/readyz").status, 503);
    assert_eq!(ask("GET", "/metrics").status, 200);
    for (method, path) in [
        ("GET", "/"),
        ("GET", "/v1/status"),
        ("GET", "/v1/log-level"),
        ("PUT", "/v1/log-level"),
        ("POST", "/quitquitquit"),
    ] {
        assert_eq!(ask(method, path).status, 404, "{method} {path}");
    }
    let there = ask("GET", "/").json()["endpoints"].as_array().unwrap().len();
    assert_eq!((there, rig.quits.load(Ordering::SeqCst)), (3, 0));
}

#[test]
fn too_large_a_head_is_answered_431() {
    let rig = Rig::start(&config());
    let reply = rig.ask(&format!(
        "GET /livez HTTP/1.1\r\nhost: x\r\nx-pad: {}\r\n\r\n",
        "y".repeat(HEAD_BYTES_MAX)
    ));
    assert_eq!(reply.status, 431);
    let many = "x: y\r\n".repeat(100);
    assert_eq!(rig.ask(&format!("GET /livez HTTP/1.1\r\n{many}\r\n")).status, 431);
    assert_eq!(rig.get("/livez").status, 200);
}

#[test]
fn a_slow_head_is_cut_off_and_holds_up_nobody() {
    let limits = Limits { head: Duration::from_millis(300), ..Limits::default() };
    let rig = Rig::start_within(&config(), limits);
    let mut slow = connect(rig.admin.local_addr());
    slow.write_all(b"GET /livez HTTP/1.1\r\nhost:").unwrap();
    assert_eq!(rig.get("/livez").status, 200, "others are answered meanwhile");
    assert_eq!(read_to_end(&mut slow), "");
    let closed = "standpipe_admin_connections_closed_total{listener=\"admin\"}";
    eventually("both connections are counted as closed", || rig.counted(closed) == 2);
}

#[test]
fn a_slow_body_is_answered_408() {
    let directory = tempfile::tempdir().unwrap();
    let token_file = Some(token_file(directory.path(), 0o600));
    let limits = Limits { body: Duration::from_millis(200), ..Limits::default() };
    let rig = Rig::start_within(&Config { token_file, ..config() }, limits);
    let mut slow = connect(rig.admin.local_addr());
    let head = format!(
        "PUT /v1/log-level HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {TOKEN}\r\n\
         content-length: 5\r\n\r\nde"
    );
    slow.write_all(head.as_bytes()).unwrap();
    let reply = Reply::parse(&read_to_end(&mut slow));
    assert_eq!(reply.status, 408);
    assert_eq!(rig.get("/v1/log-level").body, "info\n");
}

#[test]
fn a_client_that_does_not_take_its_answer_is_cut_off() {
    let exchange = Duration::from_millis(500);
    let rig = Rig::start_within(&config(), Limits { exchange, ..Limits::default() });
    let mut stuck = connect(rig.admin.local_addr());
    stuck.set_nonblocking(true).unwrap();
    // Answers pile up until no buffer on the way takes more, in either direction.
    let requests = "GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n".repeat(200);
    let closed = "standpipe_admin_connections_closed_total{listener=\"admin\"}";
    eventually("the connection is cut off", || {
        // Once it is cut off, writing fails; until then the buffers are full or get full.
        let _written = stuck.try_clone().and_then(|mut stuck| stuck.write(requests.as_bytes()));
        rig.counted(closed) == 1
    });
    assert_eq!(rig.get("/livez").status, 200);
    drop(stuck.flush());
}

#[test]
fn large_answers_that_nobody_takes_are_bounded_and_small_ones_still_go() {
    let (recorder, metrics) = recorder().unwrap();
    let (mut sources, ..) = sources(&metrics);
    // More than any socket buffer takes, so that most of it waits in the process.
    let large = "x".repeat(14 * 1024 * 1024);
    let expected = large.len();
    sources.metrics = Box::new(move || large.clone());
    let admin = ::metrics::with_local_recorder(&recorder, || start(&config(), sources).unwrap());
    let address = admin.local_addr();
    let request = request("GET", "/metrics", None, "");
    let mut slow = connect(address);
    slow.write_all(request.as_bytes()).unwrap();
    let mut first = [0; 12];
    slow.read_exact(&mut first).unwrap();
    assert_eq!(&first, b"HTTP/1.1 200");
    let refused = exchange(address, &request);
    assert_eq!(refused.status, 503);
    assert_eq!(refused.json()["code"], "too_many_answers");
    assert_eq!(exchange(address, &request.replace("/metrics", "/livez")).status, 200);
    let rest = read_to_end(&mut slow);
    assert!(rest.len() > expected, "it arrives whole when it is taken: {}", rest.len());
    eventually("there is room again", || exchange(address, &request).status == 200);
}

#[test]
fn a_connection_over_the_bound_is_answered_503_and_closed() {
    let health = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let rig = Rig::start(&Config { connections_max: 2, health_listen: Some(health), ..config() });
    let held: Vec<TcpStream> = (0..2).map(|_| connect(rig.admin.local_addr())).collect();
    let opened = "standpipe_admin_connections_opened_total{listener=\"admin\"}";
    eventually("two connections are open", || rig.counted(opened) == 2);
    let reply = rig.get("/livez");
    assert_eq!(reply.status, 503);
    assert!(reply.has("connection: close") && reply.has("retry-after: 1"), "{}", reply.head);
    assert_eq!(reply.json()["code"], "too_many_connections");
    assert_eq!(rig.counted("standpipe_admin_connections_refused_total{listener=\"admin\"}"), 1);
    let health = rig.admin.health_addr().unwrap();
    assert_eq!(
        exchange(health, &request("GET", "/livez", None, "")).status,
        200,
        "it has its own bound"
    );
    drop(held);
    eventually("there is room again", || rig.get("/livez").status == 200);
}

#[test]
fn a_connection_is_kept_for_the_next_request() {
    let rig = Rig::start(&config());
    let mut stream = connect(rig.admin.local_addr());
    for _ in 0..2 {
        stream.write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
        let mut answer = String::new();
        while !answer.ends_with("ok\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            answer.push(char::from(byte[0]));
        }
    }
    assert_eq!(rig.counted("standpipe_admin_connections_opened_total{listener=\"admin\"}"), 1);
}

#[test]
fn upkeep_is_driven() {
    let rig = Rig::start(&config());
    eventually("upkeep is called again", || rig.upkeeps.load(Ordering::SeqCst) >= 2);
}

#[test]
fn a_stop_frees_the_port_and_leaves_no_thread() {
    let rig = Rig::start(&config());
    let address = rig.admin.local_addr();
    assert!(rig.admin.is_alive());
    let mut idle = connect(address);
    assert_eq!(rig.get("/livez").status, 200);
    let begun = Instant::now();
    rig.admin.stop();
    assert!(begun.elapsed() < Duration::from_secs(10));
    assert_eq!(read_to_end(&mut idle), "");
    assert!(TcpListener::bind(address).is_ok());
}

fn refusal(config: &Config) -> StartError {
    let (_recorder, metrics) = recorder().unwrap();
    let (sources, ..) = sources(&metrics);
    start(config, sources).unwrap_err()
}

#[test]
fn a_used_port_is_named_with_its_setting() {
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = taken.local_addr().unwrap();
    let error = refusal(&Config { listen: address, ..config() }).to_string();
    assert!(error.starts_with(&format!("admin.listen: {address} is already in use")), "{error}");
    let error = refusal(&Config { health_listen: Some(address), ..config() }).to_string();
    assert!(
        error.starts_with(&format!("admin.health_listen: {address} is already in use")),
        "{error}"
    );
}

#[test]
fn a_token_file_that_everybody_can_read_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let token_file = Some(token_file(directory.path(), 0o644));
    let error = refusal(&Config { token_file, ..config() });
    assert!(matches!(error, StartError::Token(_)));
    assert!(error.to_string().contains("mode 0644"), "{error}");
}

#[test]
fn a_listener_off_loopback_needs_a_token_or_plain_words() {
    let outside = Config { listen: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)), ..config() };
    let error = refusal(&outside);
    assert!(matches!(error, StartError::Unprotected { .. }));
    assert!(error.to_string().contains("admin.allow_unprotected"), "{error}");

    let rig = Rig::start(&Config { allow_unprotected: true, ..outside.clone() });
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, rig.admin.local_addr().port()));
    let ask = |path: &str, token| exchange(address, &request("GET", path, token, "")).status;
    assert_eq!(ask("/v1/status", None), 200);
    drop(rig);

    let rig = Rig::with_token(outside);
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, rig.admin.local_addr().port()));
    let ask = |path: &str, token| exchange(address, &request("GET", path, token, "")).status;
    for path in ["/v1/status", "/", "/v1/log-level"] {
        assert_eq!((ask(path, None), ask(path, Some(TOKEN))), (401, 200), "{path}");
    }
    assert_eq!((ask("/livez", None), ask("/metrics", None)), (200, 200));
}
