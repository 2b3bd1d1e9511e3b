//! The command line as it is typed. Does nothing.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::record::StreamName;

/// A sidecar that takes an application's records and delivers them to Amazon Data Firehose.
#[derive(Debug, Parser)]
#[command(name = "standpipe", version, max_term_width = 100)]
pub(super) struct Cli {
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Take records and deliver them, until SIGTERM
    Serve(Serve),
    /// Say what a configuration means, or all that is wrong with it
    Check(Check),
    /// Look at the configuration
    #[command(subcommand)]
    Config(Config),
    /// Ask a running standpipe how it is: the exit code is 0 for well and 1 for not
    Probe(Probe),
    /// Run the emulator of the service alone, for tests and trials
    Emulator(Emulator),
}

/// Which configuration is meant.
#[derive(Debug, Args)]
pub(super) struct ConfigFile {
    /// The configuration file [otherwise: STANDPIPE_CONFIG, or none]
    #[arg(long = "config", value_name = "FILE")]
    pub(super) path: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct Check {
    #[command(flatten)]
    pub(super) config: ConfigFile,
    /// Ask the service too (are there credentials, do the streams take records?), and try the spool's disk
    #[arg(long)]
    pub(super) live: bool,
}

#[derive(Debug, Args)]
pub(super) struct Serve {
    #[command(flatten)]
    pub(super) config: ConfigFile,
    /// Deliver to an emulator in the same process: needs no account and no configuration
    #[arg(long)]
    pub(super) embedded: bool,
    /// Where the emulator keeps what it is given [default: ./standpipe-data]
    #[arg(long, value_name = "DIR", requires = "embedded")]
    pub(super) data_dir: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(super) enum Config {
    /// Print the values that hold as TOML, each with where it comes from; secrets are left out
    Show(ConfigFile),
    /// Print every key as Markdown
    Reference,
}

#[derive(Debug, Args)]
pub(super) struct Probe {
    #[command(flatten)]
    pub(super) question: Question,
    /// Where it listens [otherwise: admin.health_listen or admin.listen of the configuration]
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(super) address: Option<SocketAddr>,
    #[command(flatten)]
    pub(super) config: ConfigFile,
    /// How long the answer may take in all
    #[arg(long, value_name = "MS", default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(1..=600_000))]
    pub(super) timeout_ms: u64,
}

/// What a probe asks.
#[derive(Debug, Clone, Copy, Args)]
#[group(required = true, multiple = false)]
pub(super) struct Question {
    /// Whether the process does its work at all
    #[arg(long)]
    pub(super) live: bool,
    /// Whether it can take records at the levels that are configured
    #[arg(long)]
    pub(super) ready: bool,
}

#[derive(Debug, Args)]
pub(super) struct Emulator {
    /// Where it listens; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:4575")]
    pub(super) listen: SocketAddr,
    /// Where it keeps its streams and what was delivered
    #[arg(long, value_name = "DIR", default_value = "./standpipe-data")]
    pub(super) data_dir: PathBuf,
    /// A stream to have from the start; may be said more than once
    #[arg(long = "stream", value_name = "NAME")]
    pub(super) streams: Vec<StreamName>,
    /// Take as much as comes, instead of what the service's quota allows
    #[arg(long)]
    pub(super) unlimited: bool,
    /// Remember the last records of each stream, for /emulator/streams/{stream}/records
    #[arg(long)]
    pub(super) journal: bool,
    /// Deliver nowhere: count records and forget them
    #[arg(long)]
    pub(super) discard: bool,
    /// A fault to begin with, such as throttle_rate=0.1; may be said more than once
    #[arg(long = "fault", value_name = "NAME=VALUE")]
    pub(super) faults: Vec<String>,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent_in_itself() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_probe_asks_exactly_one_question() {
        for wrong in [&["standpipe", "probe"][..], &["standpipe", "probe", "--live", "--ready"]] {
            assert!(Cli::try_parse_from(wrong).is_err());
        }
        assert!(Cli::try_parse_from(["standpipe", "probe", "--ready"]).is_ok());
    }
}
