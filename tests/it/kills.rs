//! The real binary under load, killed at random moments and started again on the same spool.
//!
//! How often in all: `STANDPIPE_KILLS` (210, which takes a minute; 2000 before a release). The seed of a
//! run is printed, and `STANDPIPE_KILLS_SEED` takes it; moments of the kernel's it does not bring back. A kill
//! takes what is in memory and nothing that was written: what a machine takes that loses its power is the
//! matter of the model test.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use fastrand::Rng;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::format::Archive;
use crate::load::{Found, STREAMS, Sent, number_of};
use crate::pipe::{Pipe, Setup, is_true_within, wait_until};
use crate::upstream::Upstream;

/// Pipes side by side, each with a service and a spool of its own.
const PIPES: u64 = 3;

/// Connections of each.
const CLIENTS: usize = 5;

/// The most requests to the service that a stream has under way.
const REQUESTS_IN_FLIGHT_MAX: usize = 4;

/// The most records of such a request.
const REQUEST_RECORDS_MAX: usize = 100;

/// The records of all requests in flight, which the service may have written without being heard.
const IN_FLIGHT_MAX: usize = STREAMS.len() * REQUESTS_IN_FLIGHT_MAX * REQUEST_RECORDS_MAX;

/// The most records that one kill may have delivered twice: those in flight, and those whose answers were
/// heard and whose notes were not written. Notes are written at the next turn of the stream's reader; a turn
/// that waits for a slow disk, to have the names of files gone, may see a few rounds of requests answered.
const DUPLICATES_MAX: usize = 4 * IN_FLIGHT_MAX;

/// How long the service may take for an answer, in ms: after this time a kill is over for it too.
const LATENCY_MAX_MS: u64 = 30;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name}: {text}")))
}

/// One pipe and all its lives.
struct Trial {
    /// Whether its data keys are those of the service's KMS, and not of a file.
    has_kms: bool,
    rng: Rng,
    upstream: Upstream,
    directory: TempDir,
    sent: Sent,
    archive: Archive,
    deliveries: [Deliveries; 2],
    kills: usize,
    stops: usize,
}

/// What a stream was delivered, life by life.
#[derive(Default)]
struct Deliveries {
    read_to: u64,
    /// How often each record came.
    counts: BTreeMap<u64, usize>,
    /// The life in which each record came last.
    last_life: BTreeMap<u64, usize>,
    /// The records that came again after the end of the life in which they had come.
    after: BTreeMap<usize, usize>,
}

impl Deliveries {
    /// Reads on: what has come belongs to `life`.
    fn read(&mut self, upstream: &Upstream, stream: usize, life: usize) {
        for (_, data) in upstream.records_from(STREAMS[stream], &mut self.read_to) {
            let number = number_of(stream, &data);
            *self.counts.entry(number).or_default() += 1;
            if let Some(before) = self.last_life.insert(number, life) {
                assert_ne!(before, life, "record {number} was delivered twice by one life");
                *self.after.entry(before).or_default() += 1;
            }
        }
    }
}

/// Where the applications find a pipe, in each of its lives.
fn socket(directory: &TempDir) -> PathBuf {
    directory.path().join("socket")
}

impl Trial {
    fn new(seed: u64, has_kms: bool) -> Self {
        Self {
            has_kms,
            rng: Rng::with_seed(seed),
            upstream: Upstream::with_streams(&STREAMS),
            directory: tempfile::tempdir().unwrap(),
            sent: Sent::default(),
            archive: Archive::default(),
            deliveries: Default::default(),
            kills: 0,
            stops: 0,
        }
    }

    fn setup(&self) -> Setup {
        let setup = Setup::new(&self.upstream.endpoint());
        let setup = if self.has_kms {
            let key = self.upstream.key_arn();
            setup.config(&format!(
                "[keys]\nkey = \"{key}\"\nendpoint = \"{}\"\n",
                self.upstream.endpoint()
            ))
        } else {
            setup
        };
        setup
            .spool_in(self.directory.path().to_str().unwrap())
            .set("STANDPIPE_KEYS_PROVIDER", if self.has_kms { "kms" } else { "file" })
            .set("STANDPIPE_INGEST_UNIX_SOCKET", socket(&self.directory).to_str().unwrap())
            .set("STANDPIPE_STREAMS", &STREAMS.join(","))
            .set("STANDPIPE_DEFAULTS_ACK", "durable")
            .set("STANDPIPE_DEFAULTS_BATCH_RECORDS_MAX", &REQUEST_RECORDS_MAX.to_string())
            .set("STANDPIPE_SPOOL_RESERVE_BYTES", "1000000")
            .config(&format!(
                "[forward]\nrequests_in_flight_max = {REQUESTS_IN_FLIGHT_MAX}\nbackoff_min_ms = 5\n\
                 backoff_max_ms = 50\nhold_min_ms = 50\nhold_max_ms = 100\nspool_blocked_after_ms = 50\n\
                 [stop]\ngrace_ms = 2000\ndeliver_ms = 200\nquiet_ms = 20\n"
            ))
    }

    /// The service's mood of one life.
    fn faults(&mut self) -> Value {
        let seed = self.rng.u64(..);
        match self.rng.u8(..4) {
            0 => json!({"outage": "unavailable"}),
            1 => json!({"seed": seed, "latency_ms": 20, "latency_jitter_ms": LATENCY_MAX_MS - 20}),
            _ => json!({
                "seed": seed, "record_failure_rate": 0.1, "throttle_rate": 0.1, "latency_ms": 1,
                "latency_jitter_ms": 10, "reset_before_rate": 0.02, "reset_after_rate": 0.02,
            }),
        }
    }

