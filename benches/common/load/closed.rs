//! The closed loop: each connection sends its next request when it has the answer to the last one.
//!
//! All connections are served by one thread, which costs less than a thread for each.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::{ANSWER_TIMEOUT, Aim, Load, REFUSED_WAIT, Tally, nanoseconds, sum};
use crate::common::fault::{During as _, Fault};
use crate::common::http::{self, ANSWER_BYTES_MAX};

/// When a load ends.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Until {
    /// When each connection has had so many acceptances.
    Accepted(u64),
    /// When so much time is over.
    Elapsed(Duration),
}

/// Sends as fast as answers come.
///
/// # Errors
/// When a connection breaks, an answer is neither an acceptance nor a 503, or it takes too long.
pub(crate) async fn saturate(aim: &Aim, until: Until) -> Result<Load, Fault> {
    let mut streams = Vec::new();
    for _ in 0..aim.connections {
        let stream = TcpStream::connect(aim.addr).await.during("connecting")?;
        stream.set_nodelay(true).during("connecting")?;
        streams.push(stream);
    }
    let mut connections = JoinSet::new();
    let begin = Instant::now();
    let deadline = match until {
        Until::Accepted(_) => ANSWER_TIMEOUT,
        Until::Elapsed(time) => time + ANSWER_TIMEOUT,
    };
    for (stream, number) in streams.into_iter().zip(0..) {
        connections.spawn(timeout(deadline, connection(aim.clone(), stream, number, until, begin)));
    }
    let mut tallies = Vec::new();
    while let Some(ended) = connections.join_next().await {
        let ended = ended.during("a connection")?;
        tallies.push(ended.during("a server does not answer")??);
    }
    Ok(sum(tallies, begin.elapsed()))
}

async fn connection(
    aim: Aim,
    mut stream: TcpStream,
    number: u16,
    until: Until,
    begin: Instant,
) -> Result<Tally, Fault> {
    let mut tally = Tally::default();
    let mut buffer = Vec::with_capacity(ANSWER_BYTES_MAX);
    let mut numbered = Vec::new();
    for request in aim.requests.from(number, aim.connections) {
        let is_over = match until {
            Until::Accepted(count) => tally.accepted >= count,
            Until::Elapsed(time) => begin.elapsed() >= time,
        };
        if is_over {
            break;
        }
        let request = aim.ready(request, &mut numbered);
        let sent_at = Instant::now();
        stream.write_all(request).await.during("sending a request")?;
        let status = read_answer(&mut stream, &mut buffer).await?;
        if tally.count(status)? {
            tally.answers_ns.push(nanoseconds(sent_at.elapsed()));
        } else {
            sleep(REFUSED_WAIT).await;
        }
    }
    Ok(tally)
}

async fn read_answer(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Result<u16, Fault> {
    buffer.clear();
    loop {
        let count = stream.read_buf(buffer).await.during("reading an answer")?;
        if count == 0 || buffer.len() > ANSWER_BYTES_MAX {
            return Err(Fault::new("a connection was closed before the answer"));
        }
        if let Some(answer) = http::answer(buffer)? {
            return Ok(answer.status);
        }
    }
}
