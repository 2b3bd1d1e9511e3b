//! The composition root: all stages' configurations, and how the stages are put together and taken down.
//!
//! ```text
//!  Config ─► App::start ─► emulator (embedded only)     one thread
//!                          keys                         one thread
//!                          spool                        a few threads
//!                          streams, hand-off, post      no thread
//!                          control                      one thread
//!                          forward                      one thread
//!                          ingest                       one thread a worker
//!                          admin                        one thread
//!            App::run ───► waits for a signal ─► stop: drain, flush, deliver, spool the rest, name what
//!                                                is lost
//! ```
//!
//! It reads in the order of the data. It decides nothing that a stage could decide.

mod encryption;
mod keeping;
mod keys_shown;
mod open_files;
mod ready;
mod replay;
mod secrecy;
mod signals;
mod status;
mod stop;

use std::fmt;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::Notify;

pub use secrecy::forbid_dumps;
pub use signals::Signals;
pub use stop::Stopped;

use keeping::Keeping;

use crate::admin::{self, Admin};
use crate::embedded::{self, Emulator};
use crate::encryption::keys::{self, Keys};
use crate::encryption::sse::{self, Control};
use crate::forward::{self, Forward};
use crate::ingest::{self, Ends, Ingest, Streams};
use crate::lifecycle::{self, Lifecycle, Phase};
use crate::pipeline::{self, HANDOFF_BATCHES_MAX, Mailbox, Post, handoff, post};
use crate::record::StreamName;
use crate::spool::{self, Spool, Volume};
use crate::telemetry::{self, LevelHandle, MetricSpec, MetricsHandle};

/// Everything that can be configured, by stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The bound on the memory for records and bodies, in bytes.
    pub memory_bytes_max: usize,
    /// The data listener and the streams.
    pub ingest: ingest::Config,
    /// The sealed spool, where there is one.
    pub spool: Option<spool::Config>,
    /// The data keys, if there are any.
    pub keys: Option<keys::Config>,
    /// What is declared of the streams' encryption and of where their records go.
    pub sse: sse::Config,
    /// The way to the service.
    pub forward: forward::Config,
    /// Health, metrics, status.
    pub admin: admin::Config,
    /// Logs.
    pub telemetry: telemetry::Config,
    /// How a stop goes.
    pub lifecycle: lifecycle::Config,
}

/// The tables of all metrics, in the order of the data path.
pub const METRICS: &[&[MetricSpec]] = &[
    ingest::METRICS,
    pipeline::metrics::METRICS,
    spool::METRICS,
    forward::METRICS,
    keys::METRICS,
    sse::METRICS,
    admin::METRICS,
    telemetry::metrics::METRICS,
    telemetry::process::METRICS,
];

/// All stages, running.
#[derive(Debug)]
pub struct App {
    config: lifecycle::Config,
    lifecycle: Lifecycle,
    quit: Arc<Notify>,
    streams: Arc<Streams>,
    ingest: Arc<Ingest>,
    forward: Forward,
    spool: Option<Arc<Spool>>,
    volume: Volume,
    keys: Option<Keys>,
    control: Control,
    admin: Admin,
    emulator: Option<Emulator>,
}

/// What is there before the first stage that takes records.
struct Base {
    emulator: Option<Emulator>,
    keys: Option<Keys>,
    keeping: Keeping,
    post: Post,
    mailboxes: Vec<Mailbox>,
}

/// Why the process did not start. Each is one line for the person who started it.
#[derive(Debug)]
pub enum StartError {
    /// The logs or metrics can not be set up.
    Telemetry(String),
    /// The emulator did not start.
    Emulator(embedded::StartError),
    /// The spool did not start.
    Spool(spool::StartError),
    /// The data keys can not be had.
    Keys(keys::StartError),
    /// The streams can not be minded.
    Control(sse::StartError),
    /// The forwarder did not start.
    Forward(forward::StartError),
    /// The data listener did not start.
    Ingest(ingest::StartError),
    /// The admin listener did not start.
    Admin(admin::StartError),
    /// The process can not wait for signals.
    Signals(std::io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Telemetry(error) => f.write_str(error),
            Self::Emulator(error) => error.fmt(f),
            Self::Spool(error) => error.fmt(f),
            Self::Keys(error) => error.fmt(f),
            Self::Control(error) => error.fmt(f),
            Self::Forward(error) => error.fmt(f),
            Self::Ingest(error) => error.fmt(f),
            Self::Admin(error) => error.fmt(f),
            Self::Signals(error) => write!(f, "signals can not be waited for: {error}"),
        }
    }
}

