//! Connections: accepted up to a bound, served over HTTP/1.1, cut when a fault says so, ended at the stop.

use std::cell::Cell;
use std::convert::Infallible;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, oneshot, watch};
use tokio::task::JoinSet;

use super::dispatch;
use super::state::Shared;

/// Serves until it is told to stop, then lets the requests at hand end for a short while.
pub(super) async fn run(
    listener: TcpListener,
    shared: Rc<Shared>,
    connections_max: usize,
    mut stop: oneshot::Receiver<()>,
) {
    let (stopping, stop_seen) = watch::channel(false);
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            _ = &mut stop => break,
            Some(ended) = connections.join_next() => {
                if let Err(error) = ended {
                    tracing::error!(%error, "a connection of the emulator has panicked");
                }
            }
            accepted = listener.accept(), if connections.len() < connections_max => match accepted {
                Ok((stream, _)) => {
                    let connection = serve(stream, Rc::clone(&shared), stop_seen.clone());
                    connections.spawn_local(connection);
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_RETRY_AFTER).await;
                }
            },
        }
    }
    drop(listener);
    stopping.send_replace(true);
    let ended = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(STOP_GRACE, ended).await.is_err() {
        tracing::debug!(connections = connections.len(), "cut connections at the stop");
        connections.shutdown().await;
    }
}

/// Serves one connection to its end.
async fn serve(stream: TcpStream, shared: Rc<Shared>, mut stop_seen: watch::Receiver<bool>) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "cannot set TCP_NODELAY");
    }
    let line = Rc::new(Line::default());
    let service = service_fn(|request| {
        let answer = dispatch::respond(Rc::clone(&shared), Rc::clone(&line), request);
        async move { Ok::<_, Infallible>(answer.await) }
    });
    let socket = Socket { stream, line: Rc::clone(&line) };
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .serve_connection(TokioIo::new(socket), service)
    );
    loop {
        tokio::select! {
            biased;
            () = line.reset_asked.notified() => return,
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "a connection ended with an error");
                }
                return;
            }
            // The sender outlives the connections, so that this ends only by its change.
            Ok(_) = stop_seen.wait_for(|stop| *stop), if !line.ending.get() => {
                line.ending.set(true);
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}

/// What a request can do to the connection that it came by.
#[derive(Debug, Default)]
pub(super) struct Line {
    reset: Cell<bool>,
    reset_asked: Notify,
    ending: Cell<bool>,
}

impl Line {
    /// Cuts the connection with a TCP reset. It never comes back.
    pub(super) async fn reset(&self) -> Infallible {
        self.reset.set(true);
        self.reset_asked.notify_one();
        std::future::pending().await
    }
}

/// The socket of a connection. It is closed with a reset when the line asks for one.
struct Socket {
    stream: TcpStream,
    line: Rc<Line>,
}

impl Drop for Socket {
    fn drop(&mut self) {
        // A socket that does not linger is reset at its close instead of ended.
        if self.line.reset.get()
            && let Err(error) = SockRef::from(&self.stream).set_linger(Some(Duration::ZERO))
        {
            tracing::debug!(%error, "a connection is closed without a reset");
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }
}

/// How long the head of a request may take; it is also how long a connection may stand idle, and so
/// above the 90 seconds for which the SDKs keep one.
const HEAD_TIMEOUT: Duration = Duration::from_secs(120);

/// How long requests at hand may take at the stop.
const STOP_GRACE: Duration = Duration::from_secs(1);

/// How long to wait when a connection cannot be accepted, most likely for want of descriptors.
const ACCEPT_RETRY_AFTER: Duration = Duration::from_millis(50);
