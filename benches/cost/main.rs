//! What the delivery of records costs, with and without joining: requests, records as the service counts them,
//! bytes as it bills them, and CPU time.
//!
//! ```text
//!  load ──► standpipe, aggregate = "off" ──► sink      one after the other, round by round
//!  load ──► standpipe, aggregate = "on"  ──► sink
//! ```
//!
//! All are processes of their own on 127.0.0.1. Requests and bytes are what Standpipe counted; what the sink got
//! has to agree with it, and every record that was accepted has to be delivered, or there are no figures. CPU
//! time is that of Standpipe alone, from the first request until the last delivery, the kernel's part included.
//!
//! `cargo bench --bench cost`, and `-- --help` for what can be chosen.

#[path = "../common/mod.rs"]
#[expect(dead_code, reason = "some of it is for the other benchmarks alone")]
mod common;
mod run;
mod table;

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, ValueEnum};

use common::attended;
use common::fault::{During as _, Fault};
use common::roles::{orders, sink};

/// A run ends by itself after this time for each round, whatever hangs.
const ROUND_TIMEOUT: Duration = Duration::from_secs(300);

/// Measures what delivery costs with and without joining, in the same run and on the same machine.
#[derive(Debug, Clone, Parser)]
#[command(name = "cost", max_term_width = 100)]
pub(crate) struct Args {
    /// How often each case is measured; medians are shown
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) rounds: u32,
    /// How long a case is under load in a round
    #[arg(long, value_name = "S", default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=600))]
    pub(crate) seconds: u64,
    /// How many keep-alive connections there are
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) connections: u16,
    /// So many records a second, of which each has a request of its own; otherwise a hundred records are in a
    /// request, and as many requests as can be
    #[arg(long, value_name = "N")]
    pub(crate) pace: Option<u32>,
    /// What this process is, when the benchmark starts itself
    #[arg(long, value_enum, hide = true)]
    role: Option<Role>,
    /// What `cargo bench` says to every benchmark
    #[arg(long, hide = true)]
    bench: bool,
}

/// What a child process is.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Role {
    /// What is sent to.
    Sink,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let ended = match args.role {
        Some(Role::Sink) => play_sink(),
        None => measure_all(&args),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            eprintln!("cost: {fault}");
            ExitCode::FAILURE
        }
    }
}

fn play_sink() -> Result<(), Fault> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .during("starting a runtime")?;
    runtime.block_on(sink::serve(orders()))
}

fn measure_all(args: &Args) -> Result<(), Fault> {
    let results = attended::run(ROUND_TIMEOUT * args.rounds, run::run(args))?;
    write!(std::io::stdout(), "{}", table::Table(&results)).during("showing the results")
}
