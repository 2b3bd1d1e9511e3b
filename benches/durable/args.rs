//! The command line of the benchmark. Does nothing.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};

/// Measures the durable level against a plain writer, in the same run and on the same disk.
#[derive(Debug, Clone, Parser)]
#[command(name = "durable", max_term_width = 100)]
pub(crate) struct Args {
    /// Only what has one of these in its name: answers/1, answers/8, answers/64, answers/256, streams,
    /// start, replay
    #[arg(value_name = "FILTER")]
    filters: Vec<String>,
    /// How often each case is measured; medians are shown [default: 5]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: Option<u32>,
    /// How long a case is under load in a round [default: 2.5]
    #[arg(long, value_name = "S", value_parser = seconds)]
    seconds: Option<f64>,
    /// How large the backlog of the starts and the replay is [default: 0.3]
    #[arg(long, value_name = "GIB", value_parser = gib)]
    backlog_gib: Option<f64>,
    /// How many streams there are in the case of many
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) streams: u32,
    /// What else is said of the spool in the configuration, such as threads=8. May be repeated
    #[arg(long = "spool", value_name = "KEY=VALUE")]
    pub(crate) spool_settings: Vec<String>,
    /// Where the spool and the plain file are, in a folder of their own that is removed at the end. It
    /// has to be on a disk
    #[arg(long, value_name = "DIR", default_value = env!("CARGO_TARGET_TMPDIR"))]
    pub(crate) dir: PathBuf,
    /// One short round of everything, to see that it works: the figures mean little
    #[arg(long)]
    pub(crate) quick: bool,
    /// Print everything that was measured as JSON, and no table
    #[arg(long)]
    pub(crate) json: bool,
    /// What this process is, when the benchmark starts itself
    #[arg(long, value_enum, hide = true)]
    pub(crate) role: Option<Role>,
    /// The folder of the plain writer
    #[arg(long, hide = true)]
    pub(crate) folder: Option<PathBuf>,
    /// What `cargo bench` says to every benchmark
    #[arg(long, hide = true)]
    bench: bool,
}

/// What a child process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Role {
    /// The floor: a server that appends, syncs and answers.
    PlainWriter,
    /// What Standpipe sends to.
    Sink,
}

impl Role {
    /// The role as it is said on the command line.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::PlainWriter => "plain-writer",
            Self::Sink => "sink",
        }
    }
}

impl Args {
    /// How many rounds there are.
    pub(crate) fn rounds(&self) -> u32 {
        self.rounds.unwrap_or(if self.quick { 1 } else { 5 })
    }

    /// For how long a server is under load in a round.
    pub(crate) fn time(&self) -> Duration {
        let seconds = self.seconds.unwrap_or(if self.quick { 0.4 } else { 2.5 });
        Duration::from_secs_f64(seconds)
    }

    /// How large the backlog is.
    pub(crate) fn backlog_gib(&self) -> f64 {
        self.backlog_gib.unwrap_or(if self.quick { 0.05 } else { 0.3 })
    }

    /// How many starts there are of each kind.
    pub(crate) fn starts(&self) -> u32 {
        if self.quick { 3 } else { 10 }
    }

    /// Whether a case of this name was asked for.
    pub(crate) fn wants(&self, name: &str) -> bool {
        self.filters.is_empty() || self.filters.iter().any(|filter| name.contains(filter.as_str()))
    }

    /// A run ends by itself after this time, whatever hangs.
    pub(crate) fn timeout(&self) -> Duration {
        let rounds = Duration::from_secs(300) * (self.rounds() + 1);
        // A slow disk writes and reads a GiB in this time.
        rounds + Duration::from_secs(300).mul_f64(self.backlog_gib())
    }
}

fn seconds(text: &str) -> Result<f64, String> {
    number(text, 0.1, 600.0)
}

fn gib(text: &str) -> Result<f64, String> {
    // Beyond this, the sink does not know the numbers of the records.
    number(text, 0.01, 100.0)
}

fn number(text: &str, least: f64, most: f64) -> Result<f64, String> {
    match text.parse() {
        Ok(number) if (least..=most).contains(&number) => Ok(number),
        _ => Err(format!("a number from {least} to {most} is needed")),
    }
}
