//! `emulator`: the emulator of the service alone, until SIGTERM or Ctrl-C.

use std::io::Write as _;

use tokio::signal::unix::{SignalKind, signal};

use super::args;
use super::exit::{Exit, Failure};
use crate::embedded::{Config, Delivery, Emulator, Faults, StartError, parse_faults};
use crate::telemetry;

/// How much of each stream's records is remembered with `--journal`, in bytes.
const JOURNAL_BYTES_MAX: usize = 64 * 1024 * 1024;

pub(super) fn run(emulator: args::Emulator) -> Result<(), Failure> {
    telemetry::logs::install(&telemetry::Config::default())
        .map_err(|error| Failure::new(Exit::Internal, error.to_string()))?;
    let emulator = Emulator::start(config(emulator)?).map_err(failure)?;
    let text = format!(
        "The emulated Firehose listens at {url}\n\
         Let records fail:  curl -X PUT -d '{{\"record_failure_rate\":0.1}}' {url}/emulator/faults\n\
         Let all be well:   curl -X DELETE {url}/emulator/faults\n\
         See what came:     curl {url}/emulator/streams\n",
        url = emulator.endpoint_url()
    );
    // Who closed stdout does not want to read this.
    let _is_read = std::io::stdout().write_all(text.as_bytes()).is_ok();
    wait_for_signal().map_err(|error| {
        Failure::new(Exit::Internal, format!("signals can not be waited for: {error}"))
    })?;
    emulator.stop().map_err(|error| Failure::new(Exit::Io, error.to_string()))
}

fn config(emulator: args::Emulator) -> Result<Config, Failure> {
    let args::Emulator { listen, data_dir, streams, faults, unlimited, journal, discard } = emulator;
    let faults = if faults.is_empty() {
        Faults::default()
    } else {
        let pairs: Vec<String> =
            faults.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
        parse_faults(&pairs.join(","))
            .map_err(|error| Failure::new(Exit::Usage, format!("--fault: {error}")))?
    };
    let default = Config::default();
    Ok(Config {
        listen,
        data_dir,
        streams,
        faults,
        quota: if unlimited { None } else { default.quota },
        journal_bytes_max: if journal { JOURNAL_BYTES_MAX } else { 0 },
        delivery: if discard { Delivery::Discard } else { default.delivery },
        ..default
    })
}

fn failure(error: StartError) -> Failure {
    let exit = match error {
        StartError::Faults(_) => Exit::Usage,
        _ => Exit::Unavailable,
    };
    Failure::new(exit, error.to_string())
}

fn wait_for_signal() -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        Ok(())
    })
}
