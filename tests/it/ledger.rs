//! Accounting: records with ids that are found again, each of them once or with known duplicates.

use std::collections::BTreeMap;

use crate::http::{Answer, Client};
use crate::pipe::Pipe;

/// What was accepted.
#[derive(Debug, Default)]
pub struct Ledger {
    next: u64,
    accepted: Vec<u64>,
}

impl Ledger {
    /// The next record, of about `bytes`, with its newline.
    pub fn record(&mut self, bytes: usize) -> (u64, String) {
        let id = self.next;
        self.next += 1;
        let filler = "x".repeat(bytes.saturating_sub(40));
        (id, format!("{{\"id\":{id},\"filler\":\"{filler}\"}}\n"))
    }

    /// A ledger whose ids begin at `first`, so that two of them have none in common.
    pub fn from(first: u64) -> Self {
        Self { next: first, ..Self::default() }
    }

    /// Posts `records` records in one native request, and notes them if they were accepted.
    pub fn post(&mut self, client: &mut Client, records: usize, headers: &[(&str, &str)]) -> u16 {
        self.post_to("demo", client, (records, 200), headers).status
    }

    /// The same to a stream, with records of a size; gives the answer.
    pub fn post_to(
        &mut self,
        stream: &str,
        client: &mut Client,
        (records, bytes): (usize, usize),
        headers: &[(&str, &str)],
    ) -> Answer {
        let (ids, body): (Vec<u64>, Vec<String>) = (0..records).map(|_| self.record(bytes)).unzip();
        let mut all = vec![("content-type", "application/x-ndjson")];
        all.extend_from_slice(headers);
        let answer = client.request("POST", &Pipe::path(stream), &all, body.concat().as_bytes());
        if answer.status < 300 {
            assert_eq!(answer.json()["accepted"], records);
            self.accepted.extend(ids);
        }
        answer
    }

    /// Takes over what another one has noted.
    pub fn add(&mut self, other: &Self) {
        self.accepted.extend(&other.accepted);
    }

    /// The same to another stream, at another level; gives the whole answer.
    pub fn try_post(
        &mut self,
        client: &mut Client,
        stream: &str,
        level: &str,
        records: usize,
    ) -> Answer {
        let (ids, body): (Vec<u64>, Vec<String>) = (0..records).map(|_| self.record(200)).unzip();
        let headers = [("content-type", "application/x-ndjson"), ("standpipe-ack", level)];
        let answer =
            client.request("POST", &Pipe::path(stream), &headers, body.concat().as_bytes());
        if answer.status < 300 {
            self.accepted.extend(ids);
        }
        answer
    }

    pub fn note(&mut self, id: u64) {
        self.accepted.push(id);
    }

    pub fn len(&self) -> usize {
        self.accepted.len()
    }

    /// Checks that every accepted record was delivered and nothing else was, and counts duplicates.
    #[track_caller]
    pub fn check<T: AsRef<[u8]>>(&self, delivered: impl IntoIterator<Item = T>) -> usize {
        let mut seen: BTreeMap<u64, usize> = BTreeMap::new();
        for record in delivered {
            for line in record.as_ref().split_inclusive(|byte| *byte == b'\n') {
                assert_eq!(line.last(), Some(&b'\n'), "{}", String::from_utf8_lossy(line));
                let value: serde_json::Value = serde_json::from_slice(line).unwrap();
                *seen.entry(value["id"].as_u64().unwrap()).or_default() += 1;
            }
        }
        let missing: Vec<&u64> = self.accepted.iter().filter(|id| !seen.contains_key(id)).collect();
        assert!(missing.is_empty(), "{} accepted records are missing: {missing:?}", missing.len());
        let total: usize = seen.values().sum();
        assert_eq!(seen.len(), self.accepted.len(), "only what was accepted is delivered");
        total - seen.len()
    }
}
