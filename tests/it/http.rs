//! A small HTTP/1.1 client that sends just what it is told to, and keeps its connection.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

/// How long an answer may take before the test fails.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(30);

/// A connection. Anything that can be read and written will do.
pub struct Client {
    stream: BufReader<Box<dyn Duplex>>,
}

pub trait Duplex: Read + Write + Send {}
impl<T: Read + Write + Send> Duplex for T {}

/// An answer, whole.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Client {
    pub fn tcp(address: &str) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(ANSWER_TIME_MAX)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream: BufReader::new(Box::new(stream)) }
    }

    pub fn unix(path: &Path) -> Self {
        Self::try_unix(path).unwrap()
    }

    pub fn try_unix(path: &Path) -> std::io::Result<Self> {
        let stream = UnixStream::connect(path)?;
        stream.set_read_timeout(Some(ANSWER_TIME_MAX))?;
        Ok(Self { stream: BufReader::new(Box::new(stream)) })
    }

    /// Sends bytes as they are.
    pub fn send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.get_mut().write_all(bytes)?;
        self.stream.get_mut().flush()
    }

    /// Sends a request with its content length.
    pub fn request(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Answer {
        self.send(&head(method, path, headers, body.len())).unwrap();
        // An answer may come before the body is sent to its end.
        drop(self.send(body));
        self.answer().unwrap()
    }

    /// Posts, where the other side may be gone at any moment: then there is no answer.
    pub fn try_post(
        &mut self,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Option<Answer> {
        self.send(&head("POST", path, headers, body.len())).ok()?;
        drop(self.send(body));
        self.answer()
    }

    pub fn get(&mut self, path: &str) -> Answer {
        self.request("GET", path, &[], b"")
    }

    /// Reads an answer; `None` when the connection is over before there is one.
    pub fn answer(&mut self) -> Option<Answer> {
        let mut line = String::new();
        loop {
            line.clear();
            if self.stream.read_line(&mut line).ok()? == 0 {
                return None;
            }
            if !line.starts_with("HTTP/1.1 100") {
                break;
            }
            self.stream.read_line(&mut line).ok()?;
        }
        let status = line.split(' ').nth(1)?.parse().ok()?;
        let mut headers = Vec::new();
        loop {
            line.clear();
            self.stream.read_line(&mut line).ok()?;
            let Some((name, value)) = line.trim_end().split_once(':') else { break };
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        let mut answer = Answer { status, headers, body: Vec::new() };
        match answer.header("content-length").map(str::to_owned) {
            Some(length) => {
                answer.body.resize(length.parse().ok()?, 0);
                self.stream.read_exact(&mut answer.body).ok()?;
            }
            None => drop(self.stream.read_to_end(&mut answer.body)),
        }
        Some(answer)
    }

    /// Whether the other side closes the connection within the time for an answer.
    pub fn is_closed(&mut self) -> bool {
        matches!(self.stream.read(&mut [0]), Ok(0))
            || self
                .stream
                .read(&mut [0])
                .is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionReset)
    }
}

/// The head of a request.
pub fn head(method: &str, path: &str, headers: &[(&str, &str)], length: usize) -> Vec<u8> {
    let mut head =
        format!("{method} {path} HTTP/1.1\r\nhost: test\r\ncontent-length: {length}\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    head.into_bytes()
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&self.body)))
    }

    /// The stable code of problem details.
    pub fn code(&self) -> String {
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        let problem = self.json();
        assert_eq!(problem["status"], self.status, "the body repeats the status");
        assert!(problem["detail"].as_str().is_some_and(|detail| !detail.is_empty()));
        problem["code"].as_str().unwrap().to_owned()
    }
}
