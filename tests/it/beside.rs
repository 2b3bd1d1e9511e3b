//! A healthy stream beside those that are in trouble, and beside those that somebody sends too much to.
//!
//! They do all they can to take what there is: memory, disk, places, the time of the one thread. Bounds on the
//! healthy one's answers are wide, since the machine is busy with the tests beside this one; what they say is
//! that nothing waits for the end of somebody else's trouble. What the floors are is asked for to the last byte.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use base64_simd::STANDARD;
use serde_json::{Value, json};

use crate::http::{Answer, Client};
use crate::ledger::Ledger;
use crate::pipe::{Pipe, Setup, is_true_within, wait_until};
use crate::upstream::Upstream;

const MIB: usize = 1024 * 1024;

/// The disk and the memory that no other stream can take, in bytes.
const DISK_FLOOR: usize = 8 * MIB;
const MEMORY_FLOOR: usize = MIB;

/// What an answer of the healthy stream may take, each of them, and half of them.
const ALL_WITHIN: Duration = Duration::from_secs(8);
const HALF_WITHIN: Duration = Duration::from_secs(1);

/// So many records are taken in a second of a stream that is limited.
const RECORDS_PER_SECOND: usize = 500;

/// So many of the records of a greedy stream are checked for one by one.
const RECORDS_REMEMBERED: usize = 100_000;

/// What is wrong with a stream, or with who sends to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trouble {
    /// It may not be sent to.
    Held,
    /// The service is away, for it alone.
    Broken,
    /// It has to be encrypted, and is not.
    Gated,
    /// It is sent all that can be sent, and delivers it.
    Greedy,
    /// The same with an ingest limit.
    Limited,
}

/// What its besiegers have seen.
#[derive(Debug, Default)]
struct Seen {
    no_room: AtomicUsize,
    not_durable: AtomicUsize,
    over_limit: AtomicUsize,
    accepted: AtomicUsize,
}

impl Trouble {
    const fn stream(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Broken => "broken",
            Self::Gated => "gated",
            Self::Greedy => "greedy",
            Self::Limited => "limited",
        }
    }

    fn begin(self, upstream: &Upstream) {
        match self {
            Self::Held => {
                upstream.fault_of("held", &json!({"error_code": "AccessDeniedException"}));
            }
            Self::Broken => upstream.fault_of("broken", &json!({"outage": "unavailable"})),
            Self::Gated | Self::Greedy | Self::Limited => {}
        }
    }

    fn end(self, upstream: &Upstream) {
        match self {
            Self::Held | Self::Broken => {
                let path = format!("/emulator/streams/{}/faults", self.stream());
                upstream.control("DELETE", &path, &Value::Null);
            }
            Self::Gated => {
                let command = json!({"set": "enabled", "transition_ms": 0, "settle_ms": 0});
                upstream.control("PUT", "/emulator/streams/gated/encryption", &command);
            }
            Self::Greedy | Self::Limited => {}
        }
    }

    /// Whether it has come as far as it goes.
    fn is_at_its_bound(self, seen: &Seen) -> bool {
        let has = |count: &AtomicUsize, least| count.load(Ordering::Relaxed) >= least;
        match self {
            Self::Held | Self::Broken | Self::Gated => {
                has(&seen.no_room, 3) && has(&seen.not_durable, 3)
            }
            Self::Greedy => has(&seen.accepted, 2_000),
            Self::Limited => has(&seen.over_limit, 20),
        }
    }

    /// How many send to it at once.
    const fn senders(self) -> u64 {
        match self {
            Self::Held | Self::Broken | Self::Gated => 2,
            Self::Greedy | Self::Limited => 3,
        }
    }

    /// Sends until it is told to stop, and gives what was accepted.
    fn besiege(self, pipe: &Pipe, first: u64, seen: &Seen, is_over: &AtomicBool) -> Ledger {
        let (mut client, mut ledger) = (pipe.client(), Ledger::from(first));
        let fills = matches!(self, Self::Held | Self::Broken | Self::Gated);
        let (records, levels) = match fills {
            true => ((20, 10_000), ["memory", "durable"]),
            false => ((10, 200), ["memory", "memory"]),
        };
        for level in levels.into_iter().cycle() {
            if is_over.load(Ordering::Relaxed) {
                break;
            }
            let headers = [("standpipe-ack", level)];
            let answer = ledger.post_to(self.stream(), &mut client, records, &headers);
            let counter = match answer.status {
                200 | 202 => &seen.accepted,
                _ => match answer.code().as_str() {
                    "no_room" => &seen.no_room,
                    "durable_unavailable" => &seen.not_durable,
                    "over_ingest_limit" => &seen.over_limit,
                    _ => panic!("{self:?}: {answer:?}"),
                },
            };
            counter.fetch_add(records.0, Ordering::Relaxed);
            // Who is refused comes back much sooner than it is told to. So much is remembered at the service that
            // a machine which delivers more has to be held up.
            if answer.status >= 300 || seen.accepted.load(Ordering::Relaxed) > RECORDS_REMEMBERED {
                pause(Duration::from_millis(10));
            }
        }
        ledger
    }
}

