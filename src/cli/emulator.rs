//! `emulator`: the emulator of the service alone, until it is told to stop.

use std::io;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::embedded::{self, Emulator};
use crate::telemetry;

use super::args;
use super::exit::{Exit, Failure};

/// How often it is looked whether the emulator still lives.
const LOOK_EVERY: Duration = Duration::from_millis(500);

pub(super) fn run(emulator: args::Emulator) -> Result<(), Failure> {
    let args::Emulator { listen, data_dir, streams, faults } = emulator;
    let faults = embedded::parse_faults(&faults.join(","))
        .map_err(|error| Failure::new(Exit::Usage, format!("--fault: {error}")))?;
    let config =
        embedded::Config { listen, data_dir, streams, faults, ..embedded::Config::default() };
    telemetry::logs::install(&telemetry::Config::default())
        .map_err(|error| Failure::new(Exit::Internal, error.to_string()))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| no_signals(&error))?;
    // The signals are caught before anybody is told that it runs, and may end it.
    let signals = {
        let _context = runtime.enter();
        Signals::catch().map_err(|error| no_signals(&error))?
    };
    let delivered = config.data_dir.join("delivered");
    let emulator = Emulator::start(config)?;
    super::print(&format!(
        "emulator  {}\ndelivers  {}\n",
        emulator.endpoint_url(),
        delivered.display()
    ))?;
    runtime.block_on(ended(signals, &emulator));
    Ok(emulator.stop()?)
}

/// The signals that end it.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn catch() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }
}

/// Waits until a signal comes or the emulator is gone by itself.
async fn ended(mut signals: Signals, emulator: &Emulator) {
    let gone = async {
        while emulator.is_running() {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    tokio::select! {
        _ = signals.terminate.recv() => {}
        _ = signals.interrupt.recv() => {}
        () = gone => {}
    }
}

fn no_signals(error: &io::Error) -> Failure {
    Failure::new(Exit::Internal, format!("the system gives no runtime or no signals: {error}"))
}
