//! The benchmark of the main job: Standpipe against the floor, side by side, and nothing else.
//!
//! ```text
//!  load ──► bare server        bare SDK ──► sink      the floor: what nobody can avoid
//!  load ──► standpipe ────────────────────► sink      the binary as it is shipped
//! ```
//!
//! All are processes of their own on 127.0.0.1: this program plays the bare server, the bare SDK and the
//! sink when it starts itself. Round by round each is measured once; medians are shown, and ratios of what
//! stood in the same round. CPU time is that of the process at work, the kernel's part included; the
//! generator's and the sink's are not counted. A run whose sink did not get exactly what was accepted fails.
//!
//! `cargo bench --bench main_job`, and `-- --help` for what can be chosen.

mod args;
mod case;
#[path = "../common/mod.rs"]
#[expect(dead_code, reason = "some of it is for the other benchmark alone")]
mod common;
mod json;
mod roles;
mod run;
mod sender;
mod summary;
mod table;

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser as _;

use args::Args;
use common::attended;
use common::fault::{During as _, Fault};

/// A run ends by itself after this time for each round, whatever hangs.
const ROUND_TIMEOUT: Duration = Duration::from_secs(300);

fn main() -> ExitCode {
    let args = Args::parse();
    let ended = match args.role {
        Some(role) => roles::play(role, &args),
        None => measure_all(args),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            eprintln!("main_job: {fault}");
            ExitCode::FAILURE
        }
    }
}

fn measure_all(args: Args) -> Result<(), Fault> {
    let is_json = args.json;
    let timeout = ROUND_TIMEOUT * (args.rounds() + 1);
    let results = attended::run(timeout, run::run(args))?;
    let mut stdout = std::io::stdout();
    if is_json {
        writeln!(stdout, "{:#}", json::document(&results)).during("showing the results")
    } else {
        write!(stdout, "{}", table::Table(&results)).during("showing the results")
    }
}
