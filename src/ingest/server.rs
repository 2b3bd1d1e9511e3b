//! The ingest threads: started with their sockets, closed with the life of the process.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::task::LocalSet;

use super::Config;
use super::connection::Connections;
use super::listen::{ListenError, UnixSocket, tcp};
use super::metrics;
use super::shared::Shared;
use super::stream_control::StreamControl;
use super::streams::Streams;
use super::worker::Worker;
use crate::lifecycle::{Lifecycle, Phase};
use crate::pipeline::{Bell, ChunkPool, Mailbox, Outlet};
use crate::token::{Token, TokenError};

/// How long accepting pauses after it failed, for instance when no file descriptor is left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long telling them may take.
const REFUSAL_TIME_MAX: Duration = Duration::from_secs(1);

/// What they are told.
const REFUSAL: &str = "{\"type\":\"about:blank\",\"title\":\"Service Unavailable\",\"status\":503,\
    \"code\":\"too_many_connections\",\"detail\":\"close some connections, or raise \
    ingest.connections_max\"}";

/// How long connections may take to close after the last answer, if the stop has as much time left.
const FAREWELL_TIME_MAX: Duration = Duration::from_secs(1);

/// How often a closing worker looks whether its batches are gone.
const FLUSH_INTERVAL: Duration = Duration::from_millis(2);

/// The running data listener.
#[derive(Debug)]
pub struct Ingest {
    local_addr: SocketAddr,
    shared: Arc<Shared>,
    /// How many workers have records that are not handed over.
    unflushed: Arc<AtomicUsize>,
    threads: Vec<JoinHandle<()>>,
    bells: Vec<Bell>,
}

/// Why the data listener did not start.
#[derive(Debug)]
pub enum StartError {
    /// An address can not be listened on.
    Listen(ListenError),
    /// The token is not fit.
    Token(TokenError),
    /// A thread or its runtime can not be had.
    Thread(io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listen(error) => error.fmt(f),
            Self::Token(error) => error.fmt(f),
            Self::Thread(error) => write!(f, "an ingest thread can not be started: {error}"),
        }
    }
}

impl std::error::Error for StartError {}

impl From<ListenError> for StartError {
    fn from(error: ListenError) -> Self {
        Self::Listen(error)
    }
}

/// One worker's ends of the pipeline.
#[derive(Debug)]
pub struct Ends {
    /// Where its closed batches go.
    pub outlet: Outlet,
    /// Where it hears what was settled.
    pub mailbox: Mailbox,
}

impl Ingest {
    /// Binds the sockets and starts a thread for each of `ends`.
    ///
    /// # Errors
    /// [`StartError`] when an address or a thread can not be had. Nothing runs then.
    pub fn start(
        config: Config,
        streams: Arc<Streams>,
        control: StreamControl,
        ends: Vec<Ends>,
        lifecycle: &Lifecycle,
    ) -> Result<Self, StartError> {
        let token = config
            .token_file
            .as_deref()
            .map(|path| Token::read("ingest.token_file", path))
            .transpose();
        let token = token.map_err(StartError::Token)?;
        let workers = u16::try_from(ends.len()).unwrap_or(u16::MAX);
        let listeners = tcp(config.listen, workers)?;
        let local_addr = match listeners.first().map(std::net::TcpListener::local_addr) {
            Some(address) => address.map_err(StartError::Thread)?,
            None => config.listen,
        };
        let unix = config.unix_socket.as_deref().map(UnixSocket::bind).transpose()?;
        let shared = Shared::new(config, streams, control, token);
        let pool = ChunkPool::new();
        let unflushed = Arc::new(AtomicUsize::new(ends.len()));
        let mut ingest =
            Self { local_addr, shared, unflushed, threads: Vec::new(), bells: Vec::new() };
        for (index, (ends, tcp)) in ends.into_iter().zip(listeners).enumerate() {
            ingest.bells.push(ends.mailbox.bell().clone());
            let thread = Thread {
                shared: Arc::clone(&ingest.shared),
                ends,
                pool: pool.clone(),
                tcp,
                unix: unix.as_ref().map(UnixSocket::handle).transpose()?,
                lifecycle: lifecycle.clone(),
                unflushed: Arc::clone(&ingest.unflushed),
            };
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .map_err(StartError::Thread)?;
            let thread = Builder::new()
                .name(format!("ingest-{index}"))
                .spawn(move || thread.live(&runtime))
                .map_err(StartError::Thread)?;
            ingest.threads.push(thread);
        }
        Ok(ingest)
    }

    /// Where it listens.
    #[must_use]
    pub const fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// How many connections are open.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.shared.connections.now()
    }

    /// How many requests are being served.
    #[must_use]
    pub fn requests(&self) -> usize {
        self.shared.requests.now()
    }

    /// How often other threads woke the workers.
    #[must_use]
    pub fn wakeups(&self) -> u64 {
        self.bells.iter().map(Bell::rings).sum()
    }

    /// The names of the workers whose threads are gone.
    #[must_use]
    pub fn stalled(&self) -> Vec<String> {
        let gone = self.threads.iter().filter(|thread| thread.is_finished());
        gone.map(|thread| thread.thread().name().unwrap_or("ingest").to_owned()).collect()
    }

    /// Brings the metrics up to date that nobody counts as they happen. For each scrape.
    pub fn refresh_metrics(&self) {
        metrics::wakeups().absolute(self.wakeups());
        for stream in self.shared.streams.all() {
            stream.metrics.show(&stream.lane);
        }
    }

    /// Whether all workers have handed over what they accepted.
    ///
    /// They begin to when the life of the process reaches [`Phase::Flushing`].
    #[must_use]
    pub fn has_flushed(&self) -> bool {
        self.unflushed.load(Ordering::Acquire) == 0
    }

    /// Waits for the threads, which end when the life of the process reaches [`Phase::Stopped`].
    pub fn join(self) {
        for thread in self.threads {
            if thread.join().is_err() {
                tracing::error!("an ingest thread panicked");
            }
        }
    }
}

