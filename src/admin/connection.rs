//! One connection: served within its time limits, or refused in a few bytes.

use std::cell::Cell;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};

use super::endpoints::Endpoints;
use super::respond::Problem;
use super::routes::Listener;

/// How long things may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// For the head of a request, and for the silence before it on a connection that is kept.
    pub(super) head: Duration,
    /// For a body.
    pub(super) body: Duration,
    /// From the head of a request to the next one, or to the end of its answer: what cuts off a client
    /// that does not take its answer.
    pub(super) exchange: Duration,
    /// For a refused connection.
    pub(super) refusal: Duration,
    /// For open requests when the process ends.
    pub(super) stop: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // Not a multiple of five seconds: a scraper's interval must not meet it every time.
            head: Duration::from_secs(12),
            body: Duration::from_secs(5),
            exchange: Duration::from_secs(30),
            refusal: Duration::from_secs(1),
            stop: Duration::from_secs(1),
        }
    }
}

/// The most bytes of a request's head; more are answered 431.
pub(super) const HEAD_BYTES_MAX: usize = 8 * 1024;

/// The most headers of a request; more are answered 431.
const HEADERS_MAX: usize = 64;

/// What a connection may buffer.
const BUFFER_BYTES_MAX: usize = 16 * 1024;

const _: () = assert!(HEAD_BYTES_MAX <= BUFFER_BYTES_MAX, "a legal head fits the buffer");

/// Serves `stream` until it is closed, a limit is passed, or `stop` says so and its request is answered.
pub(super) async fn serve(
    stream: TcpStream,
    peer: SocketAddr,
    listener: Listener,
    limits: Limits,
    endpoints: Rc<Endpoints>,
    mut stop: watch::Receiver<bool>,
) {
    // Without it an answer may wait for the peer's delayed acknowledgement; with an error, it just does.
    let _no_delay = stream.set_nodelay(true).is_ok();
    let last_head = Rc::new(Cell::new(Instant::now()));
    let service = service_fn(|request| {
        last_head.set(Instant::now());
        let endpoints = Rc::clone(&endpoints);
        async move { Ok::<_, Infallible>(endpoints.answer(listener, peer, request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head)
        .max_header_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .max_buf_size(BUFFER_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let mut stopping = false;
    loop {
        let cut_at = last_head.get() + limits.exchange;
        tokio::select! {
            biased;
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%peer, %error, "admin connection broke off");
                }
                return;
            }
            () = asked_to_stop(&mut stop), if !stopping => {
                stopping = true;
                connection.as_mut().graceful_shutdown();
            }
            () = sleep_until(cut_at) => {
                if last_head.get() + limits.exchange <= Instant::now() {
                    tracing::debug!(%peer, "admin connection was cut off: its answer is not taken");
                    return;
                }
            }
        }
    }
}

/// Waits until `stop` says so, or nobody is left who could.
pub(super) async fn asked_to_stop(stop: &mut watch::Receiver<bool>) {
    let _asked = stop.wait_for(|stop| *stop).await.is_ok();
}

/// Tells the peer that there is no room for its connection.
pub(super) async fn refuse(mut stream: TcpStream, within: Duration) {
    let told = timeout(within, async {
        stream.write_all(Problem::TooManyConnections.wire().as_bytes()).await?;
        stream.shutdown().await?;
        // Closing with bytes unread would reset the connection, and the peer might lose the answer.
        let mut left = [0; 1024];
        for _ in 0..REFUSED_READS_MAX {
            if stream.read(&mut left).await? == 0 {
                break;
            }
        }
        std::io::Result::Ok(())
    });
    // Whether the peer hears of it or not, the connection ends.
    let _heard = told.await.is_ok();
}

/// How often a refused connection is read from before it is dropped.
const REFUSED_READS_MAX: usize = 16;