impl std::error::Error for StartError {}

/// Serves until the process is told to stop, and says what became of the records.
///
/// # Errors
/// [`StartError`] when a stage does not start. Those that had started are stopped again.
pub fn serve(config: Config, embedded: Option<embedded::Config>) -> Result<Stopped, StartError> {
    let level = telemetry::logs::install(&config.telemetry)
        .map_err(|error| StartError::Telemetry(error.to_string()))?;
    let metrics =
        telemetry::metrics::install().map_err(|error| StartError::Telemetry(error.to_string()))?;
    abort_on_panic();
    open_files::raise(&config);
    if config.spool.is_some() {
        forbid_dumps();
    }
    let data_dir = embedded.as_ref().map(|embedded| embedded.data_dir.clone());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(StartError::Signals)?;
    // Caught before the first record can come: a signal would end the process with it, or pass unheard
    // where the process is the first one of its container.
    let signals = {
        let _context = runtime.enter();
        Signals::listen().map_err(StartError::Signals)?
    };
    let app = App::start(config, embedded, level, &metrics)?;
    if let Some(data_dir) = data_dir {
        app.introduce(&data_dir);
    }
    let stopped = runtime.block_on(app.run(signals));
    runtime.shutdown_background();
    Ok(stopped)
}

impl App {
    fn start(
        mut config: Config,
        embedded: Option<embedded::Config>,
        level: LevelHandle,
        metrics: &MetricsHandle,
    ) -> Result<Self, StartError> {
        METRICS.iter().for_each(|table| telemetry::describe(table));
        let emulator = embedded.map(Emulator::start).transpose().map_err(StartError::Emulator)?;
        if let Some(emulator) = &emulator {
            config.forward.upstream.endpoint = Some(emulator.endpoint_url());
            config.forward.kinesis_endpoint = Some(emulator.endpoint_url());
            config.sse.upstream.endpoint = Some(emulator.endpoint_url());
            config.sse.kinesis_endpoint = Some(emulator.endpoint_url());
            if let Some(keys) = &mut config.keys {
                keys.upstream.endpoint = Some(emulator.endpoint_url());
                keys.key.get_or_insert_with(|| emulator.key_arn().to_owned());
            }
        }
        let names = names(&config.ingest);
        let keys = config.keys.take().map(|keys| Keys::start(&keys, &names)).transpose();
        let keys = keys.map_err(StartError::Keys)?;
        let (post, mailboxes) = post(config.ingest.workers);
        let keeping = Keeping::start(config.spool.take(), keys.as_ref(), post.clone())?;
        let spool = keeping.spool.clone();
        let base = Base { emulator, keys, keeping, post, mailboxes };
        let started = Self::start_around(config, base, level, metrics);
        if let (Err(_), Some(spool)) = (&started, spool) {
            // Nothing was taken yet: what is left is what was there before.
            if let Some(spool) = Arc::into_inner(spool) {
                let _left = spool.stop(Instant::now() + stop::SPOOL_TIME);
            }
        }
        started
    }

