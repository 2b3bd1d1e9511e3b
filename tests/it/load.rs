//! Applications that post at all levels until the other side is gone, and what became of each record.
//!
//! What a record holds follows from its number, so that nothing has to be kept to know every byte of it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use fastrand::Rng;

use crate::http::Client;
use crate::pipe::Pipe;

/// The streams that are posted to.
pub const STREAMS: [&str; 2] = ["demo", "other"];

/// The most records of a request.
const REQUEST_RECORDS_MAX: u64 = 12;

/// What an application was told of a record, or what it may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It must be delivered: that was promised, or was said to be done.
    Promised,
    /// It was taken into memory.
    InMemory,
    /// There was no answer, or one that says that nobody knows.
    Unknown,
    /// It was refused: nothing of it may be delivered.
    Refused,
}

/// The numbers of the next records, and the fates of those that were posted.
#[derive(Debug, Default)]
pub struct Sent {
    next: AtomicU64,
    fates: BTreeMap<u64, (usize, Fate)>,
}

/// What was delivered of what was sent, over all lives.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Found {
    pub promised: usize,
    pub delivered: usize,
    /// Records in memory alone that a kill took.
    pub lost_with_memory: usize,
}

/// The record of this number, with its newline: it says where it was sent.
pub fn record(stream: usize, number: u64) -> Vec<u8> {
    let mut rng = Rng::with_seed(number);
    let filler = match rng.u8(..) {
        0 => rng.usize(20_000..60_000),
        _ => rng.usize(0..400),
    };
    let mut text = format!("{{\"id\":{number},\"stream\":\"{}\",\"filler\":\"", STREAMS[stream]);
    text.extend((0..filler).map(|_| rng.alphanumeric()));
    text.push_str("\"}\n");
    text.into_bytes()
}

/// The number of a record that was delivered to a stream, which has to be just as it was sent there.
#[track_caller]
pub fn number_of(stream: usize, delivered: &[u8]) -> u64 {
    let text = std::str::from_utf8(delivered).unwrap();
    let digits = text.strip_prefix("{\"id\":").and_then(|rest| rest.split(',').next());
    let number = digits.unwrap_or_else(|| panic!("nobody sent {text:?}")).parse().unwrap();
    assert!(record(stream, number) == delivered, "record {number} was changed: {text:?}");
    number
}

impl Sent {
    /// Posts over `clients` connections until the other side is gone.
    pub fn post(&mut self, socket: &Path, clients: usize, rng: &mut Rng) {
        let next = &self.next;
        let posted: Vec<(u64, u64, usize, Fate)> = std::thread::scope(|scope| {
            let clients: Vec<_> = (0..clients)
                .map(|_| {
                    let mut rng = rng.fork();
                    scope.spawn(move || run(next, socket, &mut rng))
                })
                .collect();
            clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
        });
        for (first, count, stream, fate) in posted {
            self.fates.extend((first..first + count).map(|number| (number, (stream, fate))));
        }
    }

    /// Checks what was delivered to each stream, where each number has a count, against what was sent.
    pub fn check(&self, delivered: &[BTreeMap<u64, usize>]) -> Found {
        let mut found = Found::default();
        for (number, (stream, fate)) in &self.fates {
            let is_there = delivered[*stream].contains_key(number);
            found.promised += usize::from(*fate == Fate::Promised);
            found.delivered += usize::from(is_there);
            match fate {
                Fate::Promised => assert!(is_there, "record {number} was answered for and is lost"),
                Fate::Refused => assert!(!is_there, "record {number} was refused and delivered"),
                Fate::InMemory => found.lost_with_memory += usize::from(!is_there),
                Fate::Unknown => {}
            }
        }
        for (stream, numbers) in delivered.iter().enumerate() {
            for number in numbers.keys() {
                let sent = self.fates.get(number).map(|(stream, _)| *stream);
                assert_eq!(sent, Some(stream), "record {number} was sent there");
            }
        }
        found
    }
}

/// One connection. Each request has its own level.
///
/// It finds the other side by the name of a socket: the number of a port may be another one's by now.
fn run(next: &AtomicU64, socket: &Path, rng: &mut Rng) -> Vec<(u64, u64, usize, Fate)> {
    let mut posted = Vec::new();
    let Ok(mut client) = Client::try_unix(socket) else { return posted };
    let (_keep, never) = crossbeam_channel::bounded::<()>(0);
    loop {
        let count = rng.u64(1..=REQUEST_RECORDS_MAX);
        let first = next.fetch_add(count, Ordering::Relaxed);
        let stream = rng.usize(..STREAMS.len());
        let level = ["durable", "durable", "durable", "memory", "delivered"][rng.usize(..5)];
        let body: Vec<u8> =
            (first..first + count).flat_map(|number| record(stream, number)).collect();
        let headers = [("content-type", "application/x-ndjson"), ("standpipe-ack", level)];
        let answer = client.try_post(&Pipe::path(STREAMS[stream]), &headers, &body);
        let fate = match &answer {
            None => Fate::Unknown,
            Some(answer) if answer.status < 300 => {
                assert_eq!(answer.json()["accepted"], count);
                match answer.header("standpipe-ack") {
                    Some("memory") => Fate::InMemory,
                    reached => {
                        assert_ne!(reached, None);
                        Fate::Promised
                    }
                }
            }
            // It may have been written when the process was told to stop.
            Some(answer) if answer.json()["code"] == "durable_unavailable" => Fate::Unknown,
            Some(_) => Fate::Refused,
        };
        posted.push((first, count, stream, fate));
        let is_closed =
            |name| answer.as_ref().and_then(|answer| answer.header(name)) == Some("close");
        if answer.is_none() || is_closed("connection") {
            return posted;
        }
        // An application that does something else too.
        let _timed_out = never.recv_timeout(Duration::from_millis(rng.u64(0..6))).is_err();
    }
}
