//! The metrics of ingest: names, descriptions, and handles that are resolved once.

use std::collections::HashMap;

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};

use super::limit::Rate;
use super::refusal::Refusal;
use crate::pipeline::Lane;
use crate::record::StreamName;
use crate::telemetry::{MetricKind, MetricSpec};

const REQUESTS: &str = "standpipe_ingest_requests_total";
const RECORDS_ACCEPTED: &str = "standpipe_ingest_records_accepted_total";
const BYTES_ACCEPTED: &str = "standpipe_ingest_bytes_accepted_total";
const RECORDS_REFUSED: &str = "standpipe_ingest_records_refused_total";
const OVER_LIMIT_REQUESTS: &str = "standpipe_ingest_over_limit_requests_total";
const OVER_LIMIT_RECORDS: &str = "standpipe_ingest_over_limit_records_total";
const REPEATS: &str = "standpipe_ingest_repeats_total";
const DELIVERED_WAIT: &str = "standpipe_ingest_delivered_wait_seconds";
const DURABLE_WAIT: &str = "standpipe_ingest_durable_wait_seconds";
const CONNECTIONS: &str = "standpipe_ingest_connections";
const CONNECTIONS_CLOSED: &str = "standpipe_ingest_connections_closed_total";
const WAKEUPS: &str = "standpipe_ingest_wakeups_total";

/// All metrics of this stage.
pub const METRICS: &[MetricSpec] = &[
    MetricSpec {
        name: REQUESTS,
        kind: MetricKind::Counter,
        labels: &["protocol", "result"],
        help: "Requests answered, by dialect (native, firehose) and result: accepted, partial, \
               served, or the code of the refusal.",
    },
    MetricSpec {
        name: RECORDS_ACCEPTED,
        kind: MetricKind::Counter,
        labels: &["stream"],
        help: "Records accepted: each is delivered, in memory, spooled, dead-lettered, or counted as lost.",
    },
    MetricSpec {
        name: BYTES_ACCEPTED,
        kind: MetricKind::Counter,
        labels: &["stream"],
        help: "Raw bytes of the records accepted, with delimiters.",
    },
    MetricSpec {
        name: RECORDS_REFUSED,
        kind: MetricKind::Counter,
        labels: &[],
        help: "Records of PutRecordBatch calls that were refused by index, since there was no room or the \
               stream is over its ingest limit.",
    },
    MetricSpec {
        name: OVER_LIMIT_REQUESTS,
        kind: MetricKind::Counter,
        labels: &["stream", "limit"],
        help: "Requests to a stream over its ingest limit, refused as a whole or in part, by the limit that \
               was in the way: records, bytes. Only where a limit is set.",
    },
    MetricSpec {
        name: OVER_LIMIT_RECORDS,
        kind: MetricKind::Counter,
        labels: &["stream", "limit"],
        help: "Records that were not taken since the stream is over its ingest limit, by that limit, as far as \
               they were read: a native request that comes while nothing can be taken is refused unread.",
    },
    MetricSpec {
        name: REPEATS,
        kind: MetricKind::Counter,
        labels: &[],
        help: "Repeated calls that got the answer of the first.",
    },
    MetricSpec {
        name: DELIVERED_WAIT,
        kind: MetricKind::Histogram,
        labels: &["result"],
        help: "How long requests waited for delivery, in seconds, by result: delivered, durable (spooled \
               instead), refused, or too_late.",
    },
    MetricSpec {
        name: DURABLE_WAIT,
        kind: MetricKind::Histogram,
        labels: &["result"],
        help: "How long requests waited for the spool, in seconds, by result: durable, refused, or \
               too_late.",
    },
    MetricSpec {
        name: CONNECTIONS,
        kind: MetricKind::Gauge,
        labels: &[],
        help: "Open connections at the data listener.",
    },
    MetricSpec {
        name: CONNECTIONS_CLOSED,
        kind: MetricKind::Counter,
        labels: &["reason"],
        help: "Connections that were closed from this side: too_many, slow_head, idle, accept_failed.",
    },
    MetricSpec {
        name: WAKEUPS,
        kind: MetricKind::Counter,
        labels: &[],
        help: "How often another thread woke an ingest worker: per group of settled records at most.",
    },
];

/// What one worker counts. Handles of the same name count together over all workers.
#[derive(Debug)]
pub(super) struct Metrics {
    native_accepted: Counter,
    firehose_accepted: Counter,
    firehose_partial: Counter,
    native_refused: HashMap<&'static str, Counter>,
    firehose_refused: HashMap<&'static str, Counter>,
    records_refused: Counter,
    repeats: Counter,
    pub(super) delivered_wait: DeliveredWait,
    pub(super) durable_wait: DurableWait,
}

/// How long requests waited for delivery, by what came of it.
#[derive(Debug)]
pub(super) struct DeliveredWait {
    pub(super) delivered: Histogram,
    pub(super) durable: Histogram,
    pub(super) refused: Histogram,
    pub(super) too_late: Histogram,
}

