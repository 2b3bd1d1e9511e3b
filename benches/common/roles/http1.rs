//! A hyper server with nothing in it that is not needed.

use std::convert::Infallible;
use std::io::Write as _;
use std::net::Ipv4Addr;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use super::Orders;
use crate::common::fault::{During as _, Fault};

/// Answers requests until the owner is gone, and says first where. What the owner says is obeyed, and
/// answered with a line.
pub(crate) async fn serve<F, R, O>(answer: F, mut orders: Orders, mut obey: O) -> Result<(), Fault>
where
    O: FnMut(&str) -> String,
    F: Fn(Request<Incoming>) -> R + Clone + Send + 'static,
    R: Future<Output = Response<Full<Bytes>>> + Send + 'static,
{
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.during("listening")?;
    let addr = listener.local_addr().during("listening")?;
    writeln!(std::io::stdout(), "{addr}").during("saying where it listens")?;
    let accepting = async {
        loop {
            let (stream, _) = listener.accept().await.during("accepting a connection")?;
            stream.set_nodelay(true).during("accepting a connection")?;
            let answer = answer.clone();
            let service = service_fn(move |request| {
                let answering = answer(request);
                async move { Ok::<_, Infallible>(answering.await) }
            });
            tokio::spawn(async move {
                // A client that goes away in the middle is not this server's concern.
                let _ended =
                    http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
            });
        }
    };
    let obeying = async {
        while let Some(order) = orders.recv().await {
            writeln!(std::io::stdout(), "{}", obey(&order)).during("answering the owner")?;
        }
        Ok(())
    };
    tokio::select! {
        ended = accepting => ended,
        ended = obeying => ended,
    }
}
