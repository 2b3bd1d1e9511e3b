//! `spool verify`: opens every frame, and says what does not open.

use std::time::Duration;

use serde_json::{Value, json};

use crate::record::StreamName;
use crate::spool::KeyRing;
use crate::spool::tools::{Inspector, Keys, Listing, NotOpened, Report, SegmentFile};

use super::exit::{Exit, Failure};
use super::progress::Progress;
use super::table::{self, Table};
use super::{args, spool_source};

pub(super) fn run(command: &args::SpoolVerify) -> Result<(), Failure> {
    let inspector = spool_source::inspector(&command.place)?;
    let ring = spool_source::ring(&command.place)?;
    let patience = Duration::from_millis(command.keys.key_timeout_ms);
    let only = command.place.stream.as_ref();
    let verified = verify(&inspector, ring.as_ref(), patience, only)?;
    super::print(&if command.json { verified.as_json(&inspector) } else { verified.text() })?;
    verified.result()
}

/// What there is, and what was found in each segment.
pub(super) struct Verified {
    listing: Listing,
    reports: Vec<Report>,
}

pub(super) fn verify(
    inspector: &Inspector,
    ring: &dyn KeyRing,
    patience: Duration,
    only: Option<&StreamName>,
) -> Result<Verified, Failure> {
    let listing = inspector.list(only)?;
    let mut keys = Keys::new(ring, patience);
    let mut progress =
        Progress::new("verifying", listing.segments.iter().map(|file| file.bytes).sum());
    let reports = listing.segments.iter().map(|file| {
        let report = inspector.verify(file, &mut keys, &mut |bytes| progress.at(bytes));
        progress.done(file.bytes);
        report
    });
    let reports = reports.collect();
    Ok(Verified { listing, reports })
}

/// What there is to say of a segment, in a word.
pub(super) fn word(report: &Report) -> &'static str {
    match &report.not_opened {
        Some(why) => why.as_str(),
        None if report.is_damaged() => "damaged",
        None => "whole",
    }
}

/// What a report means for the end of the command: damage first, then what could not be opened.
pub(super) fn result_of(reports: &[Report]) -> Result<(), Failure> {
    let damaged: Vec<&Report> = reports.iter().filter(|report| report.is_damaged()).collect();
    if !damaged.is_empty() {
        let records: u64 = damaged.iter().map(|report| report.records_missing()).sum();
        let unopened = damaged.iter().filter(|report| report.not_opened.is_some()).count();
        let unopened = match unopened {
            0 => String::new(),
            count => format!(", and {count} can not be opened or read at all"),
        };
        let message = format!(
            "{} of {} are damaged: {} are missing in them{unopened}",
            damaged.len(),
            table::count(reports.len() as u64, "segment"),
            table::count(records, "record"),
        );
        return Err(Failure::new(Exit::Io, message));
    }
    let mut waits = reports.iter().filter_map(|report| match &report.not_opened {
        Some(NotOpened::Waits(why)) => Some(why),
        _ => None,
    });
    let Some(why) = waits.next() else { return Ok(()) };
    let message = format!(
        "{} of {} could not be opened: {}",
        waits.count() + 1,
        table::count(reports.len() as u64, "segment"),
        table::plain(why),
    );
    Err(Failure::new(Exit::Unavailable, message))
}

impl Verified {
    pub(super) fn result(&self) -> Result<(), Failure> {
        result_of(&self.reports)
    }

    fn each(&self) -> impl Iterator<Item = (&SegmentFile, &Report)> {
        self.listing.segments.iter().zip(&self.reports)
    }

    fn sum(&self, of: impl Fn(&Report) -> u64) -> u64 {
        self.reports.iter().map(of).sum()
    }

    pub(super) fn text(&self) -> String {
        let mut table = Table::new(&[
            "STREAM",
            "PLACE",
            "SEGMENT",
            "RESULT",
            "FRAMES",
            "RECORDS",
            "NOTED",
            "MISSING",
            "TORN",
            "UNVERIFIED NOTE",
        ]);
        for (file, report) in self.each() {
            table.row([
                file.stream.to_string(),
                file.place.as_str().to_owned(),
                format!("{:016x}", file.id),
                word(report).to_owned(),
                report.frames.to_string(),
                report.records.to_string(),
                report.records_noted.to_string(),
                report.records_missing().to_string(),
                table::bytes(report.torn_bytes),
                table::bytes(report.unverified_note_bytes),
            ]);
        }
        let mut text = table.text();
        for (file, report) in self.each() {
            let path = file.path.display();
            if let Some(why) = report.not_opened.as_ref().and_then(NotOpened::reason) {
                text.push_str(&format!("{path}: {}\n", table::plain(why)));
            }
            for missing in &report.missing {
                text.push_str(&format!(
                    "{path}: {} at {} do not open: {} in {}, {} of them not noted as delivered\n",
                    table::bytes(missing.bytes),
                    missing.offset,
                    table::count(missing.records, "record"),
                    table::count(missing.frames.into(), "frame"),
                    missing.records_undelivered,
                ));
            }
        }
        text.push_str(&format!(
            "{}: {} in {} open, {} noted, {} missing\n",
            table::count(self.reports.len() as u64, "segment"),
            table::count(self.sum(|report| report.records), "record"),
            table::count(self.sum(|report| report.frames.into()), "frame"),
            self.sum(|report| report.records_noted),
            self.sum(Report::records_missing),
        ));
        text
    }

    pub(super) fn as_json(&self, inspector: &Inspector) -> String {
        let segments: Vec<Value> = self.each().map(|(file, report)| shown(file, report)).collect();
        let result = match self.result() {
            Ok(()) => "whole",
            Err(failure) if failure.exit == Exit::Io => "damaged",
            Err(_) => "waits",
        };
        let value = json!({
            "dir": inspector.dir().display().to_string(),
            "is_alive": self.listing.is_alive,
            "result": result,
            "frames": self.sum(|report| report.frames.into()),
            "records": self.sum(|report| report.records),
            "records_noted": self.sum(|report| report.records_noted),
            "records_missing": self.sum(Report::records_missing),
            "torn_bytes": self.sum(|report| report.torn_bytes),
            "unverified_note_bytes": self.sum(|report| report.unverified_note_bytes),
            "segments": segments,
        });
        format!("{value:#}\n")
    }
}

fn shown(file: &SegmentFile, report: &Report) -> Value {
    let missing = report.missing.iter().map(|missing| {
        json!({
            "frames": missing.frames,
            "records": missing.records,
            "records_undelivered_max": missing.records_undelivered,
            "offset_bytes": missing.offset,
            "bytes": missing.bytes,
        })
    });
    json!({
        "stream": file.stream.as_str(),
        "place": file.place.as_str(),
        "segment": format!("{:016x}", file.id),
        "result": word(report),
        "reason": report.not_opened.as_ref().and_then(NotOpened::reason),
        "frames": report.frames,
        "records": report.records,
        "records_noted": report.records_noted,
        "records_missing": report.records_missing(),
        "missing": missing.collect::<Vec<_>>(),
        "torn_bytes": report.torn_bytes,
        "unverified_note_bytes": report.unverified_note_bytes,
        "bytes": file.bytes,
    })
}
