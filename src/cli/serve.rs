//! `serve`: the configuration, and then the service until it is told to stop.

use std::path::PathBuf;

use crate::app;
use crate::config::Preset;

use super::args;
use super::exit::{Exit, Failure};

/// Where records are delivered to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mode {
    /// To the service that the configuration names.
    Service,
    /// To an emulator in the same process, which keeps all it has in `data_dir`. The configuration has
    /// no endpoint then: who starts the emulator fills it in.
    Embedded {
        /// Where the emulator keeps what it is given.
        data_dir: PathBuf,
    },
}

/// Where the emulator keeps what it is given, when nothing else is said.
const DATA_DIR: &str = "./standpipe-data";

pub(super) fn run(serve: args::Serve) -> Result<(), Failure> {
    let (preset, mode) = if serve.embedded {
        let data_dir = serve.data_dir.unwrap_or_else(|| DATA_DIR.into());
        (Preset::Embedded, Mode::Embedded { data_dir })
    } else {
        (Preset::Service, Mode::Service)
    };
    let loaded = super::load(serve.config.path.as_deref(), preset)?;
    start(loaded.config, mode)
}

/// The seam to `app`, which is put together elsewhere.
#[expect(clippy::needless_pass_by_value, reason = "app takes them over once it is there")]
fn start(config: app::Config, mode: Mode) -> Result<(), Failure> {
    Err(Failure::new(
        Exit::Internal,
        format!("serving {} streams ({mode:?}) is not built in yet", config.ingest.streams.len()),
    ))
}
