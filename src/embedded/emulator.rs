//! The handle of a running emulator: its start, its stop and the thread between.

use std::cell::RefCell;
use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::rc::Rc;
use std::thread::{self, JoinHandle};

use tokio::runtime::{self, Runtime};
use tokio::sync::oneshot;
use tokio::task::LocalSet;

use super::deliver::{Writer, WriterThread, spawn_writer};
use super::faults::BadFault;
use super::files::{DataDir, OpenDirError};
use super::kms_keys::default_arn;
use super::server;
use super::state::{Shared, State};
use super::{Config, Delivery};

/// A running emulator, on a thread and a runtime of its own. Dropping it stops it.
#[derive(Debug)]
pub struct Emulator {
    local_addr: SocketAddr,
    key_arn: String,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<Result<(), StopError>>>,
}

/// Why an emulator does not start.
#[derive(Debug)]
pub enum StartError {
    /// It cannot listen there.
    Listen {
        /// Where.
        addr: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// Its directory, or something in it, cannot be used.
    DataDir {
        /// What cannot be used.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Another emulator uses the directory.
    DataDirInUse {
        /// The directory.
        path: PathBuf,
    },
    /// The list of streams of an earlier life cannot be understood.
    StreamsFile {
        /// The list.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The keys of an earlier life cannot be understood.
    KeysFile {
        /// The file of the keys.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The faults to begin with make no sense.
    Faults(BadFault),
    /// The system gives no thread or no runtime.
    Thread(io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listen { addr, source } => {
                write!(f, "the emulator cannot listen on {addr}: {source}")
            }
            Self::DataDir { path, source } => {
                write!(f, "the emulator cannot use {}: {source}", path.display())
            }
            Self::DataDirInUse { path } => {
                write!(f, "another emulator uses {}", path.display())
            }
            Self::StreamsFile { path, reason } => {
                write!(f, "the list of streams {} cannot be read: {reason}", path.display())
            }
            Self::KeysFile { path, reason } => {
                write!(f, "the keys {} cannot be read: {reason}", path.display())
            }
            Self::Faults(bad) => write!(f, "the faults of the emulator: {bad}"),
            Self::Thread(source) => write!(f, "the emulator cannot start a thread: {source}"),
        }
    }
}

impl std::error::Error for StartError {}

/// What went wrong in the life of an emulator, told at its stop.
#[derive(Debug)]
pub enum StopError {
    /// These objects could not be put where delivered ones are. They are complete in `open/` below the
    /// data directory, and the next start tries again.
    ObjectsLeftOpen {
        /// The names of the objects.
        names: Vec<String>,
    },
    /// A thread of the emulator has panicked.
    Panicked,
    /// It could not take over the port that it had bound.
    Runtime(io::Error),
}

impl fmt::Display for StopError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ObjectsLeftOpen { names } => {
                write!(f, "the emulator could not close {}", names.join(", "))
            }
            Self::Panicked => f.write_str("a thread of the emulator has panicked"),
            Self::Runtime(source) => write!(f, "the emulator could not serve: {source}"),
        }
    }
}

impl std::error::Error for StopError {}

impl Emulator {
    /// Starts an emulator. When this returns it listens, and its streams are there.
    ///
    /// # Errors
    ///
    /// A port that is taken, a directory that cannot be used, faults that make no sense.
    pub fn start(mut config: Config) -> Result<Self, StartError> {
        config.faults = config.faults.checked().map_err(StartError::Faults)?;
        let kinesis_faults = config.kinesis_faults.checked_for_kinesis();
        config.kinesis_faults = kinesis_faults.map_err(StartError::Faults)?;
        config.kms_faults = config.kms_faults.checked_for_kms().map_err(StartError::Faults)?;
        for faults in config.stream_faults.values_mut() {
            *faults = faults.clone().checked_for_one_stream().map_err(StartError::Faults)?;
        }
        let listener = listen(config.listen)
            .or_else(|error| match error.kind() {
                io::ErrorKind::AddrInUse if config.any_port_if_taken => {
                    listen(SocketAddr::new(config.listen.ip(), 0))
                }
                _ => Err(error),
            })
            .map_err(|source| StartError::Listen { addr: config.listen, source })?;
        let local_addr = listener
            .local_addr()
            .map_err(|source| StartError::Listen { addr: config.listen, source })?;
        let dir = open_dir(&config)?;
        let delivery = start_delivery(&config, &dir)?;
        let (writer, writer_thread) = delivery.unzip();
        let key_arn = default_arn(&config.region);
        let state = State::open(config, dir)?;
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(StartError::Thread)?;
        let (stop, stopped) = oneshot::channel();
        let life = move || live(&runtime, listener, state, writer, writer_thread, stopped);
        let thread = thread::Builder::new()
            .name(String::from("emulator"))
            .spawn(life)
            .map_err(StartError::Thread)?;
        if !local_addr.ip().is_loopback() {
            tracing::warn!(listen = %local_addr, "the emulator can be reached from outside, by anybody");
        }
        tracing::info!(listen = %local_addr, "the emulator takes requests, signed or not");
        Ok(Self { local_addr, key_arn, stop: Some(stop), thread: Some(thread) })
    }

