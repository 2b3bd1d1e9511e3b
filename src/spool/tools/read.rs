//! Getting records and dead letters out: one after the other, in the clear, to whoever asked for them.

use std::io;

use super::super::letter::{self, LetterId, LetterView};
use super::super::noted::Noted;
use super::files::{Place, SegmentFile};
use super::keys::Keys;
use super::list::Inspector;
use super::walk::{Opened, Report};
use crate::record::StreamName;

/// A record, in the clear.
#[derive(Debug, Clone, Copy)]
pub struct RecordOut<'a> {
    /// Its stream.
    pub stream: &'a StreamName,
    /// The part of the spool.
    pub place: Place,
    /// The segment.
    pub segment: u64,
    /// The frame in that.
    pub frame: u32,
    /// The record in that.
    pub number: u16,
    /// When the batch that it is in was opened, in milliseconds since 1970.
    pub accepted_unix_ms: u64,
    /// Whether it is delivered, where a note can say so: a segment in quarantine has none any more.
    pub is_delivered: Option<bool>,
    /// Its partition key, if it came with one.
    pub partition_key: Option<&'a str>,
    /// The record.
    pub data: &'a [u8],
}

/// A dead letter, in the clear.
#[derive(Debug, Clone, Copy)]
pub struct LetterOut<'a> {
    /// Its stream.
    pub stream: &'a StreamName,
    /// Where it lies.
    pub id: LetterId,
    /// What proves that the record is at fault.
    pub reason: &'a str,
    /// The service's code.
    pub code: &'a str,
    /// The service's words.
    pub message: &'a str,
    /// When it was set aside, in milliseconds since 1970.
    pub set_aside_unix_ms: u64,
    /// When the batch that it was in was opened, in milliseconds since 1970.
    pub accepted_unix_ms: u64,
    /// Whether it was replayed.
    pub is_replayed: bool,
    /// Its partition key, if it came with one.
    pub partition_key: Option<&'a str>,
    /// The record.
    pub data: &'a [u8],
}

impl Inspector {
    /// Hands the records of a segment to `on`: those that are not delivered, or all. A living process may have
    /// delivered some that it has not noted yet.
    ///
    /// # Errors
    /// Those of `on`. What can not be read is in the report.
    pub fn records(
        &self,
        file: &SegmentFile,
        keys: &mut Keys<'_>,
        is_all: bool,
        on: &mut dyn FnMut(&RecordOut<'_>) -> io::Result<()>,
        progress: &mut dyn FnMut(u64),
    ) -> io::Result<Report> {
        self.each(file, keys, is_all, progress, &mut |one| {
            on(&RecordOut {
                stream: &file.stream,
                place: file.place,
                segment: file.id,
                frame: one.frame,
                number: one.number,
                accepted_unix_ms: one.opened_unix_ms,
                is_delivered: (file.place != Place::Quarantine).then_some(one.is_noted),
                partition_key: one.partition_key,
                data: one.data,
            })
        })
    }

    /// Hands the dead letters of a segment to `on`: those that were not replayed, or all.
    ///
    /// # Errors
    /// Those of `on`. What can not be read is in the report.
    pub fn letters(
        &self,
        file: &SegmentFile,
        keys: &mut Keys<'_>,
        is_all: bool,
        on: &mut dyn FnMut(&LetterOut<'_>) -> io::Result<()>,
        progress: &mut dyn FnMut(u64),
    ) -> io::Result<Report> {
        self.each(file, keys, is_all, progress, &mut |one| {
            // What opens was written by us, so that it is a letter; bytes that are none are shown as they are.
            let letter = letter::decode(one.data).unwrap_or(LetterView {
                reason: "unknown",
                code: "",
                message: "",
                set_aside_unix_ms: 0,
                accepted_unix_ms: 0,
                record: one.data,
            });
            on(&LetterOut {
                stream: &file.stream,
                id: LetterId { segment: file.id, frame: one.frame, number: one.number },
                reason: letter.reason,
                code: letter.code,
                message: letter.message,
                set_aside_unix_ms: letter.set_aside_unix_ms,
                accepted_unix_ms: letter.accepted_unix_ms,
                is_replayed: one.is_noted,
                partition_key: one.partition_key,
                data: letter.record,
            })
        })
    }

    fn each(
        &self,
        file: &SegmentFile,
        keys: &mut Keys<'_>,
        is_all: bool,
        progress: &mut dyn FnMut(u64),
        on: &mut dyn FnMut(One<'_>) -> io::Result<()>,
    ) -> io::Result<Report> {
        let needed = |frame, noted: &Noted| is_all || !noted.is_whole(frame);
        let mut take = |opened: Opened<'_>| {
            let (frame, mut given) = (opened.head.index, 0);
            let opened_unix_ms = opened.payload.opened_unix_ms();
            let keys = opened.payload.keys();
            for (data, number) in opened.payload.records().zip(0_u16..) {
                let is_noted = opened.noted.is_noted(frame, number);
                if is_all || !is_noted {
                    let partition_key = keys.get(usize::from(number));
                    on(One { frame, number, is_noted, opened_unix_ms, partition_key, data })?;
                    given += 1;
                }
            }
            Ok(given)
        };
        self.walk(file, keys, needed, &mut take, progress)
    }
}

/// One record of a frame.
struct One<'a> {
    frame: u32,
    number: u16,
    is_noted: bool,
    opened_unix_ms: u64,
    partition_key: Option<&'a str>,
    data: &'a [u8],
}