    /// A life: it is killed, while it starts, under load or in its stop.
    fn live(&mut self) {
        let faults = self.faults();
        self.upstream.fault(&faults);
        let mut rng = self.rng.fork();
        let lives_until = Instant::now() + Duration::from_millis(rng.u64(5..600));
        let is_stopped = rng.u8(..6) == 0;
        let stop_time = Duration::from_millis(rng.u64(0..400));
        let left = || lives_until.saturating_duration_since(Instant::now());
        let mut pipe = self.setup().begin();
        let listens = is_true_within(left(), || pipe.listens());
        std::thread::scope(|scope| {
            if listens {
                let (socket, sent) = (socket(&self.directory), &mut self.sent);
                scope.spawn(move || sent.post(&socket, CLIENTS, &mut rng));
            }
            is_true_within(left(), || false);
            if is_stopped {
                pipe.signal("TERM");
                is_true_within(stop_time, || pipe.has_ended());
            }
            if pipe.has_ended() {
                self.stops += 1;
            } else {
                self.kills += 1;
                pipe.signal("KILL");
            }
            let (_, log) = pipe.ended();
            for line in log {
                let level = line["level"].as_str().unwrap_or("ERROR");
                assert_ne!(level, "ERROR", "a kill is nothing that needs anybody: {line}");
            }
        });
        // What the service had taken up when its caller died is written or thrown away by then.
        is_true_within(Duration::from_millis(LATENCY_MAX_MS + 20), || false);
        self.archive.look(&self.directory.path().join("spool"));
        self.read_deliveries();
    }

    fn read_deliveries(&mut self) {
        let life = self.kills + self.stops;
        for (stream, deliveries) in self.deliveries.iter_mut().enumerate() {
            deliveries.read(&self.upstream, stream, life);
        }
    }

    /// The last life delivers what is there, and its counters prove that it is all.
    fn end(&mut self) -> Found {
        self.upstream.heal();
        let pipe = self.setup().start();
        wait_until("the spool is empty", || {
            let sum = |name: &str| pipe.metric(name, "");
            let left = ["records", "segments_uncounted", "segments"];
            left.iter().all(|what| sum(&format!("standpipe_spool_{what}")) == 0.0)
        });
        identity(&pipe);
        let (status, log) = pipe.stop();
        assert!(status.success(), "{log:?}");
        let left = crate::format::files(&self.directory.path().join("spool/streams"));
        assert!(left.is_empty(), "{:?} are left", left.keys());
        self.kills += 1;
        self.read_deliveries();
        self.kills -= 1;
        self.sent.check(&self.deliveries.each_ref().map(|stream| stream.counts.clone()))
    }

    /// The most records that were delivered again after one kill, and how many in all.
    fn duplicates(&self) -> (usize, usize) {
        let mut after: BTreeMap<usize, usize> = BTreeMap::new();
        for (life, count) in self.deliveries.iter().flat_map(|stream| &stream.after) {
            *after.entry(*life).or_default() += count;
        }
        (after.values().copied().max().unwrap_or(0), after.values().sum())
    }
}

/// Recovered and accepted records are all somewhere, by the pipe's own counters.
#[track_caller]
pub fn identity(pipe: &Pipe) {
    let sum = |names: &[&str]| -> f64 {
        names.iter().map(|name| pipe.metric(&format!("standpipe_{name}"), "")).sum()
    };
    let came = sum(&["spool_records_recovered_total", "ingest_records_accepted_total"]);
    let is_somewhere = sum(&[
        "forward_records_delivered_total",
        "pipeline_records_in_memory",
        "spool_records",
        "spool_records_quarantined_total",
        "spool_records_dead_lettered_total",
        "pipeline_records_lost_total",
    ]);
    assert_eq!(came, is_somewhere, "recovered + accepted = what is somewhere");
}

#[test]
fn nothing_durable_is_lost_by_kills_and_little_is_delivered_twice() {
    let kills = number("STANDPIPE_KILLS").unwrap_or(210);
    let seed = number("STANDPIPE_KILLS_SEED").unwrap_or_else(|| fastrand::u64(..));
    eprintln!("STANDPIPE_KILLS={kills} STANDPIPE_KILLS_SEED={seed}");
    let trials: Vec<(Trial, Found)> = std::thread::scope(|scope| {
        let trials: Vec<_> = (0..PIPES)
            .map(|pipe| {
                scope.spawn(move || {
                    let mut trial = Trial::new(seed.wrapping_add(pipe), pipe == 0);
                    while (trial.kills as u64) < kills.div_ceil(PIPES) {
                        trial.live();
                    }
                    let found = trial.end();
                    (trial, found)
                })
            })
            .collect();
        trials.into_iter().map(|trial| trial.join().unwrap()).collect()
    });
    for (trial, found) in trials {
        let (most, duplicates) = trial.duplicates();
        let (segments, frames) = trial.archive.size();
        eprintln!(
            "{} kills, {} stops, {found:?}, {duplicates} duplicates, {most} at most after one kill; \
             {segments} segments with {frames} frames were seen, {} of them torn",
            trial.kills, trial.stops, trial.archive.torn
        );
        assert!(most <= DUPLICATES_MAX, "{most} records were delivered twice after one kill");
        assert!(
            duplicates <= trial.kills * REQUEST_RECORDS_MAX,
            "{duplicates} records were delivered twice, more than a request for each kill"
        );
        assert!(found.promised > 1_000, "there was load: {found:?}");
    }
}
