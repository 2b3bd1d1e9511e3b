//! `emulator`: the emulator of the service alone.

use super::args;
use super::exit::{Exit, Failure};

/// The seam to `embedded`, which is written elsewhere.
pub(super) fn run(emulator: args::Emulator) -> Result<(), Failure> {
    let args::Emulator { listen, data_dir, streams, faults } = emulator;
    Err(Failure::new(
        Exit::Internal,
        format!(
            "the emulator at {listen} with {} streams and {} faults in {} is not built in yet",
            streams.len(),
            faults.len(),
            data_dir.display()
        ),
    ))
}