fn pause(duration: Duration) {
    let _is_over = is_true_within(duration, || false);
}

fn pipe(upstream: &Upstream, streams: &[&str]) -> Pipe {
    Setup::new(&upstream.endpoint())
        .spool()
        .set("STANDPIPE_STREAMS", &streams.join(","))
        .set("STANDPIPE_INGEST_BODY_BYTES_MAX", "500000")
        .set("STANDPIPE_INGEST_DECODED_BYTES_MAX", "500000")
        .set("STANDPIPE_INGEST_DELIVERED_WAIT_MS", "20000")
        .set("STANDPIPE_INGEST_DURABLE_WAIT_MS", "20000")
        .set("STANDPIPE_DEFAULTS_MEMORY_FLOOR_BYTES", &MEMORY_FLOOR.to_string())
        .set("STANDPIPE_SPOOL_STREAM_FLOOR_BYTES", &DISK_FLOOR.to_string())
        .config(&format!(
            "[memory]\nbytes_max = {}\n\
             [spool]\nbytes_max = {}\nreserve_bytes = {}\nread_ahead_bytes_max = {buffer}\n\
             group_bytes_max = {buffer}\n\
             [forward]\nbackoff_min_ms = 10\nbackoff_max_ms = 200\nhold_min_ms = 100\n\
             hold_max_ms = 200\nspool_blocked_after_ms = 100\n\
             [control]\npoll_min_ms = 10\npoll_max_ms = 200\nsettle_ms = 100\n\
             [[streams]]\nname = \"gated\"\nencryption = \"require\"\n\
             [[streams]]\nname = \"limited\"\ningest_records_per_second = {RECORDS_PER_SECOND}\n",
            24 * MIB,
            72 * MIB,
            MIB,
            buffer = 6 * MIB,
        ))
        .start_durable()
}

/// A healthy stream beside these.
fn beside(troubles: &[Trouble]) {
    let streams = ["healthy", "held", "broken", "gated", "greedy", "limited"];
    let upstream = Upstream::with_streams(&streams);
    troubles.iter().for_each(|trouble| trouble.begin(&upstream));
    let pipe = pipe(&upstream, &streams);
    let (is_over, seen) = (AtomicBool::new(false), [(); 5].map(|()| Seen::default()));
    let mut healthy = Ledger::default();
    let begun = Instant::now();
    let ledgers: Vec<(Trouble, Ledger)> = std::thread::scope(|scope| {
        let (pipe, is_over, seen) = (&pipe, &is_over, &seen);
        // What fails in here must not wait for those who send until it is over.
        let over = Over(is_over);
        let besiegers: Vec<_> = troubles
            .iter()
            .zip(seen)
            .flat_map(|(trouble, seen)| {
                (0..trouble.senders()).map(move |sender| (*trouble, seen, sender))
            })
            .map(|(trouble, seen, sender)| {
                let first = (sender + 1) * 1_000_000_000;
                scope.spawn(move || (trouble, trouble.besiege(pipe, first, seen, is_over)))
            })
            .collect();
        for (trouble, seen) in troubles.iter().zip(seen) {
            wait_until(&format!("{trouble:?} is at its bound"), || trouble.is_at_its_bound(seen));
        }
        answers_in_time(pipe, &mut healthy);
        floors_hold(&upstream, pipe, &mut healthy);
        drop(over);
        besiegers.into_iter().map(|besieger| besieger.join().unwrap()).collect()
    });
    let took = begun.elapsed();
    troubles.iter().for_each(|trouble| trouble.end(&upstream));
    pipe.drain();
    assert_eq!(healthy.check(upstream.records("healthy").values()), 0);
    for trouble in troubles {
        let mut accepted = Ledger::default();
        let own = ledgers.iter().filter(|(other, _)| other == trouble);
        own.for_each(|(_, ledger)| accepted.add(ledger));
        assert_eq!(accepted.check(upstream.records(trouble.stream()).values()), 0, "{trouble:?}");
        if *trouble == Trouble::Limited {
            is_within_the_rate(accepted.len(), took);
        }
    }
}

