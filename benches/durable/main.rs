//! The benchmark of the durable level: Standpipe against a plain writer on the same disk, side by side.
//!
//! ```text
//!  load ──► plain writer: append, one fdatasync for all that came meanwhile      the floor
//!  load ──► standpipe, ack = "durable" ──► sink      the binary as it is shipped
//!  load ──► standpipe, ack = "memory"  ──► sink      what the disk costs in CPU time
//! ```
//!
//! All are processes of their own on 127.0.0.1: this program plays the plain writer and the sink when it
//! starts itself. Round by round each is measured once; medians are shown, and ratios of what stood in the
//! same round. Beside the answers it measures many streams, how fast a backlog is replayed, and starts with
//! one. Every record has a number: a run in which one that was accepted does not arrive fails, and so does
//! one in which the plain writer's file lacks a byte.
//!
//! `cargo bench --bench durable`, and `-- --help` for what can be chosen.

mod answers;
mod args;
mod backlog;
#[path = "../common/mod.rs"]
mod common;
mod disk;
mod drain;
mod fill;
mod json;
mod plain;
mod roles;
mod run;
mod spooled;
mod stage;
mod streams;
mod table;
mod table_backlog;

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;

use args::Args;
use common::attended;
use common::fault::{During as _, Fault};

fn main() -> ExitCode {
    let args = Args::parse();
    let ended = match args.role {
        Some(role) => roles::play(role, &args),
        None => measure_all(args),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            eprintln!("durable: {fault}");
            ExitCode::FAILURE
        }
    }
}

fn measure_all(args: Args) -> Result<(), Fault> {
    let is_json = args.json;
    let results = attended::run(args.timeout(), run::run(args))?;
    let mut stdout = std::io::stdout();
    if is_json {
        writeln!(stdout, "{:#}", json::document(&results)).during("showing the results")
    } else {
        write!(stdout, "{}", table::Table(&results)).during("showing the results")
    }
}