    /// Where it listens.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Where it listens, as an SDK wants to be told.
    #[must_use]
    pub fn endpoint_url(&self) -> String {
        format!("http://{}", self.local_addr)
    }

    /// The ARN of the KMS key that is always there.
    #[must_use]
    pub fn key_arn(&self) -> &str {
        &self.key_arn
    }

    /// Whether its thread still lives.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.thread.as_ref().is_some_and(|thread| !thread.is_finished())
    }

    /// Ends it: no more requests, everything accepted in finished objects. Blocks until then, about a
    /// second at most while requests hang.
    ///
    /// # Errors
    ///
    /// What went wrong in its life, see [`StopError`].
    pub fn stop(mut self) -> Result<(), StopError> {
        self.end()
    }

    fn end(&mut self) -> Result<(), StopError> {
        if let Some(stop) = self.stop.take() {
            // A thread that is gone has dropped the other end; the join tells why.
            if stop.send(()).is_err() {
                tracing::debug!("the emulator has ended before it was told to");
            }
        }
        match self.thread.take() {
            Some(thread) => thread.join().unwrap_or(Err(StopError::Panicked)),
            None => Ok(()),
        }
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            tracing::error!(%error, "the emulator did not end well");
        }
    }
}

fn listen(addr: SocketAddr) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(addr)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

fn open_dir(config: &Config) -> Result<DataDir, StartError> {
    let path = config.data_dir.clone();
    DataDir::open(&path).map_err(|error| match error {
        OpenDirError::InUse => StartError::DataDirInUse { path },
        OpenDirError::Io(source) => StartError::DataDir { path, source },
    })
}

fn start_delivery(
    config: &Config,
    dir: &DataDir,
) -> Result<Option<(Writer, WriterThread)>, StartError> {
    let Delivery::Files { roll_bytes, roll_after } = config.delivery else { return Ok(None) };
    let path = config.data_dir.clone();
    let objects = dir.objects().map_err(|source| StartError::DataDir { path, source })?;
    spawn_writer(objects, roll_bytes, roll_after).map(Some).map_err(StartError::Thread)
}

/// The life of the emulator's thread.
fn live(
    runtime: &Runtime,
    listener: TcpListener,
    state: State,
    writer: Option<Writer>,
    writer_thread: Option<WriterThread>,
    stop: oneshot::Receiver<()>,
) -> Result<(), StopError> {
    let connections_max = state.config.connections_max;
    let body_bytes_max = state.config.body_bytes_max;
    let shared = Rc::new(Shared { state: RefCell::new(state), writer, body_bytes_max });
    let tasks = LocalSet::new();
    let served = tasks.block_on(runtime, async move {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        server::run(listener, shared, connections_max, stop).await;
        Ok(())
    });
    // What was handed over is written before the writer ends.
    drop(tasks);
    let left_open = match writer_thread {
        Some(writer) => writer.stop().map_err(|_| StopError::Panicked)?,
        None => Vec::new(),
    };
    served.map_err(StopError::Runtime)?;
    if left_open.is_empty() { Ok(()) } else { Err(StopError::ObjectsLeftOpen { names: left_open }) }
}
