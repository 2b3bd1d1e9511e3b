//! The run: what was asked for, one after the other.

use crate::answers::{self, Answers};
use crate::args::Args;
use crate::backlog::{self, Backlog};
use crate::common::fault::Fault;
use crate::common::machine::Machine;
use crate::disk::Disk;
use crate::streams::{self, Streams};

/// What everything but a backlog may take on the disk at once.
const DISK_BYTES: u64 = 4 * 1024 * 1024 * 1024;

/// Everything that was measured.
#[derive(Debug)]
pub(crate) struct Results {
    /// Where.
    pub(crate) machine: Machine,
    /// On which file system.
    pub(crate) disk: String,
    /// What was asked for.
    pub(crate) args: Args,
    /// Durable answers, by connections.
    pub(crate) answers: Vec<Answers>,
    /// One stream and many.
    pub(crate) streams: Vec<Streams>,
    /// Starts and the replay.
    pub(crate) backlog: Option<Backlog>,
}

/// Measures all that was asked for.
pub(crate) async fn run(args: Args) -> Result<Results, Fault> {
    let machine = Machine::this();
    let needed = if backlog::is_wanted(&args) { backlog::disk_bytes(&args) } else { 0 };
    let disk = Disk::with_room(&args.dir, needed.max(DISK_BYTES))?;
    let mut results = Results {
        machine,
        disk: disk.name.clone(),
        answers: Vec::new(),
        streams: Vec::new(),
        backlog: None,
        args,
    };
    let args = &results.args;
    for connections in answers::CONNECTIONS {
        let name = answers::name(connections);
        if args.wants(&name) {
            eprintln!("{name} ...");
            results.answers.push(answers::measure(args, &disk, connections).await?);
        }
    }
    for pace in streams::PACES {
        let name = streams::name(pace);
        if args.wants(&name) {
            eprintln!("{name} ...");
            results.streams.push(streams::measure(args, &disk, pace).await?);
        }
    }
    if backlog::is_wanted(args) {
        eprintln!("backlog ...");
        results.backlog = Some(backlog::measure(args, &disk).await?);
    }
    if results.answers.is_empty() && results.streams.is_empty() && results.backlog.is_none() {
        return Err(Fault::new("no case has such a name"));
    }
    Ok(results)
}