/// How long requests waited for the spool, by what came of it.
#[derive(Debug)]
pub(super) struct DurableWait {
    pub(super) durable: Histogram,
    pub(super) refused: Histogram,
    pub(super) too_late: Histogram,
}

impl Metrics {
    pub(super) fn new() -> Self {
        let requests =
            |protocol, result| counter!(REQUESTS, "protocol" => protocol, "result" => result);
        let refused = |protocol| {
            Refusal::CODES.iter().map(|code| (*code, requests(protocol, *code))).collect()
        };
        Self {
            native_accepted: requests("native", "accepted"),
            firehose_accepted: requests("firehose", "accepted"),
            firehose_partial: requests("firehose", "partial"),
            native_refused: refused("native"),
            firehose_refused: refused("firehose"),
            records_refused: counter!(RECORDS_REFUSED),
            repeats: counter!(REPEATS),
            delivered_wait: DeliveredWait {
                delivered: histogram!(DELIVERED_WAIT, "result" => "delivered"),
                durable: histogram!(DELIVERED_WAIT, "result" => "durable"),
                refused: histogram!(DELIVERED_WAIT, "result" => "refused"),
                too_late: histogram!(DELIVERED_WAIT, "result" => "too_late"),
            },
            durable_wait: DurableWait {
                durable: histogram!(DURABLE_WAIT, "result" => "durable"),
                refused: histogram!(DURABLE_WAIT, "result" => "refused"),
                too_late: histogram!(DURABLE_WAIT, "result" => "too_late"),
            },
        }
    }

    pub(super) fn native_accepted(&self) {
        self.native_accepted.increment(1);
    }

    pub(super) fn refused(&self, is_wire: bool, refusal: &Refusal) {
        let counters = if is_wire { &self.firehose_refused } else { &self.native_refused };
        if let Some(counter) = counters.get(refusal.code()) {
            counter.increment(1);
        }
    }

    /// A call was answered; `refused` of its records were refused by index.
    pub(super) fn firehose_taken(&self, refused: usize) {
        if refused == 0 {
            self.firehose_accepted.increment(1);
        } else {
            self.firehose_partial.increment(1);
            self.records_refused.increment(refused as u64);
        }
    }

    pub(super) fn repeated(&self) {
        self.repeats.increment(1);
    }
}

/// What is counted for one stream.
#[derive(Debug)]
pub(super) struct StreamMetrics {
    records_accepted: Counter,
    bytes_accepted: Counter,
}

impl StreamMetrics {
    pub(super) fn new(stream: &StreamName) -> Self {
        let stream = stream.to_string();
        Self {
            records_accepted: counter!(RECORDS_ACCEPTED, "stream" => stream.clone()),
            bytes_accepted: counter!(BYTES_ACCEPTED, "stream" => stream),
        }
    }

    /// Brings the counters up to date for a scrape: the lane counts as it happens, on whichever thread.
    pub(super) fn show(&self, lane: &Lane) {
        let (records, bytes) = lane.accepted();
        self.records_accepted.absolute(records);
        self.bytes_accepted.absolute(bytes);
    }
}

/// What is counted where a stream has an ingest limit.
#[derive(Debug)]
pub(super) struct LimitMetrics {
    by_records: [Counter; 2],
    by_bytes: [Counter; 2],
}

impl LimitMetrics {
    pub(super) fn new(stream: &StreamName) -> Self {
        let counters = |rate: Rate| {
            [OVER_LIMIT_REQUESTS, OVER_LIMIT_RECORDS].map(
                |name| counter!(name, "stream" => stream.to_string(), "limit" => rate.as_str()),
            )
        };
        Self { by_records: counters(Rate::Records), by_bytes: counters(Rate::Bytes) }
    }

    /// A request was refused, or so many records of it.
    pub(super) fn refused(&self, rate: Rate, records: usize) {
        let [of_requests, of_records] = match rate {
            Rate::Records => &self.by_records,
            Rate::Bytes => &self.by_bytes,
        };
        of_requests.increment(1);
        of_records.increment(records as u64);
    }
}

/// What is counted of connections.
#[derive(Debug)]
pub(super) struct ConnectionMetrics {
    pub(super) open: Gauge,
    pub(super) too_many: Counter,
    pub(super) slow_head: Counter,
    pub(super) idle: Counter,
    pub(super) accept_failed: Counter,
}

impl ConnectionMetrics {
    pub(super) fn new() -> Self {
        let closed = |reason| counter!(CONNECTIONS_CLOSED, "reason" => reason);
        Self {
            open: gauge!(CONNECTIONS),
            too_many: closed("too_many"),
            slow_head: closed("slow_head"),
            idle: closed("idle"),
            accept_failed: closed("accept_failed"),
        }
    }
}

/// The counter that the number of a worker's wake-ups goes to.
pub(super) fn wakeups() -> Counter {
    counter!(WAKEUPS)
}
