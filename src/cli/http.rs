//! One request to the admin listener of a standpipe, over HTTP/1.1 by hand, within a bounded time.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// How much of an answer is read.
const ANSWER_BYTES_MAX: usize = 16 * 1024;

/// How much of an answer is shown.
const SHOWN_CHARS_MAX: usize = 300;

/// Where to connect to for what listens at `address`.
pub(super) fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: String,
}

pub(super) fn get(address: SocketAddr, path: &str, deadline: Instant) -> Result<Answer, String> {
    exchange(address, &format!("GET {path}"), "User-Agent: standpipe-probe\r\n", "", deadline)
}

/// POSTs an object with a bearer token.
pub(super) fn post(
    address: SocketAddr,
    path: &str,
    token: &str,
    body: &str,
    deadline: Instant,
) -> Result<Answer, String> {
    let headers = format!(
        "User-Agent: standpipe\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n",
        body.len()
    );
    exchange(address, &format!("POST {path}"), &headers, body, deadline)
}

fn exchange(
    address: SocketAddr,
    what: &str,
    headers: &str,
    body: &str,
    deadline: Instant,
) -> Result<Answer, String> {
    let left = || match deadline.saturating_duration_since(Instant::now()) {
        Duration::ZERO => Err("it took too long".to_owned()),
        left => Ok(left),
    };
    let plain = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut => {
            "it took too long".to_owned()
        }
        _ => error.to_string(),
    };
    let mut stream = TcpStream::connect_timeout(&address, left()?).map_err(plain)?;
    stream.set_write_timeout(Some(left()?)).map_err(plain)?;
    let request =
        format!("{what} HTTP/1.1\r\nHost: {address}\r\n{headers}Connection: close\r\n\r\n{body}");
    stream.write_all(request.as_bytes()).map_err(plain)?;
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    while bytes.len() < ANSWER_BYTES_MAX {
        stream.set_read_timeout(Some(left()?)).map_err(plain)?;
        let count = stream.read(&mut chunk).map_err(plain)?;
        let Some(read) = chunk.get(..count).filter(|read| !read.is_empty()) else { break };
        bytes.extend_from_slice(read);
    }
    parse(&bytes).ok_or_else(|| "the answer is not HTTP".to_owned())
}

fn parse(bytes: &[u8]) -> Option<Answer> {
    let text = String::from_utf8_lossy(bytes);
    let status = text.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.get(..3)?.parse().ok()?;
    let body = text.split_once("\r\n\r\n").map_or_else(String::new, |(_, body)| body.to_owned());
    Some(Answer { status, body })
}

/// `body` without line breaks and not too long, so that a probe's log stays one line.
pub(super) fn in_one_line(body: &str) -> String {
    let words: Vec<&str> = body.split_whitespace().collect();
    words.join(" ").chars().filter(|c| !c.is_control()).take(SHOWN_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn answered(answer: &'static str) -> (SocketAddr, std::thread::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = Vec::new();
            let mut byte = [0];
            while !request.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap() == 1 {
                request.push(byte[0]);
            }
            stream.write_all(answer.as_bytes()).unwrap();
            String::from_utf8(request).unwrap()
        });
        (address, server)
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(10)
    }

    #[test]
    fn an_answer_is_read_whole() {
        let (address, server) =
            answered("HTTP/1.1 503 Service Unavailable\r\nX: y\r\n\r\nphase: draining\n");
        let answer = get(address, "/readyz", soon()).unwrap();
        assert_eq!(answer, Answer { status: 503, body: "phase: draining\n".to_owned() });
        assert!(server.join().unwrap().starts_with("GET /readyz HTTP/1.1\r\n"));
    }

    #[test]
    fn what_is_not_http_is_no_answer() {
        let (address, server) = answered("220 smtp\r\n");
        assert_eq!(get(address, "/livez", soon()), Err("the answer is not HTTP".to_owned()));
        server.join().unwrap();
        for wrong in ["", "HTTP/1.1", "HTTP/1.1 ", "HTTP/1.1 2", "HTTP/1.1 \u{e4}\u{e4}\u{e4}"] {
            assert_eq!(parse(wrong.as_bytes()), None);
        }
    }

    #[test]
    fn a_silent_listener_is_waited_for_no_longer_than_allowed() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let deadline = Instant::now() + Duration::from_millis(50);
        let answer = get(listener.local_addr().unwrap(), "/livez", deadline);
        assert_eq!(answer, Err("it took too long".to_owned()));
    }

    #[test]
    fn a_listener_on_all_addresses_is_asked_on_loopback() {
        let reached = |address: &str| reachable(address.parse().unwrap()).to_string();
        assert_eq!(reached("0.0.0.0:1"), "127.0.0.1:1");
        assert_eq!(reached("[::]:1"), "[::1]:1");
        assert_eq!(reached("10.0.0.1:1"), "10.0.0.1:1");
    }

    #[test]
    fn a_long_answer_is_shown_in_one_line() {
        assert_eq!(in_one_line("a\n  b\r\n"), "a b");
        assert_eq!(in_one_line(&"x".repeat(1_000)).len(), SHOWN_CHARS_MAX);
    }
}
