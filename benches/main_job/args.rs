//! The command line of the benchmark. Does nothing.

use std::net::SocketAddr;

use clap::{Parser, ValueEnum};

/// Measures Standpipe against the floor, in the same run and on the same machine.
#[derive(Debug, Clone, Parser)]
#[command(name = "main_job", max_term_width = 100)]
pub(crate) struct Args {
    /// Only the cases whose name contains one of these, such as 512x1/saturated, 64K or start
    #[arg(value_name = "FILTER")]
    pub(crate) filters: Vec<String>,
    /// How often each case is measured; medians are shown [default: 5]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: Option<u32>,
    /// How long a case is under load in a round [default: 2.5]
    #[arg(long, value_name = "S", value_parser = seconds)]
    seconds: Option<f64>,
    /// How many keep-alive connections there are
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) connections: u16,
    /// One short round of the main cases, to see that everything works: the figures mean little
    #[arg(long)]
    pub(crate) quick: bool,
    /// Print everything that was measured as JSON, and no table
    #[arg(long)]
    pub(crate) json: bool,
    /// What this process is, when the benchmark starts itself
    #[arg(long, value_enum, hide = true)]
    pub(crate) role: Option<Role>,
    /// Where the sink is, for `bare-sdk`
    #[arg(long, hide = true)]
    pub(crate) sink: Option<SocketAddr>,
    /// How large the records are, for `bare-sdk`
    #[arg(long, hide = true, default_value_t = 512)]
    pub(crate) record_bytes: usize,
    /// What `cargo bench` says to every benchmark
    #[arg(long, hide = true)]
    bench: bool,
}

/// What a child process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Role {
    /// The first half of the floor: a server that reads and answers.
    BareServer,
    /// The second half: a sender of full batches.
    BareSdk,
    /// What both halves of the way out send to.
    Sink,
}

impl Role {
    /// The role as it is said on the command line.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::BareServer => "bare-server",
            Self::BareSdk => "bare-sdk",
            Self::Sink => "sink",
        }
    }
}

impl Args {
    /// How many rounds there are.
    pub(crate) fn rounds(&self) -> u32 {
        self.rounds.unwrap_or(if self.quick { 1 } else { 5 })
    }

    /// For how many seconds a server is under load in a round.
    pub(crate) fn seconds(&self) -> f64 {
        self.seconds.unwrap_or(if self.quick { 0.4 } else { 2.5 })
    }

    /// Whether a case of this name was asked for.
    pub(crate) fn wants(&self, name: &str) -> bool {
        self.filters.is_empty() || self.filters.iter().any(|filter| name.contains(filter.as_str()))
    }
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(seconds) if (0.1..=600.0).contains(&seconds) => Ok(seconds),
        _ => Err("a number from 0.1 to 600 is needed".to_owned()),
    }
}