/// Ends a siege, also when a test fails.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[track_caller]
fn is_within_the_rate(accepted: usize, took: Duration) {
    let most = RECORDS_PER_SECOND as f64 * (1.0 + took.as_secs_f64());
    assert!(accepted as f64 <= most, "{accepted} in {took:?}, at most {most}");
}

/// The healthy stream is answered at the level that is asked for, and soon.
#[track_caller]
fn answers_in_time(pipe: &Pipe, ledger: &mut Ledger) {
    let mut client = pipe.client();
    let mut took: Vec<Duration> = ["durable", "delivered", "memory"]
        .into_iter()
        .cycle()
        .take(60)
        .map(|level| {
            let begun = Instant::now();
            let answer =
                ledger.post_to("healthy", &mut client, (5, 200), &[("standpipe-ack", level)]);
            assert!(answer.status < 300, "{level}: {answer:?}");
            assert_eq!(answer.json()["ack"], level);
            begun.elapsed()
        })
        .collect();
    took.sort_unstable();
    assert!(took[30] <= HALF_WITHIN && took[59] <= ALL_WITHIN, "{took:?}");
}

/// While the service is away for it as well, the healthy stream can keep what its floors say: half a mebibyte in
/// memory at once, and mebibytes on the disk, as fast as memory is let go for them.
#[track_caller]
fn floors_hold(upstream: &Upstream, pipe: &Pipe, ledger: &mut Ledger) {
    upstream.fault_of("healthy", &json!({"outage": "unavailable"}));
    let mut client = pipe.client();
    let mut post = |level: &str| {
        let headers = [("standpipe-ack", level)];
        ledger.post_to("healthy", &mut client, (10, 10_000), &headers)
    };
    for _ in 0..MEMORY_FLOOR / 2 / 100_000 {
        let answer = post("memory");
        assert_eq!(answer.status, 202, "{answer:?}");
    }
    for _ in 0..DISK_FLOOR / 2 / 100_000 {
        wait_until("the disk has it", || {
            let answer = post("durable");
            assert!(answer.status == 200 || answer.code() == "no_room", "{answer:?}");
            answer.status == 200
        });
    }
    let used = pipe.metric("standpipe_pipeline_memory_bytes", "");
    assert!(used <= (24 * MIB) as f64, "{used} bytes are reserved");
    upstream.control("DELETE", "/emulator/streams/healthy/faults", &Value::Null);
    wait_until("it is delivered", || {
        upstream.counters("healthy")["counters"]["records_accepted"] == ledger.len()
    });
}

#[test]
fn a_held_stream_beside_a_healthy_one() {
    beside(&[Trouble::Held]);
}

#[test]
fn a_broken_stream_beside_a_healthy_one() {
    beside(&[Trouble::Broken]);
}

#[test]
fn a_stream_whose_gate_is_closed_beside_a_healthy_one() {
    beside(&[Trouble::Gated]);
}

#[test]
fn a_greedy_stream_beside_a_healthy_one() {
    beside(&[Trouble::Greedy]);
}

