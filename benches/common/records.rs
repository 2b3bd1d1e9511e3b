//! The records that are sent, and the requests that carry them: made once, before anything is measured.
//!
//! They are text as applications log it, and each is another, so that neither a cache nor a compressor
//! sees the same twice in a row.

use std::fmt::Write as _;

use fastrand::Rng;

/// The stream that Standpipe is given.
pub(crate) const STREAM: &str = "bench";

/// Where a record's number stands, if it has one: over most of its time, whose place is always the same.
/// Both are multiples of three, so that in base64 the number stands alone.
pub(crate) const NUMBER_AT: usize = r#"{"time":""#.len();
pub(crate) const NUMBER_DIGITS: usize = 15;

/// How many bytes of bodies there are at least: more than a processor's second-level cache.
pub(crate) const POOL_BYTES: usize = 4 * 1024 * 1024;

/// The same numbers in every run, so that runs can be compared.
pub(crate) const SEED: u64 = 0x5374_616e_6470_6970;

const WORDS: &[&str] = &[
    "order",
    "accepted",
    "payment",
    "pending",
    "upstream",
    "timeout",
    "retry",
    "customer",
    "cart",
    "session",
    "expired",
    "shipment",
    "invoice",
    "cache",
    "miss",
    "replica",
    "lag",
    "queue",
    "rebalanced",
    "token",
    "refreshed",
    "warehouse",
    "picked",
    "delivered",
    "refund",
    "issued",
];

/// What a request looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    /// How the shape is called in the name of a case.
    pub(crate) name: &'static str,
    /// What a reader calls it.
    pub(crate) title: &'static str,
    /// The bytes of a record, without its newline.
    pub(crate) record_bytes: usize,
    /// The records of a request. More than one are sent as lines.
    pub(crate) records: usize,
}

/// A record of exactly `bytes` bytes, without a newline: one JSON object.
pub(crate) fn record(rng: &mut Rng, bytes: usize) -> Vec<u8> {
    let mut text = String::with_capacity(bytes);
    // Writing to a string does not fail.
    let _infallible = write!(
        text,
        r#"{{"time":"2026-03-{:02}T{:02}:{:02}:{:02}.{:06}Z","level":"{}","service":"{}-{}","trace_id":"{:032x}","user":{},"status":{},"duration_ms":{}.{:03},"message":""#,
        rng.u8(1..=28),
        rng.u8(0..24),
        rng.u8(0..60),
        rng.u8(0..60),
        rng.u32(0..1_000_000),
        rng.choice(["debug", "info", "warn", "error"]).unwrap_or("info"),
        word(rng),
        word(rng),
        rng.u128(..),
        rng.u32(..),
        rng.choice([200, 201, 204, 301, 404, 500]).unwrap_or(200),
        rng.u16(0..2_000),
        rng.u16(0..1_000),
    );
    while text.len() + 2 < bytes {
        text.push_str(word(rng));
        text.push(if rng.u8(0..8) == 0 { rng.digit(10) } else { ' ' });
    }
    text.truncate(bytes.saturating_sub(2));
    text.push_str("\"}");
    text.into_bytes()
}

fn word(rng: &mut Rng) -> &'static str {
    rng.choice(WORDS).copied().unwrap_or("word")
}

/// A whole request, head and body, ready to be written to a socket.
#[derive(Debug)]
pub(crate) struct Request {
    bytes: Vec<u8>,
    /// Where the first record begins.
    body_at: usize,
}

impl Request {
    /// The bytes as they are.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Puts the request into `out` with its records numbered from `first` on, so that no two are the same.
    pub(crate) fn numbered(&self, shape: Shape, first: u64, out: &mut Vec<u8>) {
        out.clear();
        out.extend_from_slice(&self.bytes);
        let records = out.get_mut(self.body_at..).unwrap_or_default();
        let records = records.chunks_mut(shape.record_bytes + 1);
        for (record, mut number) in records.zip(first..) {
            let digits = record.get_mut(NUMBER_AT..NUMBER_AT + NUMBER_DIGITS).unwrap_or_default();
            for digit in digits.iter_mut().rev() {
                *digit = b'0' + u8::try_from(number % 10).unwrap_or_default();
                number /= 10;
            }
        }
    }
}

/// The requests of a load.
#[derive(Debug)]
pub(crate) struct Requests {
    shape: Shape,
    pool: Vec<Request>,
}

impl Requests {
    /// A pool of requests of this shape, to each of `streams` in turn.
    pub(crate) fn new(shape: Shape, streams: &[String]) -> Self {
        let mut rng = Rng::with_seed(SEED);
        let count = POOL_BYTES.div_ceil(shape.record_bytes * shape.records).max(streams.len());
        let streams = streams.iter().cycle().take(count);
        let pool = streams.map(|stream| request(&mut rng, shape, stream)).collect();
        Self { shape, pool }
    }

    /// What all of them look like.
    pub(crate) const fn shape(&self) -> Shape {
        self.shape
    }

    /// All requests over and over, from another one for each connection.
    pub(crate) fn from(
        &self,
        connection: u16,
        connections: u16,
    ) -> impl Iterator<Item = &Request> + use<'_> {
        let first = self.pool.len() * usize::from(connection) / usize::from(connections.max(1));
        self.pool.iter().cycle().skip(first)
    }
}

fn request(rng: &mut Rng, shape: Shape, stream: &str) -> Request {
    let (media_type, body) = if shape.records == 1 {
        ("application/json", record(rng, shape.record_bytes))
    } else {
        let mut lines = Vec::with_capacity(shape.records * (shape.record_bytes + 1));
        for _ in 0..shape.records {
            lines.append(&mut record(rng, shape.record_bytes));
            lines.push(b'\n');
        }
        ("application/x-ndjson", lines)
    };
    let mut bytes = format!(
        "POST /v1/streams/{stream}/records HTTP/1.1\r\nhost: 127.0.0.1\r\nuser-agent: bench\r\n\
         accept: */*\r\ncontent-type: {media_type}\r\ncontent-length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    let body_at = bytes.len();
    bytes.extend_from_slice(&body);
    Request { bytes, body_at }
}
