//! One connection: HTTP/1.1 or prior-knowledge HTTP/2, and how long it may be slow or idle.
//!
//! One sweep over all connections of a worker, twice a second, finds those whose time is over; no
//! connection has a timer of its own, and no request sets one. What a request says is not its business.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::metrics::ConnectionMetrics;
use super::service;
use super::worker::Worker;
use bytes::{Buf, Bytes, BytesMut};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};

/// How often the sweep looks: what the time-outs of connections are exact to.
const SWEEP_INTERVAL: Duration = Duration::from_millis(500);

/// How long an idle connection may take to close when it is asked to: its client may not read at all.
const CLOSE_TIME_MAX: Duration = Duration::from_secs(5);

/// The most bytes that HTTP/1 reads at once.
const READ_BYTES_MAX: usize = 64 * 1024;

/// The most header lines of a request.
const HEADERS_MAX: usize = 100;

/// HTTP/2: the most requests of one connection at once, and what it may send before it is read.
const H2_REQUESTS_MAX: u32 = 128;
const H2_REQUEST_WINDOW_BYTES: u32 = 256 * 1024;
const H2_CONNECTION_WINDOW_BYTES: u32 = 1024 * 1024;

/// What an HTTP/2 client says first.
const H2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What a connection is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Nothing, since its last answer.
    Idle,
    /// It has begun to send the head of a request.
    Head,
    /// It has requests that are not answered.
    Busy,
}

/// Why a connection is closed from this side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reason {
    SlowHead,
    /// Asked to close, once what it was sent is taken.
    Idle,
    /// It was idle, and has not closed although it was asked to.
    Deaf,
    Stopping,
}

/// What the sweep knows of one connection.
#[derive(Debug)]
struct Watch {
    phase: Cell<Phase>,
    /// Since which tick of the sweep it is in that phase.
    since: Cell<u32>,
    requests: Cell<u32>,
    is_h2: Cell<bool>,
    reason: Cell<Option<Reason>>,
    /// Wakes the connection when there is a reason. A cell and no channel: it is looked at with every
    /// request, and everything is on one thread.
    waker: RefCell<Option<Waker>>,
    now: Rc<Cell<u32>>,
}

impl Watch {
    fn enter(&self, phase: Phase) {
        self.phase.set(phase);
        self.since.set(self.now.get());
    }

    fn has_read(&self) {
        // HTTP/2 sends frames that belong to no request.
        if self.phase.get() == Phase::Idle && !self.is_h2.get() {
            self.enter(Phase::Head);
        }
    }

    fn begin_request(&self) {
        self.requests.set(self.requests.get() + 1);
        self.enter(Phase::Busy);
    }

    fn end_request(&self) {
        self.requests.set(self.requests.get().saturating_sub(1));
        if self.requests.get() == 0 {
            self.enter(Phase::Idle);
        }
    }

    fn close(&self, reason: Reason) {
        if self.reason.replace(Some(reason)) != Some(reason)
            && let Some(waker) = self.waker.take()
        {
            waker.wake();
        }
    }

    /// Does `work` until it is done, or until there is a reason to close other than the one `seen`.
    async fn unless_told<T>(
        &self,
        seen: Option<Reason>,
        work: impl Future<Output = T>,
    ) -> Option<T> {
        let mut work = pin!(work);
        std::future::poll_fn(|cx| {
            if self.reason.get() != seen {
                return Poll::Ready(None);
            }
            let mut waker = self.waker.borrow_mut();
            if !waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
                *waker = Some(cx.waker().clone());
            }
            drop(waker);
            work.as_mut().poll(cx).map(Some)
        })
        .await
    }
}

/// All connections of one worker.
#[derive(Debug)]
pub(super) struct Connections {
    worker: Rc<Worker>,
    watches: RefCell<HashMap<u64, Rc<Watch>>>,
    next: Cell<u64>,
    now: Rc<Cell<u32>>,
    metrics: ConnectionMetrics,
}

impl Connections {
    pub(super) fn new(worker: Rc<Worker>) -> Rc<Self> {
        Rc::new(Self {
            worker,
            watches: RefCell::default(),
            next: Cell::new(0),
            now: Rc::default(),
            metrics: ConnectionMetrics::new(),
        })
    }

    pub(super) const fn metrics(&self) -> &ConnectionMetrics {
        &self.metrics
    }

    /// Closes what is slow or idle for too long, until the end.
    pub(super) async fn sweep(&self) {
        let config = &self.worker.shared.config;
        let (head, idle) = (ticks(config.head_timeout), ticks(config.idle_timeout));
        let deaf = idle.saturating_add(ticks(CLOSE_TIME_MAX));
        let mut interval = tokio::time::interval(SWEEP_INTERVAL);
        loop {
            interval.tick().await;
            let now = self.now.get().wrapping_add(1);
            self.now.set(now);
            for watch in self.watches.borrow().values() {
                let age = now.wrapping_sub(watch.since.get());
                match watch.phase.get() {
                    Phase::Head if age > head => watch.close(Reason::SlowHead),
                    Phase::Idle if age > deaf => watch.close(Reason::Deaf),
                    Phase::Idle if age > idle => watch.close(Reason::Idle),
                    _ => {}
                }
            }
        }
    }

    /// Lets every connection finish what it is doing and close.
    pub(super) fn close_all(&self) {
        for watch in self.watches.borrow().values() {
            watch.close(Reason::Stopping);
        }
    }

