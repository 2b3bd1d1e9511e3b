//! `serve`: the configuration, and then the service until it is told to stop.

use std::path::PathBuf;

use crate::app::{self, StartError, Stopped};
use crate::config::Preset;
use crate::embedded;
use crate::ingest;
use crate::spool;

use super::args;
use super::exit::{Exit, Failure};

/// Where the emulator keeps what it is given, when nothing else is said.
const DATA_DIR: &str = "./standpipe-data";

pub(super) fn run(serve: args::Serve) -> Result<(), Failure> {
    let preset = if serve.embedded { Preset::Embedded } else { Preset::Service };
    let mut loaded = super::load(serve.config.path.as_deref(), preset)?;
    let embedded = serve.embedded.then(|| {
        let data_dir = serve.data_dir.unwrap_or_else(|| DATA_DIR.into());
        loaded.place_spool(&data_dir);
        emulator_of(&loaded.config, data_dir, serve.kinesis_streams)
    });
    let stopped = app::serve(loaded.config, embedded).map_err(failure)?;
    losses(&stopped).map_or(Ok(()), |message| Err(Failure::new(Exit::Io, message)))
}

/// What was lost at the stop, if anything was.
fn losses(stopped: &Stopped) -> Option<String> {
    let Stopped { records_lost, left_behind } = stopped;
    let mut lost = Vec::new();
    if *records_lost > 0 {
        lost.push(format!("{records_lost} accepted records were lost"));
    }
    if let Some(left) = left_behind {
        let uncounted = match left.segments_uncounted {
            0 => String::new(),
            segments => format!(" and {segments} segments that were not counted"),
        };
        lost.push(format!(
            "{} records{uncounted} are lost with the volume of the spool, which is ephemeral",
            left.records
        ));
    }
    (!lost.is_empty()).then(|| {
        let lost = lost.join("; ");
        format!(
            "{lost}: they were not delivered when the process stopped; the log names their streams"
        )
    })
}

/// The emulator of an embedded run: it has the streams that the configuration lists.
fn emulator_of(
    config: &app::Config,
    data_dir: PathBuf,
    kinesis_streams: Vec<embedded::KinesisStream>,
) -> embedded::Config {
    embedded::Config {
        // A second run beside a first one takes any free port; the introduction says which.
        any_port_if_taken: true,
        data_dir,
        kinesis_streams,
        streams: config.ingest.streams.iter().map(|stream| stream.name.clone()).collect(),
        ..embedded::Config::default()
    }
}

fn failure(error: StartError) -> Failure {
    let exit = match &error {
        StartError::Ingest(ingest::StartError::Token(_)) => Exit::Configuration,
        StartError::Emulator(_)
        | StartError::Ingest(_)
        | StartError::Forward(_)
        | StartError::Control(_) => Exit::Unavailable,
        StartError::Spool(spool::StartError::InUse { .. }) => Exit::Unavailable,
        StartError::Spool(spool::StartError::Volatile { .. }) => Exit::Configuration,
        StartError::Spool(spool::StartError::Io { .. }) => Exit::Io,
        StartError::Spool(spool::StartError::Thread(_)) => Exit::Internal,
        StartError::Keys(error) if error.is_configuration() => Exit::Configuration,
        StartError::Keys(_) => Exit::Unavailable,
        StartError::Admin(error) if error.is_configuration() => Exit::Configuration,
        StartError::Admin(_) => Exit::Unavailable,
        StartError::Telemetry(_) | StartError::Signals(_) => Exit::Internal,
    };
    match error {
        StartError::Emulator(error) => error.into(),
        error => Failure::new(exit, error.to_string()),
    }
}