/// What one thread is started with.
struct Thread {
    shared: Arc<Shared>,
    ends: Ends,
    pool: ChunkPool,
    tcp: std::net::TcpListener,
    unix: Option<UnixSocket>,
    lifecycle: Lifecycle,
    unflushed: Arc<AtomicUsize>,
}

impl Thread {
    fn live(self, runtime: &tokio::runtime::Runtime) {
        // What a local set blocks on is looked at whenever anything happens on the thread. A handle to
        // the task costs next to nothing then; the task itself waits on the life of the process.
        let running = async { tokio::task::spawn_local(self.run()).await };
        if let Err(error) = LocalSet::new().block_on(runtime, running) {
            tracing::error!(%error, "an ingest thread did not end as it should");
        }
    }

    async fn run(self) {
        let Self { shared, ends, pool, tcp, unix, lifecycle, unflushed } = self;
        let worker = Worker::new(Arc::clone(&shared), ends.outlet, ends.mailbox, pool);
        let connections = Connections::new(Rc::clone(&worker));
        let tended = Rc::clone(&worker);
        tokio::task::spawn_local(async move { tended.tend().await });
        let swept = Rc::clone(&connections);
        tokio::task::spawn_local(async move { swept.sweep().await });
        let accepting = [
            tokio::task::spawn_local(accept_tcp(Rc::clone(&connections), Arc::clone(&shared), tcp)),
            tokio::task::spawn_local(accept_unix(
                Rc::clone(&connections),
                Arc::clone(&shared),
                unix,
            )),
        ];

        lifecycle.reached(Phase::Flushing).await;
        for task in accepting {
            task.abort();
        }
        worker.close();
        connections.close_all();
        let hand_over = async {
            while !worker.has_handed_all_over() {
                tokio::time::sleep(FLUSH_INTERVAL).await;
            }
            unflushed.fetch_sub(1, Ordering::Release);
        };
        tokio::select! {
            () = hand_over => {}
            // Told to end at once: nobody takes batches any more. What stays behind is named as lost.
            () = lifecycle.reached(Phase::Stopped) => {}
        }
        // Whoever waits for a delivery gets an answer until the end, and at the end.
        lifecycle.reached(Phase::Stopped).await;
        worker.end_waits();
        let farewell = async {
            while shared.connections.now() > 0 {
                tokio::time::sleep(FLUSH_INTERVAL).await;
            }
        };
        let latest = tokio::time::Instant::now() + FAREWELL_TIME_MAX;
        let deadline = lifecycle.deadline().map_or(latest, |deadline| latest.min(deadline.into()));
        drop(tokio::time::timeout_at(deadline, farewell).await);
    }
}

async fn accept_tcp(
    connections: Rc<Connections>,
    shared: Arc<Shared>,
    listener: std::net::TcpListener,
) {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, "the data listener can not be polled"),
    };
    loop {
        match listener.accept().await {
            Ok((io, _)) => {
                if let Err(error) = io.set_nodelay(true) {
                    tracing::debug!(%error, "a connection was gone before it was served");
                }
                admit(&connections, &shared, io);
            }
            Err(error) => pause(&connections, &error).await,
        }
    }
}

async fn accept_unix(
    connections: Rc<Connections>,
    shared: Arc<Shared>,
    socket: Option<UnixSocket>,
) {
    let Some(UnixSocket { file, listener }) = socket else { return };
    let listener = match tokio::net::UnixListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, "the unix socket can not be polled"),
    };
    // Declared behind the listener, so that it goes first.
    let _file = file;
    loop {
        match listener.accept().await {
            Ok((io, _)) => admit(&connections, &shared, io),
            Err(error) => pause(&connections, &error).await,
        }
    }
}

fn admit<T>(connections: &Rc<Connections>, shared: &Arc<Shared>, io: T)
where
    T: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let (connections, shared) = (Rc::clone(connections), Arc::clone(shared));
    tokio::task::spawn_local(async move {
        if let Some(_counted) = shared.connections.enter() {
            connections.serve(io).await;
        } else {
            connections.metrics().too_many.increment(1);
            if let Some(_counted) = shared.refusals.enter() {
                drop(tokio::time::timeout(REFUSAL_TIME_MAX, refuse(io)).await);
            }
        }
    });
}

/// Tells a connection that it is one too many, and reads on until it is closed, so that it hears that.
async fn refuse<T: AsyncRead + AsyncWrite + Unpin>(mut io: T) -> io::Result<()> {
    let answer = format!(
        "HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\nretry-after: 1\r\n\
         content-type: application/problem+json\r\ncontent-length: {}\r\n\r\n{REFUSAL}",
        REFUSAL.len()
    );
    io.write_all(answer.as_bytes()).await?;
    io.shutdown().await?;
    let mut sink = [0; 1_024];
    while io.read(&mut sink).await? > 0 {}
    Ok(())
}

async fn pause(connections: &Connections, error: &io::Error) {
    connections.metrics().accept_failed.increment(1);
    tracing::warn!(%error, "a connection could not be accepted; raise the limit of open files");
    tokio::time::sleep(ACCEPT_PAUSE).await;
}
