//! A backlog: durable records that an upstream does not take, until there are enough of them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Instant;

use crate::common::fault::Fault;
use crate::common::ledger::Ledger;
use crate::common::load::{self, Aim, Until};
use crate::common::records::{Requests, STREAM, Shape};

/// Many records a request, since it is not the filling that is measured.
const SHAPE: Shape = Shape {
    name: "512x100",
    title: "512-byte records, 100 a POST (NDJSON)",
    record_bytes: 512,
    records: 100,
};

/// Over so many connections, so many requests at a time each.
const CONNECTIONS: u16 = 16;
const REQUESTS: u64 = 25;

/// What a record has with its newline, as the service gets it.
pub(crate) const RECORD_BYTES: u64 = 513;

/// How it went.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Filled {
    /// How many records were accepted.
    pub(crate) records: u64,
    /// How long that took, in seconds.
    pub(crate) elapsed_s: f64,
    /// Requests that were refused, and whose records are not among them.
    pub(crate) refused: u64,
}

/// Sends until so many records are accepted, or a few more.
pub(crate) async fn fill(
    data: SocketAddr,
    records: u64,
    ledger: &mut Ledger,
) -> Result<Filled, Fault> {
    let aim = Aim {
        addr: data,
        connections: CONNECTIONS,
        requests: Arc::new(Requests::new(SHAPE, &[STREAM.to_owned()])),
        numbers: Some(Arc::new(AtomicU64::new(0))),
    };
    let begin = Instant::now();
    let mut refused = 0;
    while ledger.accepted() < records {
        let load = load::saturate(&aim, Until::Accepted(REQUESTS)).await?;
        ledger.accept(load.accepted * 100);
        refused += load.refused;
    }
    let elapsed_s = begin.elapsed().as_secs_f64();
    Ok(Filled { records: ledger.accepted(), elapsed_s, refused })
}