    /// Serves a connection to its end.
    pub(super) async fn serve<T>(self: Rc<Self>, io: T)
    where
        T: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let id = self.next.replace(self.next.get().wrapping_add(1));
        let watch = Rc::new(Watch {
            phase: Cell::new(Phase::Head),
            since: Cell::new(self.now.get()),
            requests: Cell::new(0),
            is_h2: Cell::new(false),
            reason: Cell::new(None),
            waker: RefCell::default(),
            now: Rc::clone(&self.now),
        });
        self.watches.borrow_mut().insert(id, Rc::clone(&watch));
        self.metrics.open.increment(1.0);
        self.drive(io, &watch).await;
        self.watches.borrow_mut().remove(&id);
        self.metrics.open.decrement(1.0);
        match watch.reason.get() {
            Some(Reason::SlowHead) => self.metrics.slow_head.increment(1),
            Some(Reason::Idle | Reason::Deaf) => self.metrics.idle.increment(1),
            Some(Reason::Stopping) | None => {}
        }
    }

    async fn drive<T>(&self, mut io: T, watch: &Rc<Watch>)
    where
        T: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let Some(Ok(prefix)) = watch.unless_told(None, greet(&mut io)).await else { return };
        watch.is_h2.set(prefix.starts_with(H2_PREFACE));
        let io = Watched { prefix: prefix.freeze(), io: TokioIo::new(io), watch: Rc::clone(watch) };
        let (worker, served) = (Rc::clone(&self.worker), Rc::clone(watch));
        let service = service_fn(move |request| {
            let (worker, watch) = (Rc::clone(&worker), Rc::clone(&served));
            async move {
                let _request = RequestGuard::begin(watch);
                Ok::<_, Infallible>(service::serve(&worker, request).await)
            }
        });
        let head_bytes_max = self.worker.shared.config.head_bytes_max;
        if watch.is_h2.get() {
            watch.enter(Phase::Idle);
            let connection = http2::Builder::new(LocalExecutor)
                .timer(TokioTimer::new())
                .max_concurrent_streams(H2_REQUESTS_MAX)
                .initial_stream_window_size(H2_REQUEST_WINDOW_BYTES)
                .initial_connection_window_size(H2_CONNECTION_WINDOW_BYTES)
                .max_header_list_size(u32::try_from(head_bytes_max).unwrap_or(u32::MAX))
                .serve_connection(io, service);
            until_closed(connection, watch, http2::Connection::graceful_shutdown).await;
        } else {
            let connection = http1::Builder::new()
                .max_headers(HEADERS_MAX)
                .max_header_size(head_bytes_max)
                .max_buf_size(READ_BYTES_MAX.max(head_bytes_max))
                .serve_connection(io, service);
            until_closed(connection, watch, http1::Connection::graceful_shutdown).await;
        }
    }
}

/// Drives a connection until it is over or the sweep wants it gone.
async fn until_closed<C: Future<Output = Result<(), hyper::Error>>>(
    connection: C,
    watch: &Watch,
    shut_down: fn(Pin<&mut C>),
) {
    let mut connection = pin!(connection);
    let mut seen = None;
    // How a client's connection ends is the client's business: it has its answers or asks again.
    while watch.unless_told(seen, connection.as_mut()).await.is_none() {
        seen = watch.reason.get();
        match seen {
            Some(Reason::SlowHead | Reason::Deaf) => return,
            Some(Reason::Idle | Reason::Stopping) => shut_down(connection.as_mut()),
            None => {}
        }
    }
}

/// Reads until it is clear which protocol is spoken, and gives back what was read.
async fn greet<T: AsyncRead + Unpin>(io: &mut T) -> io::Result<BytesMut> {
    let mut prefix = BytesMut::with_capacity(H2_PREFACE.len());
    while prefix.len() < H2_PREFACE.len() && H2_PREFACE.starts_with(&prefix) {
        let wanted = H2_PREFACE.len() - prefix.len();
        if (&mut *io).take(wanted as u64).read_buf(&mut prefix).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(prefix)
}

/// A request that is counted at its connection until it is answered or given up.
struct RequestGuard(Rc<Watch>);

impl RequestGuard {
    fn begin(watch: Rc<Watch>) -> Self {
        watch.begin_request();
        Self(watch)
    }
}

impl Drop for RequestGuard {
    fn drop(&mut self) {
        self.0.end_request();
    }
}

fn ticks(duration: Duration) -> u32 {
    let ticks = duration.as_millis().div_ceil(SWEEP_INTERVAL.as_millis());
    u32::try_from(ticks).unwrap_or(u32::MAX)
}

/// A connection's bytes, with the first ones given back and the sweep told of those that come.
struct Watched<T> {
    prefix: Bytes,
    io: TokioIo<T>,
    watch: Rc<Watch>,
}

impl<T: AsyncRead + Unpin> Read for Watched<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        if self.prefix.is_empty() {
            let read = Pin::new(&mut self.io).poll_read(cx, buf);
            if read.is_ready() {
                self.watch.has_read();
            }
            return read;
        }
        let first = self.prefix.len().min(buf.remaining());
        buf.put_slice(self.prefix.get(..first).unwrap_or_default());
        self.prefix.advance(first);
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> Write for Watched<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }
}

/// Runs HTTP/2's tasks on the worker's own thread.
#[derive(Debug, Clone, Copy)]
struct LocalExecutor;

impl<F: Future<Output = ()> + 'static> hyper::rt::Executor<F> for LocalExecutor {
    fn execute(&self, task: F) {
        tokio::task::spawn_local(task);
    }
}
