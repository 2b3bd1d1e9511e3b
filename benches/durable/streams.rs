//! Durable answers with the load on many streams against those with the load on one.

use std::path::PathBuf;
use std::sync::Arc;

use crate::args::Args;
use crate::common::fault::Fault;
use crate::common::measure::Sample;
use crate::common::process::Memory;
use crate::common::records::{Requests, STREAM};
use crate::common::stats::Spread;
use crate::disk::Disk;
use crate::spooled::Spooled;
use crate::stage::{Burden, SINGLE, Spool, Stage, durable};

/// How the load comes: as fast as answers, and in a pace that a disk can stand with a sync for each.
pub(crate) const PACES: [Option<u32>; 2] = [None, Some(500)];

/// Over so many connections.
pub(crate) const CONNECTIONS: u16 = 64;

/// How many times as long answers may take.
pub(crate) const TARGET: f64 = 10.0;

/// The most bytes on disk. Each stream has a floor of its own.
const DISK_BYTES: u64 = 4 * 1024 * 1024 * 1024;

/// What was measured at one pace.
#[derive(Debug)]
pub(crate) struct Streams {
    /// Requests a second, where they are paced.
    pub(crate) pace: Option<u32>,
    /// How many streams are many.
    pub(crate) many: u32,
    /// The rounds.
    pub(crate) rounds: Vec<Round>,
    /// The memory of both at the end: with one stream, and with many.
    pub(crate) memory: [Memory; 2],
    /// From the start of each process until it was ready, in milliseconds.
    pub(crate) ready_ms: [f64; 2],
    /// Records that arrived more than once, of both.
    pub(crate) duplicates: u64,
}

/// What was measured side by side.
#[derive(Debug, Default)]
pub(crate) struct Round {
    /// Standpipe with one stream.
    pub(crate) one: Sample,
    /// What its spool did.
    pub(crate) one_spooled: Spooled,
    /// Standpipe with many.
    pub(crate) many: Sample,
    /// What its spool did.
    pub(crate) many_spooled: Spooled,
}

impl Streams {
    /// What an answer time of many is to that of one.
    pub(crate) fn ratio(&self, of: fn(&Sample) -> f64) -> Spread {
        let ratios = self.rounds.iter().map(|round| of(&round.many) / of(&round.one));
        Spread::of(&ratios.collect::<Vec<_>>())
    }
}

/// The name that filters are compared with.
pub(crate) fn name(pace: Option<u32>) -> String {
    let pace = pace.map_or_else(|| "saturated".to_owned(), |pace| pace.to_string());
    format!("streams/{pace}")
}

/// Measures the case of this pace.
pub(crate) async fn measure(args: &Args, disk: &Disk, pace: Option<u32>) -> Result<Streams, Fault> {
    let folder = |which| disk.folder(&format!("streams-{}/{which}", pace.unwrap_or(0)));
    let mut one = set(args, pace, folder("one")?, &[STREAM.to_owned()]).await?;
    let names: Vec<String> = (0..args.streams).map(|n| format!("{STREAM}-{n}")).collect();
    let mut many = set(args, pace, folder("many")?, &names).await?;
    // So that each stream has had its first segment.
    let requests = u64::from(args.streams.div_ceil(u32::from(CONNECTIONS))) * 2;
    one.warm_up(requests).await?;
    many.warm_up(requests).await?;
    let mut rounds = Vec::new();
    for number in 0..args.rounds() {
        let mut round = Round::default();
        if number % 2 == 0 {
            (round.one, round.one_spooled) = one.measure().await?;
            (round.many, round.many_spooled) = many.measure().await?;
        } else {
            (round.many, round.many_spooled) = many.measure().await?;
            (round.one, round.one_spooled) = one.measure().await?;
        }
        rounds.push(round);
    }
    Ok(Streams {
        pace,
        many: args.streams,
        rounds,
        memory: [Memory::of(one.pipe.pid())?, Memory::of(many.pipe.pid())?],
        ready_ms: [&one, &many].map(|stage| stage.pipe.ready_after.as_secs_f64() * 1e3),
        duplicates: one.duplicates().await? + many.duplicates().await?,
    })
}

async fn set(
    args: &Args,
    pace: Option<u32>,
    folder: PathBuf,
    streams: &[String],
) -> Result<Stage, Fault> {
    let requests = Arc::new(Requests::new(SINGLE, streams));
    let burden = Burden { connections: CONNECTIONS, pace, time: args.time(), requests };
    let spool = Spool { folder, bytes_max: DISK_BYTES, settings: args.spool_settings.clone() };
    Stage::set(&burden, |sink| durable(sink, &spool, streams)).await
}