#[test]
fn a_greedy_stream_with_a_limit_beside_a_healthy_one() {
    beside(&[Trouble::Limited]);
}

#[test]
fn all_troubles_at_once_beside_a_healthy_stream() {
    use Trouble::{Broken, Gated, Greedy, Held, Limited};
    beside(&[Held, Broken, Gated, Greedy, Limited]);
}

#[test]
fn a_limit_holds_over_all_workers_and_both_dialects() {
    let upstream = Upstream::start();
    let pipe = Setup::new(&upstream.endpoint())
        .set("STANDPIPE_INGEST_WORKERS", "3")
        .set("STANDPIPE_DEFAULTS_INGEST_RECORDS_PER_SECOND", &RECORDS_PER_SECOND.to_string())
        .start();
    let enough = 4 * RECORDS_PER_SECOND;
    let (accepted, refused) = (AtomicUsize::new(0), [AtomicUsize::new(0), AtomicUsize::new(0)]);
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for sender in 0..6 {
            let (pipe, accepted, refused) = (&pipe, &accepted, &refused);
            scope.spawn(move || {
                let mut client = pipe.client();
                while accepted.load(Ordering::Relaxed) < enough
                    && begun.elapsed() < crate::pipe::PATIENCE
                {
                    let is_wire = sender % 2 == 0;
                    let answer =
                        if is_wire { put_batch(&mut client, 7) } else { post(&mut client, 7) };
                    accepted.fetch_add(taken(&answer), Ordering::Relaxed);
                    if taken(&answer) < 7 {
                        refused[usize::from(is_wire)].fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let (accepted, took) = (accepted.into_inner(), begun.elapsed());
    assert!(accepted >= enough, "{accepted} in {took:?}");
    is_within_the_rate(accepted, took);
    assert!(refused.iter().all(|count| count.load(Ordering::Relaxed) > 0), "{refused:?}");
    pipe.settle();
    assert_eq!(pipe.metric("standpipe_ingest_records_accepted_total", ""), accepted as f64);
    assert!(pipe.metric("standpipe_ingest_over_limit_requests_total", "limit=\"records\"") > 0.0);
    assert!(pipe.metric("standpipe_ingest_over_limit_records_total", "limit=\"records\"") > 0.0);
    assert_eq!(pipe.metric("standpipe_ingest_over_limit_requests_total", "limit=\"bytes\""), 0.0);
    wait_until("it is full again, and shown", || {
        pipe.stream("demo")["ingest_limits"]
            == json!({
                "burst_ms": 1_000,
                "records_per_second": RECORDS_PER_SECOND, "records_left": RECORDS_PER_SECOND,
                "bytes_per_second": null, "bytes_left": null,
            })
    });
}

fn post(client: &mut Client, records: usize) -> Answer {
    let headers = [("content-type", "application/x-ndjson")];
    client.request("POST", &Pipe::path("demo"), &headers, "{}\n".repeat(records).as_bytes())
}

fn put_batch(client: &mut Client, records: usize) -> Answer {
    let records = vec![json!({"Data": STANDARD.encode_to_string("{}\n")}); records];
    let call = json!({"DeliveryStreamName": "demo", "Records": records});
    let headers = [("x-amz-target", "Firehose_20150804.PutRecordBatch")];
    client.request("POST", "/", &headers, call.to_string().as_bytes())
}

/// How many records an answer says are accepted. What is not is refused as it should be.
fn taken(answer: &Answer) -> usize {
    let body = answer.json();
    match answer.status {
        202 => usize::try_from(body["accepted"].as_u64().unwrap()).unwrap(),
        200 => {
            let answers = body["RequestResponses"].as_array().unwrap();
            answers.iter().filter(|answer| answer["RecordId"].is_string()).count()
        }
        429 => {
            assert_eq!(body["code"], "over_ingest_limit");
            assert!(matches!(answer.header("retry-after"), Some("1" | "2")), "{answer:?}");
            0
        }
        503 => {
            assert_eq!(body["__type"], "ServiceUnavailableException");
            0
        }
        other => panic!("{other}: {body}"),
    }
}
