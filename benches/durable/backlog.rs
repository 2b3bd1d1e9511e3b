//! A backlog: starts with it and without, and how it is replayed.

use std::net::SocketAddr;

use crate::args::{Args, Role};
use crate::common::child::Actor;
use crate::common::fault::Fault;
use crate::common::ledger::Ledger;
use crate::common::pipe::Pipe;
use crate::common::records::STREAM;
use crate::disk::{self, Disk};
use crate::drain::{self, Drain};
use crate::fill::{self, Filled, RECORD_BYTES};
use crate::stage::{Spool, durable};

/// The names of the two measurements, for filters.
pub(crate) const START: &str = "start";
pub(crate) const REPLAY: &str = "replay";

/// From the start to ready, at most, whatever the backlog.
pub(crate) const READY_MS_TARGET: f64 = 50.0;

const GIB: f64 = 1024.0 * 1024.0 * 1024.0;

/// What a spool takes besides the backlog: its reserve, and heads, tags and notes.
const ROOM_BYTES: u64 = 1024 * 1024 * 1024;

/// What was measured with a backlog.
#[derive(Debug)]
pub(crate) struct Backlog {
    /// How it was filled.
    pub(crate) filled: Filled,
    /// How long the stop took that left it behind, in seconds.
    pub(crate) stop_s: f64,
    /// The bytes of its segments.
    pub(crate) segment_bytes: u64,
    /// From start to ready in milliseconds, if that was asked for.
    pub(crate) starts: Option<Starts>,
    /// How it was replayed, if that was asked for.
    pub(crate) drain: Option<Drain>,
}

/// From start to ready, start by start, in milliseconds.
#[derive(Debug, Default)]
pub(crate) struct Starts {
    /// With the backlog.
    pub(crate) with: Vec<f64>,
    /// With a spool that has none.
    pub(crate) without: Vec<f64>,
}

/// Whether anything of this was asked for.
pub(crate) fn is_wanted(args: &Args) -> bool {
    args.wants(START) || args.wants(REPLAY)
}

/// How many bytes that takes on the disk.
pub(crate) fn disk_bytes(args: &Args) -> u64 {
    // What is filled in is a little more than what is asked for.
    let room = records(args) * RECORD_BYTES;
    room + room / 20 + ROOM_BYTES
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a bounded number of GiB, and no record is split"
)]
fn records(args: &Args) -> u64 {
    (args.backlog_gib() * GIB) as u64 / RECORD_BYTES
}

/// Fills a backlog and measures what was asked for.
pub(crate) async fn measure(args: &Args, disk: &Disk) -> Result<Backlog, Fault> {
    let (mut sink_actor, sink) = Actor::server(Role::Sink.as_str(), &[]).await?;
    let spool = |name| {
        let folder = disk.folder(name)?;
        Ok(Spool { folder, bytes_max: disk_bytes(args), settings: args.spool_settings.clone() })
    };
    let place = Place { sink, spool: spool("backlog")? };
    let empty = Place { sink, spool: spool("no-backlog")? };
    let mut ledger = Ledger::new(sink);

    sink_actor.ask("refuse").await?;
    let pipe = place.start().await?;
    let filled = fill::fill(pipe.data, records(args), &mut ledger).await?;
    let stop_s = pipe.stop().await?.as_secs_f64();
    let segment_bytes = disk::segment_bytes(&place.spool.folder)?;

    let starts = if args.wants(START) {
        let mut starts = Starts::default();
        // Makes the key, and the folders.
        empty.start().await?.stop().await?;
        for _ in 0..args.starts() {
            starts.with.push(place.ready_ms().await?);
            starts.without.push(empty.ready_ms().await?);
        }
        Some(starts)
    } else {
        None
    };
    let drain = if args.wants(REPLAY) {
        disk::forget(&place.spool.folder)?;
        sink_actor.ask("accept").await?;
        let mut pipe = place.start().await?;
        let drain = drain::watch(&mut pipe, &ledger).await?;
        pipe.stop().await?;
        Some(drain)
    } else {
        None
    };
    Ok(Backlog { filled, stop_s, segment_bytes, starts, drain })
}

/// A spool, and where what is in it is to go.
#[derive(Debug, Clone)]
struct Place {
    sink: SocketAddr,
    spool: Spool,
}

impl Place {
    async fn start(&self) -> Result<Pipe, Fault> {
        let streams = [STREAM.to_owned()];
        Pipe::start(&durable(self.sink, &self.spool, &streams)).await
    }

    /// One start, and a stop in order: a life that was killed is another case.
    async fn ready_ms(&self) -> Result<f64, Fault> {
        let pipe = self.start().await?;
        let ready_ms = pipe.ready_after.as_secs_f64() * 1e3;
        pipe.stop().await?;
        Ok(ready_ms)
    }
}
