//! The command line as it is typed. Does nothing.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::aws::is_data_stream;
use crate::embedded::KinesisStream;
use crate::encryption::sse;
use crate::record::StreamName;
use crate::spool::LetterId;

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
    /// Look into the spool; it is only read, whether a standpipe runs with it or not
    #[command(subcommand)]
    Spool(Spool),
    /// Look at dead letters, get them out, or send them on their way again
    #[command(subcommand)]
    DeadLetter(DeadLetter),
    /// Look at the encryption of streams at the service, or change it; no running standpipe is needed
    #[command(subcommand)]
    Encryption(Encryption),
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
    /// Ask the service too (are there credentials, do the streams take records, does what is declared of them
    /// hold?), and try the spool's disk
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
    /// A data stream of Kinesis that the emulator has, and the delivery stream that takes its records from
    /// it; may be said more than once
    #[arg(long = "kinesis-stream", value_name = "NAME[=DELIVERY_STREAM]", requires = "embedded")]
    pub(super) kinesis_streams: Vec<KinesisStream>,
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

#[derive(Debug, Subcommand)]
pub(super) enum Spool {
    /// List streams and segments: how they were left, how much is in them, and under which key
    List(SpoolList),
    /// Open every frame of every segment: the exit code is 0 when all is whole, 74 for damage, 69 without keys
    Verify(SpoolVerify),
    /// Write records out in the clear: those that are not delivered, one JSON object a line
    Export(SpoolExport),
}

/// Which spool is meant, and which part of it.
#[derive(Debug, Args)]
pub(super) struct Place {
    #[command(flatten)]
    pub(super) config: ConfigFile,
    /// The directory of the spool [otherwise: spool.dir of the configuration]
    #[arg(long, value_name = "DIR")]
    pub(super) dir: Option<PathBuf>,
    /// Only this stream
    #[arg(long, value_name = "NAME")]
    pub(super) stream: Option<StreamName>,
}

/// How long keys are waited for.
#[derive(Debug, Clone, Copy, Args)]
pub(super) struct KeyTime {
    /// How long to wait, in all, for keys that do not come
    #[arg(long, value_name = "MS", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(0..=600_000))]
    pub(super) key_timeout_ms: u64,
}