    /// Starts the stages around the spool.
    fn start_around(
        mut config: Config,
        base: Base,
        level: LevelHandle,
        metrics: &MetricsHandle,
    ) -> Result<Self, StartError> {
        let Base { emulator, keys, keeping, post, mailboxes } = base;
        let lifecycle = Lifecycle::new();
        let streams = Arc::new(keeping.streams(config.memory_bytes_max, &config.ingest));
        let Keeping { spool, words, volume, .. } = keeping;

        let (outlets, intake) = handoff(config.ingest.workers, HANDOFF_BATCHES_MAX);
        config.forward.stop_delivers_backlog = volume == Volume::Ephemeral;
        // Copied to the disk before the answer gives up, so that it can say durable.
        config.forward.spool_awaited_after = config.ingest.delivered_wait * 4 / 5;
        let lanes = streams.all().iter().map(|stream| Arc::clone(&stream.lane)).collect();
        let ends = spool.as_ref().map(|spool| spool.spools()).zip(words);
        let control = Control::start(config.sse).map_err(StartError::Control)?;
        let forward = Forward::start(config.forward, intake, post, ends, lanes, control.gates())
            .map_err(StartError::Forward)?;

        let ends = outlets
            .into_iter()
            .zip(mailboxes)
            .map(|(outlet, mailbox)| Ends { outlet, mailbox })
            .collect();
        let minded = encryption::for_applications(&control.watcher());
        let ingest = Ingest::start(config.ingest, Arc::clone(&streams), minded, ends, &lifecycle);
        let ingest = Arc::new(ingest.map_err(StartError::Ingest)?);

        let quit = Arc::new(Notify::new());
        let view = status::View {
            started_at: Instant::now(),
            memory_bytes_max: config.memory_bytes_max,
            lifecycle: lifecycle.clone(),
            streams: Arc::clone(&streams),
            ingest: Arc::clone(&ingest),
            forward: forward.watcher(),
            spool: spool.clone(),
            keys: keys.as_ref().map(Keys::watcher),
            control: control.watcher(),
        };
        let sources = view.sources(metrics, level, &quit);
        let admin = match admin::start(&config.admin, sources).map_err(StartError::Admin) {
            Ok(admin) => admin,
            Err(error) => {
                lifecycle.advance(Phase::Stopped);
                if let Ok(ingest) = Arc::try_unwrap(ingest) {
                    ingest.join();
                }
                return Err(error);
            }
        };
        lifecycle.advance(Phase::Serving);
        tracing::info!(
            data = %ingest.local_addr(),
            admin = %admin.local_addr(),
            version = env!("CARGO_PKG_VERSION"),
            "listening"
        );
        Ok(Self {
            config: config.lifecycle,
            lifecycle,
            quit,
            streams,
            ingest,
            forward,
            spool,
            volume,
            keys,
            control,
            admin,
            emulator,
        })
    }

    /// Says on stdout what somebody who tries it out can do next.
    fn introduce(&self, data_dir: &Path) {
        let names: Vec<String> =
            self.streams.all().iter().map(|stream| stream.lane.name().to_string()).collect();
        let stream = names.first().map_or("demo", String::as_str);
        let (data, admin) = (self.ingest.local_addr(), self.admin.local_addr());
        let emulator = self.emulator.as_ref().map_or_else(String::new, Emulator::endpoint_url);
        let delivered = data_dir.join("delivered").join(stream);
        let text = format!(
            "Standpipe takes records at http://{data} and shows itself at http://{admin}\n\
             An emulated Firehose delivers them to {delivered}\n\
             \n\
             Send a record:\n  \
             curl -d '{{\"hello\":\"world\"}}' http://{data}/v1/streams/{stream}/records\n\
             Read it back, two seconds later:\n  \
             find {delivered} -type f | xargs cat\n\
             Or with an AWS SDK, by the application's environment:\n  \
             AWS_ENDPOINT_URL_FIREHOSE=http://{data}\n\
             Let three in ten records fail, and watch none get lost:\n  \
             curl -X PUT -d '{{\"record_failure_rate\":0.3}}' {emulator}/emulator/faults\n\
             \n\
             Stop with Ctrl-C.\n",
            delivered = delivered.display()
        );
        // Who closed stdout does not want to read this.
        let _is_read = std::io::stdout().write_all(text.as_bytes()).is_ok();
    }
}

/// The streams that are known by name.
fn names(ingest: &ingest::Config) -> Vec<StreamName> {
    ingest.streams.iter().map(|stream| stream.name.clone()).collect()
}

/// Half a pipe is worse than none: a thread that panics ends the process, for a supervisor to start anew.
fn abort_on_panic() {
    std::panic::set_hook(Box::new(|panic| {
        let thread = std::thread::current();
        tracing::error!(
            thread = thread.name().unwrap_or("unnamed"),
            "a thread panicked, the process ends: {panic}"
        );
        telemetry::flush();
        std::process::abort();
    }));
}
