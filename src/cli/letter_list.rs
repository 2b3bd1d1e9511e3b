//! `dead-letter list`: how many there are, since when, and why. It never shows a record.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use crate::record::StreamName;
use crate::spool::KeyRing;
use crate::spool::tools::{Inspector, Keys, LetterOut, Place, Report};

use super::exit::Failure;
use super::progress::Progress;
use super::table::{self, Table};
use super::{args, spool_source, verify};

pub(super) fn run(command: &args::LetterList) -> Result<(), Failure> {
    let inspector = spool_source::inspector(&command.place)?;
    let ring = spool_source::ring(&command.place)?;
    let patience = Duration::from_millis(command.keys.key_timeout_ms);
    let letters = Letters::read(
        &inspector,
        ring.as_ref(),
        patience,
        command.place.stream.as_ref(),
        command.verbose,
    )?;
    super::print(&if command.json { letters.as_json(&inspector) } else { letters.text() })?;
    letters.result()
}

/// What is known of the dead letters.
pub(super) struct Letters {
    streams: BTreeMap<StreamName, Stream>,
    /// Each of them, when that is wanted.
    each: Vec<Fact>,
    reports: Vec<Report>,
}

/// The dead letters of one stream that were not replayed.
#[derive(Default)]
struct Stream {
    letters: u64,
    record_bytes: u64,
    /// Of the files, with what was replayed of them.
    bytes: u64,
    /// What the ends of segments claim that could not be opened.
    letters_unopened: u64,
    oldest_unix_ms: Option<u64>,
    newest_unix_ms: Option<u64>,
    codes: BTreeMap<String, u64>,
}

/// What is told of one letter.
struct Fact {
    stream: StreamName,
    id: String,
    reason: String,
    code: String,
    message: String,
    set_aside_unix_ms: u64,
    accepted_unix_ms: u64,
    record_bytes: u64,
}

impl Stream {
    fn add(&mut self, letter: &LetterOut<'_>) {
        let at = letter.set_aside_unix_ms;
        self.letters += 1;
        self.record_bytes += letter.data.len() as u64;
        self.oldest_unix_ms = Some(self.oldest_unix_ms.map_or(at, |oldest| oldest.min(at)));
        self.newest_unix_ms = Some(self.newest_unix_ms.map_or(at, |newest| newest.max(at)));
        let code = if letter.code.is_empty() { letter.reason } else { letter.code };
        *self.codes.entry(code.to_owned()).or_default() += 1;
    }
}

impl Letters {
    pub(super) fn read(
        inspector: &Inspector,
        ring: &dyn KeyRing,
        patience: Duration,
        only: Option<&StreamName>,
        is_each: bool,
    ) -> Result<Self, Failure> {
        let listing = inspector.list(only)?;
        let files: Vec<_> =
            listing.segments.iter().filter(|file| file.place == Place::DeadLetters).collect();
        let mut keys = Keys::new(ring, patience);
        let mut progress = Progress::new("reading", files.iter().map(|file| file.bytes).sum());
        let mut letters = Self { streams: BTreeMap::new(), each: Vec::new(), reports: Vec::new() };
        for file in files {
            let stream = letters.streams.entry(file.stream.clone()).or_default();
            stream.bytes += file.bytes + file.note_bytes;
            let each = &mut letters.each;
            let mut take = |letter: &LetterOut<'_>| {
                stream.add(letter);
                if is_each {
                    each.push(Fact::of(letter));
                }
                Ok(())
            };
            let done = &mut |bytes| progress.at(bytes);
            // Nothing is written, so that nothing of that can fail.
            let report =
                inspector.letters(file, &mut keys, false, &mut take, done).unwrap_or_default();
            if report.not_opened.is_some() {
                stream.letters_unopened += file.claim.map_or(0, |claim| claim.records);
            }
            letters.reports.push(report);
            progress.done(file.bytes);
        }
        Ok(letters)
    }

    pub(super) fn result(&self) -> Result<(), Failure> {
        verify::result_of(&self.reports)
    }

    pub(super) fn text(&self) -> String {
        let mut table = Table::new(&[
            "STREAM", "LETTERS", "UNOPENED", "RECORDS", "ON DISK", "OLDEST", "NEWEST", "CODES",
        ]);
        let shown = |time: Option<u64>| time.map_or_else(|| "-".to_owned(), table::time);
        for (stream, sum) in &self.streams {
            let codes = sum.codes.iter().map(|(code, count)| format!("{code}: {count}"));
            table.row([
                stream.to_string(),
                sum.letters.to_string(),
                sum.letters_unopened.to_string(),
                table::bytes(sum.record_bytes),
                table::bytes(sum.bytes),
                shown(sum.oldest_unix_ms),
                shown(sum.newest_unix_ms),
                codes.collect::<Vec<_>>().join(", "),
            ]);
        }
        if self.streams.is_empty() {
            return "there are no dead letters\n".to_owned();
        }
        let mut text = table.text();
        if !self.each.is_empty() {
            let mut table =
                Table::new(&["STREAM", "ID", "SET ASIDE", "REASON", "CODE", "BYTES", "MESSAGE"]);
            for fact in &self.each {
                table.row([
                    fact.stream.to_string(),
                    fact.id.clone(),
                    table::time(fact.set_aside_unix_ms),
                    fact.reason.clone(),
                    fact.code.clone(),
                    fact.record_bytes.to_string(),
                    fact.message.clone(),
                ]);
            }
            text.push('\n');
            text.push_str(&table.text());
        }
        text
    }

    pub(super) fn as_json(&self, inspector: &Inspector) -> String {
        let streams = self.streams.iter().map(|(stream, sum)| {
            json!({
                "stream": stream.as_str(),
                "letters": sum.letters,
                "letters_unopened_claimed": sum.letters_unopened,
                "codes": sum.codes,
                "oldest_unix_ms": sum.oldest_unix_ms,
                "newest_unix_ms": sum.newest_unix_ms,
                "record_bytes": sum.record_bytes,
                "bytes": sum.bytes,
            })
        });
        let mut value = json!({
            "dir": inspector.dir().display().to_string(),
            "streams": streams.collect::<Vec<_>>(),
        });
        if let (false, Value::Object(members)) = (self.each.is_empty(), &mut value) {
            let letters = self.each.iter().map(Fact::as_json).collect::<Vec<_>>();
            members.insert("letters".to_owned(), letters.into());
        }
        format!("{value:#}\n")
    }
}

impl Fact {
    fn of(letter: &LetterOut<'_>) -> Self {
        Self {
            stream: letter.stream.clone(),
            id: letter.id.to_string(),
            reason: letter.reason.to_owned(),
            code: letter.code.to_owned(),
            message: letter.message.to_owned(),
            set_aside_unix_ms: letter.set_aside_unix_ms,
            accepted_unix_ms: letter.accepted_unix_ms,
            record_bytes: letter.data.len() as u64,
        }
    }

    fn as_json(&self) -> Value {
        json!({
            "stream": self.stream.as_str(),
            "id": self.id,
            "reason": self.reason,
            "code": self.code,
            "message": self.message,
            "set_aside_unix_ms": self.set_aside_unix_ms,
            "accepted_unix_ms": self.accepted_unix_ms,
            "record_bytes": self.record_bytes,
        })
    }
}