#[derive(Debug, Args)]
pub(super) struct SpoolList {
    #[command(flatten)]
    pub(super) place: Place,
    /// Print one JSON object
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct SpoolVerify {
    #[command(flatten)]
    pub(super) place: Place,
    #[command(flatten)]
    pub(super) keys: KeyTime,
    /// Print one JSON object
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct SpoolExport {
    #[command(flatten)]
    pub(super) place: Place,
    #[command(flatten)]
    pub(super) keys: KeyTime,
    #[command(flatten)]
    pub(super) form: ExportForm,
    /// Delivered records too, and what still opens in quarantine
    #[arg(long)]
    pub(super) all: bool,
}

/// What is written, and where.
#[derive(Debug, Args)]
pub(super) struct ExportForm {
    /// Write the bytes of the records alone, one behind the other
    #[arg(long, conflicts_with = "text")]
    pub(super) raw: bool,
    /// Write records that are UTF-8 as `text` instead of base64 in `data`
    #[arg(long)]
    pub(super) text: bool,
    /// Write into this file, which must not be there yet [otherwise: stdout]
    #[arg(long, value_name = "FILE")]
    pub(super) output: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(super) enum DeadLetter {
    /// Say how many there are of each stream, since when, and what the service said of them
    List(LetterList),
    /// Write them out in the clear, one JSON object a line
    Export(LetterExport),
    /// Tell a running standpipe to send them on their way again
    Replay(LetterReplay),
}

#[derive(Debug, Args)]
pub(super) struct LetterList {
    #[command(flatten)]
    pub(super) place: Place,
    #[command(flatten)]
    pub(super) keys: KeyTime,
    /// Each letter: its id, when, why and how large it is; never the record itself
    #[arg(long)]
    pub(super) verbose: bool,
    /// Print one JSON object
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct LetterExport {
    #[command(flatten)]
    pub(super) place: Place,
    #[command(flatten)]
    pub(super) keys: KeyTime,
    #[command(flatten)]
    pub(super) form: ExportForm,
    /// Those too that were replayed and whose segment is still there
    #[arg(long)]
    pub(super) all: bool,
}

#[derive(Debug, Args)]
pub(super) struct LetterReplay {
    /// The stream whose dead letters are meant
    pub(super) stream: StreamName,
    /// Only this letter, as `dead-letter list --verbose` names it; may be said more than once
    #[arg(long = "id", value_name = "ID")]
    pub(super) ids: Vec<LetterId>,
    #[command(flatten)]
    pub(super) config: ConfigFile,
    /// Where it listens [otherwise: admin.listen of the configuration]
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(super) address: Option<SocketAddr>,
    /// The file with its token [otherwise: admin.token_file of the configuration]
    #[arg(long, value_name = "FILE")]
    pub(super) token_file: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(super) enum Encryption {
    /// Say how streams are encrypted at the service, and whether what is declared holds
    Status(EncryptionStatus),
    /// Have a stream encrypted, or change its key
    Enable(EncryptionEnable),
    /// Have a stream encrypted no more
    Disable(EncryptionDisable),
}

/// Which stream is meant, and how it is asked about.
#[derive(Debug, Args)]
pub(super) struct AskedStream {
    /// The delivery stream; it need not be configured
    pub(super) stream: Option<StreamName>,
    /// The Kinesis data stream, by its name or ARN, without a question to Firehose
    #[arg(long, value_name = "NAME|ARN", value_parser = data_stream, conflicts_with = "stream")]
    pub(super) kinesis_stream: Option<String>,
    #[command(flatten)]
    pub(super) config: ConfigFile,
    /// Print one JSON object
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct EncryptionStatus {
    /// Without a stream, all that are configured
    #[command(flatten)]
    pub(super) asked: AskedStream,
    /// End with 1 when a stream is not encrypted, or not what is declared
    #[arg(long)]
    pub(super) require: bool,
}

#[derive(Debug, Args)]
pub(super) struct EncryptionEnable {
    #[command(flatten)]
    pub(super) asked: AskedStream,
    /// aws-owned, the ARN of a KMS key, or for a data stream also alias/... or the id of a key
    #[arg(long, value_name = "KEY", default_value = "aws-owned", value_parser = key)]
    pub(super) key: sse::Key,
    #[command(flatten)]
    pub(super) waiting: Waiting,
}

#[derive(Debug, Args)]
pub(super) struct EncryptionDisable {
    #[command(flatten)]
    pub(super) asked: AskedStream,
    #[command(flatten)]
    pub(super) waiting: Waiting,
}

/// Whether it is waited until a change is done.
#[derive(Debug, Clone, Copy, Args)]
pub(super) struct Waiting {
    /// Wait until the service is done with it, or has failed
    #[arg(long)]
    pub(super) wait: bool,
    /// How long to wait in all
    #[arg(long, value_name = "MS", default_value_t = 300_000, requires = "wait", value_parser = clap::value_parser!(u64).range(1..=86_400_000))]
    pub(super) timeout_ms: u64,
}

fn key(text: &str) -> Result<sse::Key, sse::BadKey> {
    sse::Key::parse(text)
}

fn data_stream(text: &str) -> Result<String, String> {
    let is_one = is_data_stream(text);
    is_one
        .then(|| text.to_owned())
        .ok_or_else(|| "that is no name or ARN of a data stream".to_owned())
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
    /// A data stream of Kinesis to have from the start, and the delivery stream that takes its records from
    /// it; may be said more than once
    #[arg(long = "kinesis-stream", value_name = "NAME[=DELIVERY_STREAM]")]
    pub(super) kinesis_streams: Vec<KinesisStream>,
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
    fn a_data_stream_is_named_alone_or_with_the_delivery_stream_behind_it() {
        let parsed = Cli::try_parse_from([
            "standpipe",
            "emulator",
            "--kinesis-stream=alone",
            "--kinesis-stream=data=demo",
        ]);
        let Ok(Cli { command: Command::Emulator(emulator) }) = parsed else { panic!("refused") };
        let behind = emulator.kinesis_streams.iter().map(|stream| {
            (stream.name.as_str(), stream.delivery_stream.as_ref().map(StreamName::as_str))
        });
        assert_eq!(behind.collect::<Vec<_>>(), [("alone", None), ("data", Some("demo"))]);
        let bad = ["standpipe", "emulator", "--kinesis-stream=a b=demo"];
        assert!(Cli::try_parse_from(bad).is_err());
    }

    #[test]
    fn a_probe_asks_exactly_one_question() {
        for wrong in [&["standpipe", "probe"][..], &["standpipe", "probe", "--live", "--ready"]] {
            assert!(Cli::try_parse_from(wrong).is_err());
        }
        assert!(Cli::try_parse_from(["standpipe", "probe", "--ready"]).is_ok());
    }
}
