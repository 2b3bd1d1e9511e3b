//! Durable answers against the plain writer's, and against those at the level memory.

use std::sync::Arc;

use crate::args::Args;
use crate::common::fault::Fault;
use crate::common::measure::Sample;
use crate::common::pipe;
use crate::common::process::Memory;
use crate::common::records::{Requests, STREAM};
use crate::common::stats::Spread;
use crate::disk::Disk;
use crate::plain::Plain;
use crate::spooled::Spooled;
use crate::stage::{Burden, SINGLE, Spool, Stage, durable};

/// How many connections there are, case by case.
pub(crate) const CONNECTIONS: [u16; 4] = [1, 8, 64, 256];

/// The case that the design names: how much of the plain writer's rate, and how much of memory's CPU time.
pub(crate) const TARGET_CONNECTIONS: u16 = 64;
pub(crate) const RATE_TARGET: f64 = 0.80;
pub(crate) const CPU_TARGET: f64 = 1.5;

/// The most of the writers' time that sealing may be, in percent.
pub(crate) const SEALING_TARGET: f64 = 5.0;

/// The most bytes that a case has on disk: two lives' reserve, and what is not delivered yet.
pub(crate) const DISK_BYTES: u64 = 1024 * 1024 * 1024;

/// What was measured with so many connections.
#[derive(Debug)]
pub(crate) struct Answers {
    /// How many.
    pub(crate) connections: u16,
    /// The rounds.
    pub(crate) rounds: Vec<Round>,
    /// The memory of the plain writer, of Standpipe, and of Standpipe at the level memory, at the end.
    pub(crate) memory: [Memory; 3],
    /// Records that arrived more than once.
    pub(crate) duplicates: u64,
}

/// What was measured side by side.
#[derive(Debug, Default)]
pub(crate) struct Round {
    /// The plain writer.
    pub(crate) plain: Sample,
    /// Standpipe, with a spool.
    pub(crate) durable: Sample,
    /// What its spool did.
    pub(crate) spooled: Spooled,
    /// Standpipe without one.
    pub(crate) memory: Sample,
}

impl Answers {
    /// Of the rounds, one by one: what a figure is.
    pub(crate) fn spread(&self, of: fn(&Round) -> f64) -> Spread {
        Spread::of(&self.rounds.iter().map(of).collect::<Vec<_>>())
    }

    /// The rate to the plain writer's.
    pub(crate) fn rate_to_plain(&self) -> Spread {
        self.spread(|round| round.durable.rate / round.plain.rate)
    }

    /// The CPU time per record to that at the level memory.
    pub(crate) fn cpu_to_memory(&self) -> Spread {
        self.spread(|round| round.durable.cpu_s / round.memory.cpu_s)
    }
}

/// The name that filters are compared with.
pub(crate) fn name(connections: u16) -> String {
    format!("answers/{connections}")
}

/// Measures the case of so many connections.
pub(crate) async fn measure(args: &Args, disk: &Disk, connections: u16) -> Result<Answers, Fault> {
    let streams = [STREAM.to_owned()];
    let requests = Arc::new(Requests::new(SINGLE, &streams));
    let burden = Burden { connections, pace: None, time: args.time(), requests };
    let folder = disk.folder(&format!("answers-{connections}"))?;
    let mut plain = Plain::start(&burden, &folder).await?;
    let spool = Spool { folder, bytes_max: DISK_BYTES, settings: args.spool_settings.clone() };
    let mut piped = Stage::set(&burden, |sink| durable(sink, &spool, &streams)).await?;
    let mut in_memory = Stage::set(&burden, pipe::in_memory).await?;
    let requests = if args.quick { 20 } else { 400 };
    plain.warm_up(requests).await?;
    piped.warm_up(requests).await?;
    in_memory.warm_up(requests).await?;
    let mut rounds = Vec::new();
    for number in 0..args.rounds() {
        let mut round = Round::default();
        // Every second round goes the other way, so that a drift cancels out.
        if number % 2 == 0 {
            round.plain = plain.measure().await?;
            (round.durable, round.spooled) = piped.measure().await?;
            (round.memory, _) = in_memory.measure().await?;
        } else {
            (round.memory, _) = in_memory.measure().await?;
            (round.durable, round.spooled) = piped.measure().await?;
            round.plain = plain.measure().await?;
        }
        rounds.push(round);
    }
    let memory =
        [plain.memory()?, Memory::of(piped.pipe.pid())?, Memory::of(in_memory.pipe.pid())?];
    Ok(Answers { connections, rounds, memory, duplicates: piped.duplicates().await? })
}
