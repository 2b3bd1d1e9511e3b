//! `spool export` and `dead-letter export`: records leave the spool, in the clear, because somebody asked.

use std::io::{self, Write};
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::record::StreamName;
use crate::spool::KeyRing;
use crate::spool::tools::{
    Inspector, Keys, LetterOut, NotOpened, Place, RecordOut, Report, SegmentFile,
};
use crate::telemetry;

use super::exit::Failure;
use super::output::Output;
use super::progress::Progress;
use super::table;
use super::{args, spool_source, verify};

/// How a record is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// Its bytes alone.
    Raw,
    /// An object, with the record in base64.
    Base64,
    /// An object, with the record as text where it is UTF-8.
    Text,
}

/// What is exported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wanted<'a> {
    pub(super) only: Option<&'a StreamName>,
    /// What is settled too.
    pub(super) is_all: bool,
    pub(super) is_letters: bool,
    pub(super) form: Form,
}

pub(super) fn records(command: &args::SpoolExport) -> Result<(), Failure> {
    let args::SpoolExport { place, keys, form, all } = command;
    run(place, *keys, form, *all, false)
}

pub(super) fn letters(command: &args::LetterExport) -> Result<(), Failure> {
    let args::LetterExport { place, keys, form, all } = command;
    run(place, *keys, form, *all, true)
}

fn run(
    place: &args::Place,
    keys: args::KeyTime,
    form: &args::ExportForm,
    is_all: bool,
    is_letters: bool,
) -> Result<(), Failure> {
    let inspector = spool_source::inspector(place)?;
    let ring = spool_source::ring(place)?;
    let wanted = Wanted {
        only: place.stream.as_ref(),
        is_all,
        is_letters,
        form: match (form.raw, form.text) {
            (true, _) => Form::Raw,
            (false, true) => Form::Text,
            (false, false) => Form::Base64,
        },
    };
    let patience = Duration::from_millis(keys.key_timeout_ms);
    let mut output = Output::open(form.output.as_deref())?;
    let into =
        form.output.as_ref().map_or_else(|| "stdout".into(), |path| path.display().to_string());
    // Nobody is to find out later what lies there.
    telemetry::say_last(&format!(
        "standpipe: records leave the sealed spool: {into} holds them in the clear\n"
    ));
    match export(&inspector, ring.as_ref(), patience, wanted, &mut output) {
        Ok(exported) => {
            output.end(Ok(()))?;
            telemetry::say_last(&format!("standpipe: {}\n", exported.summary(wanted)));
            verify::result_of(&exported.reports)
        }
        Err(Stopped::List(failure)) => {
            output.end(Ok(()))?;
            Err(failure)
        }
        Err(Stopped::Write(error)) => output.end(Err(error)),
    }
}

/// Why an export did not come to its end.
#[derive(Debug)]
pub(super) enum Stopped {
    List(Failure),
    Write(io::Error),
}

/// What came of it.
#[derive(Debug)]
pub(super) struct Exported {
    pub(super) reports: Vec<Report>,
}

impl Exported {
    fn summary(&self, wanted: Wanted<'_>) -> String {
        let given = self.reports.iter().map(|report| report.records_given).sum();
        let what = if wanted.is_letters { "dead letter" } else { "record" };
        let gone =
            self.reports.iter().filter(|report| report.not_opened == Some(NotOpened::Gone)).count()
                as u64;
        let gone = match gone {
            0 => String::new(),
            gone => format!("; {} went meanwhile, delivered", table::count(gone, "segment")),
        };
        format!("{} exported{gone}", table::count(given, what))
    }
}

/// Writes what is wanted into `out`.
pub(super) fn export(
    inspector: &Inspector,
    ring: &dyn KeyRing,
    patience: Duration,
    wanted: Wanted<'_>,
    out: &mut dyn Write,
) -> Result<Exported, Stopped> {
    let listing = inspector.list(wanted.only).map_err(|error| Stopped::List(error.into()))?;
    let files: Vec<SegmentFile> = listing
        .segments
        .into_iter()
        .filter(|file| match file.place {
            Place::DeadLetters => wanted.is_letters,
            Place::Streams => !wanted.is_letters,
            Place::Quarantine => !wanted.is_letters && wanted.is_all,
        })
        .collect();
    let mut keys = Keys::new(ring, patience);
    let mut progress = Progress::new("exporting", files.iter().map(|file| file.bytes).sum());
    let mut reports = Vec::with_capacity(files.len());
    let mut line = Vec::new();
    for file in &files {
        let done = &mut |bytes| progress.at(bytes);
        let report = if wanted.is_letters {
            let mut write = |letter: &LetterOut<'_>| {
                put(letter.data, wanted.form, &mut line, out, || letter_facts(letter))
            };
            inspector.letters(file, &mut keys, wanted.is_all, &mut write, done)
        } else {
            let mut write = |record: &RecordOut<'_>| {
                put(record.data, wanted.form, &mut line, out, || record_facts(record))
            };
            inspector.records(file, &mut keys, wanted.is_all, &mut write, done)
        };
        reports.push(report.map_err(Stopped::Write)?);
        progress.done(file.bytes);
    }
    Ok(Exported { reports })
}

fn put(
    data: &[u8],
    form: Form,
    line: &mut Vec<u8>,
    out: &mut dyn Write,
    facts: impl FnOnce() -> Map<String, Value>,
) -> io::Result<()> {
    let text = match form {
        Form::Raw => return out.write_all(data),
        Form::Text => str::from_utf8(data).ok(),
        Form::Base64 => None,
    };
    let mut object = facts();
    match text {
        Some(text) => object.insert("text".to_owned(), text.into()),
        None => {
            object.insert("data".to_owned(), base64_simd::STANDARD.encode_to_string(data).into())
        }
    };
    line.clear();
    serde_json::to_writer(&mut *line, &object)?;
    line.push(b'\n');
    out.write_all(line)
}

fn record_facts(record: &RecordOut<'_>) -> Map<String, Value> {
    with_key(
        record.partition_key,
        json!({
            "stream": record.stream.as_str(),
            "place": record.place.as_str(),
            "segment": format!("{:016x}", record.segment),
            "frame": record.frame,
            "number": record.number,
            "is_delivered": record.is_delivered,
            "accepted_unix_ms": record.accepted_unix_ms,
        }),
    )
}

fn letter_facts(letter: &LetterOut<'_>) -> Map<String, Value> {
    with_key(
        letter.partition_key,
        json!({
            "stream": letter.stream.as_str(),
            "id": letter.id.to_string(),
            "reason": letter.reason,
            "code": letter.code,
            "message": letter.message,
            "is_replayed": letter.is_replayed,
            "set_aside_unix_ms": letter.set_aside_unix_ms,
            "accepted_unix_ms": letter.accepted_unix_ms,
        }),
    )
}

/// The facts as an object, which has a partition key where the record came with one.
fn with_key(partition_key: Option<&str>, facts: Value) -> Map<String, Value> {
    let Value::Object(mut object) = facts else { return Map::new() };
    if let Some(key) = partition_key {
        object.insert("partition_key".to_owned(), key.into());
    }
    object
}
