//! `emulator`: the emulator of the service alone, until it is told to stop.

use std::io;
use std::time::Duration;

use crate::app::Signals;
use crate::embedded::{self, Config, Delivery, Emulator};
use crate::telemetry;

use super::args;
use super::exit::{Exit, Failure};

/// How often it is looked whether the emulator still lives.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// How much of each stream's records is remembered with `--journal`, in bytes.
const JOURNAL_BYTES_MAX: usize = 64 * 1024 * 1024;

pub(super) fn run(emulator: args::Emulator) -> Result<(), Failure> {
    let config = config_of(emulator)?;
    telemetry::logs::install(&telemetry::Config::default())
        .map_err(|error| Failure::new(Exit::Internal, error.to_string()))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| no_signals(&error))?;
    // The signals are caught before anybody is told that it runs, and may end it.
    let signals = {
        let _context = runtime.enter();
        Signals::listen().map_err(|error| no_signals(&error))?
    };
    let delivered = config.data_dir.join("delivered");
    let emulator = Emulator::start(config)?;
    super::print(&format!(
        "emulator          {url}\n\
         key of KMS        {key}\n\
         delivers to       {}\n\
         let records fail  curl -X PUT -d '{{\"record_failure_rate\":0.1}}' {url}/emulator/faults\n\
         let all be well   curl -X DELETE {url}/emulator/faults\n\
         see what came     curl {url}/emulator/streams\n",
        delivered.display(),
        url = emulator.endpoint_url(),
        key = emulator.key_arn(),
    ))?;
    runtime.block_on(ended(signals, &emulator));
    Ok(emulator.stop()?)
}

fn config_of(emulator: args::Emulator) -> Result<Config, Failure> {
    let args::Emulator {
        listen,
        data_dir,
        streams,
        kinesis_streams,
        unlimited,
        journal,
        discard,
        faults,
    } = emulator;
    let faults = embedded::parse_faults(&faults.join(","))
        .map_err(|error| Failure::new(Exit::Usage, format!("--fault: {error}")))?;
    let default = Config::default();
    Ok(Config {
        listen,
        data_dir,
        streams,
        kinesis_streams,
        faults,
        quota: if unlimited { None } else { default.quota },
        shard_quota: if unlimited { None } else { default.shard_quota },
        journal_bytes_max: if journal { JOURNAL_BYTES_MAX } else { 0 },
        delivery: if discard { Delivery::Discard } else { default.delivery },
        ..default
    })
}

/// Waits until a signal comes or the emulator is gone by itself.
async fn ended(mut signals: Signals, emulator: &Emulator) {
    let gone = async {
        while emulator.is_running() {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    tokio::select! {
        _ = signals.next() => {}
        () = gone => {}
    }
}

fn no_signals(error: &io::Error) -> Failure {
    Failure::new(Exit::Internal, format!("the system gives no runtime or no signals: {error}"))
}
