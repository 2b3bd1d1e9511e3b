//! `serve`: the configuration, and then the service until it is told to stop.

use std::path::PathBuf;

use crate::app::{self, StartError};
use crate::config::Preset;
use crate::embedded;
use crate::ingest;

use super::args;
use super::exit::{Exit, Failure};

/// Where the emulator keeps what it is given, when nothing else is said.
const DATA_DIR: &str = "./standpipe-data";

pub(super) fn run(serve: args::Serve) -> Result<(), Failure> {
    let preset = if serve.embedded { Preset::Embedded } else { Preset::Service };
    let loaded = super::load(serve.config.path.as_deref(), preset)?;
    let embedded = serve.embedded.then(|| {
        let data_dir = serve.data_dir.unwrap_or_else(|| DATA_DIR.into());
        emulator_of(&loaded.config, data_dir)
    });
    let stopped = app::serve(loaded.config, embedded).map_err(failure)?;
    if stopped.records_lost > 0 {
        let message = format!(
            "{} accepted records were lost: they were not delivered when the process stopped; the \
             log names their streams",
            stopped.records_lost
        );
        return Err(Failure::new(Exit::Io, message));
    }
    Ok(())
}

/// The emulator of an embedded run: it has the streams that the configuration lists.
fn emulator_of(config: &app::Config, data_dir: PathBuf) -> embedded::Config {
    embedded::Config {
        // A second run beside a first one takes any free port; the introduction says which.
        any_port_if_taken: true,
        data_dir,
        streams: config.ingest.streams.iter().map(|stream| stream.name.clone()).collect(),
        ..embedded::Config::default()
    }
}

fn failure(error: StartError) -> Failure {
    let exit = match &error {
        StartError::Ingest(ingest::StartError::Token(_)) => Exit::Configuration,
        StartError::Emulator(_) | StartError::Ingest(_) | StartError::Forward(_) => {
            Exit::Unavailable
        }
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
