//! Applications that post without a pause, now as `memory` and now as `durable`, and what became of each record.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::http::{Answer, Client};
use crate::load::Fate;
use crate::pipe::{Pipe, wait_until};
use crate::upstream::Entry;

/// Connections side by side.
const CLIENTS: usize = 3;

/// The most records of a request.
const REQUEST_RECORDS_MAX: u64 = 8;

/// How long an application does something else between two requests, in ms at most.
const PAUSE_MAX_MS: u64 = 12;

/// Applications at work. They end with this, or with the pipe.
pub struct Posting {
    goes_on: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    clients: Vec<JoinHandle<Vec<(u64, Fate)>>>,
}

/// What became of the records that were posted, by their numbers.
#[derive(Debug, Default)]
pub struct Fates(BTreeMap<u64, Fate>);

impl Posting {
    /// Applications that post to `stream` by way of this socket. `next` is the number of the next record.
    pub fn start(socket: &Path, stream: &str, next: &Arc<AtomicU64>) -> Self {
        let (goes_on, answered) = (Arc::new(AtomicBool::new(true)), Arc::default());
        let clients = (0..CLIENTS).map(|_| {
            let (goes_on, answered, next) =
                (Arc::clone(&goes_on), Arc::clone(&answered), Arc::clone(next));
            let client = Client::unix(socket);
            let path = Pipe::path(stream);
            std::thread::spawn(move || post(client, &path, &next, &goes_on, &answered))
        });
        let clients = clients.collect();
        Self { goes_on, answered, clients }
    }

    /// Waits until so many more records were answered for.
    #[track_caller]
    pub fn goes_on(&self, records: usize) {
        let before = self.answered.load(Ordering::SeqCst);
        wait_until("more records are answered for", || {
            self.answered.load(Ordering::SeqCst) >= before + records
        });
    }

    /// Ends it, unless the pipe has.
    pub fn stop(mut self) -> Fates {
        self.goes_on.store(false, Ordering::SeqCst);
        let clients = std::mem::take(&mut self.clients);
        Fates(clients.into_iter().flat_map(|client| client.join().unwrap()).collect())
    }
}

impl Drop for Posting {
    fn drop(&mut self) {
        self.goes_on.store(false, Ordering::SeqCst);
    }
}

fn post(
    mut client: Client,
    path: &str,
    next: &AtomicU64,
    goes_on: &AtomicBool,
    answered: &AtomicUsize,
) -> Vec<(u64, Fate)> {
    let mut rng = fastrand::Rng::new();
    let mut fates = Vec::new();
    let (_keep, never) = crossbeam_channel::bounded::<()>(0);
    while goes_on.load(Ordering::SeqCst) {
        let count = rng.u64(1..=REQUEST_RECORDS_MAX);
        let first = next.fetch_add(count, Ordering::SeqCst);
        let numbers = first..first + count;
        let body: String = numbers.clone().map(|number| format!("{{\"id\":{number}}}\n")).collect();
        let level = if rng.bool() { "durable" } else { "memory" };
        // By its key a record is found again in a data stream.
        let key = format!("key-{first}");
        let headers = [
            ("content-type", "application/x-ndjson"),
            ("standpipe-ack", level),
            ("standpipe-partition-key", key.as_str()),
        ];
        let answer = client.try_post(path, &headers, body.as_bytes());
        let fate = fate(answer.as_ref());
        if matches!(fate, Fate::Promised | Fate::InMemory) {
            answered.fetch_add(usize::try_from(count).unwrap(), Ordering::SeqCst);
        }
        fates.extend(numbers.map(|number| (number, fate)));
        let is_over = answer.is_none_or(|answer| answer.header("connection") == Some("close"));
        if is_over {
            break;
        }
        // An application that does something else too.
        let pause = Duration::from_millis(rng.u64(1..PAUSE_MAX_MS));
        let _timed_out = never.recv_timeout(pause).is_err();
    }
    fates
}

fn fate(answer: Option<&Answer>) -> Fate {
    match answer {
        None => Fate::Unknown,
        Some(answer) if answer.status < 300 => match answer.header("standpipe-ack") {
            Some("memory") => Fate::InMemory,
            Some("durable") => Fate::Promised,
            other => panic!("answered as {other:?}"),
        },
        // It may have been written when the process was told to stop.
        Some(answer) if answer.json()["code"] == "durable_unavailable" => Fate::Unknown,
        Some(_) => Fate::Refused,
    }
}

impl Fates {
    /// Takes over those of others.
    pub fn add(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// A kill has taken what was in memory alone: it may be delivered or not.
    pub fn killed(mut self) -> Self {
        for fate in self.0.values_mut().filter(|fate| **fate == Fate::InMemory) {
            *fate = Fate::Unknown;
        }
        self
    }

    /// Checks that everything that was answered for was delivered, nothing that was refused, and nothing else.
    /// Gives how many came more than once.
    #[track_caller]
    pub fn check<'e>(&self, delivered: impl IntoIterator<Item = &'e [u8]>) -> usize {
        let mut counts: BTreeMap<u64, usize> = BTreeMap::new();
        for line in delivered.into_iter().flat_map(|data| data.split_inclusive(|b| *b == b'\n')) {
            *counts.entry(number_of(line)).or_default() += 1;
        }
        let missing: Vec<_> = self
            .0
            .iter()
            .filter(|(number, fate)| {
                matches!(fate, Fate::Promised | Fate::InMemory) && !counts.contains_key(number)
            })
            .collect();
        assert!(missing.is_empty(), "{} records are lost: {missing:?}", missing.len());
        for number in counts.keys() {
            let fate = self.0.get(number);
            assert!(
                fate.is_some_and(|fate| *fate != Fate::Refused),
                "record {number} was delivered, and is {fate:?}"
            );
        }
        counts.values().map(|count| count - 1).sum()
    }

    /// The same for what a stream's journal has.
    #[track_caller]
    pub fn check_entries(&self, entries: &[Entry]) -> usize {
        self.check(entries.iter().map(|entry| entry.data.as_slice()))
    }
}

/// The number of a record.
pub fn number_of(line: &[u8]) -> u64 {
    let value: serde_json::Value = serde_json::from_slice(line).unwrap();
    value["id"].as_u64().unwrap()
}
