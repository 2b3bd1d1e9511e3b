//! As much of HTTP/1.1 as a client of our own servers needs, cheap enough not to be what is measured.

use std::net::SocketAddr;
use std::time::Duration;

use memchr::memmem;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::common::fault::{During as _, Fault};

/// How long a small question to a child may take.
const GET_TIMEOUT: Duration = Duration::from_secs(5);

/// The most bytes of an answer to a request under load. Ours have a few hundred.
pub(crate) const ANSWER_BYTES_MAX: usize = 16 * 1024;

/// The most bytes of an answer to a question. Metrics of a thousand streams have some millions.
const GET_BYTES_MAX: usize = 64 * 1024 * 1024;

/// An answer that is there in full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Answer {
    /// Its status.
    pub(crate) status: u16,
    /// Its bytes, head and body.
    pub(crate) bytes: usize,
}

/// The answer at the beginning of `read`, if it is there in full.
pub(crate) fn answer(read: &[u8]) -> Result<Option<Answer>, Fault> {
    let Some(head_bytes) = memmem::find(read, b"\r\n\r\n") else {
        return Ok(None);
    };
    let head = read.get(..head_bytes).unwrap_or_default();
    let number =
        |digits: Option<&[u8]>| std::str::from_utf8(digits?).ok()?.trim().parse::<usize>().ok();
    let status = number(head.get(9..12)).and_then(|status| u16::try_from(status).ok());
    let length = number(content_length(head));
    let (Some(status), Some(length)) = (status, length) else {
        let head = String::from_utf8_lossy(head);
        return Err(Fault::new(format!("an answer is not understood: {head}")));
    };
    let bytes = head_bytes + 4 + length;
    Ok((read.len() >= bytes).then_some(Answer { status, bytes }))
}

fn content_length(head: &[u8]) -> Option<&[u8]> {
    const NAME: &[u8] = b"content-length:";
    head.split(|&byte| byte == b'\n').find_map(|line| {
        let name = line.get(..NAME.len())?;
        name.eq_ignore_ascii_case(NAME).then(|| line.get(NAME.len()..))?
    })
}

/// Asks a child for `path` and says what it answered: the status and the body.
pub(crate) async fn get(addr: SocketAddr, path: &str) -> Result<(u16, String), Fault> {
    let asking = async {
        let mut stream = TcpStream::connect(addr).await.during("connecting to a child")?;
        let request = format!("GET {path} HTTP/1.1\r\nhost: bench\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.during("asking a child")?;
        let mut read = Vec::new();
        loop {
            if let Some(answer) = answer(&read)? {
                let body = memmem::find(&read, b"\r\n\r\n").and_then(|end| read.get(end + 4..));
                let body = String::from_utf8_lossy(body.unwrap_or_default()).into_owned();
                return Ok((answer.status, body));
            }
            let count = stream.read_buf(&mut read).await.during("asking a child")?;
            if count == 0 || read.len() > GET_BYTES_MAX {
                return Err(Fault::new(format!("GET {path} was not answered")));
            }
        }
    };
    timeout(GET_TIMEOUT, asking).await.during("asking a child")?
}
