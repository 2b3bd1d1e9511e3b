//! Native requests: `POST /v1/streams/{stream}/records`.
//!
//! A body is one record, or one for each line. This file knows what a request says; reading, cutting,
//! batching and waiting are done elsewhere.

use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;

use http::header::CONTENT_TYPE;
use http::{HeaderMap, Request};
use hyper::body::Incoming;

use super::body::{self, Body};
use super::decode::{self, Encoding};
use super::level::Level;
use super::limit::keep;
use super::lines::lines;
use super::oversize::ASIDE_BYTES_MAX;
use super::partition::key_of;
use super::refusal::Refusal;
use super::response::{Answer, Reached, accepted};
use super::worker::{Worker, WorkerStream};
use super::{Delimiter, Framing, Oversize, StreamSettings};
use crate::pipeline::{Entry, Piece, Receipt, SharedBody};
use crate::record::RECORD_BYTES_MAX;

/// A body of at least as many bytes is kept as it is, and its records point into it.
const SHARED_BODY_BYTES_MIN: usize = 16 * 1024;

/// Takes the records of one request.
pub(super) async fn take(
    worker: &Worker,
    stream: &str,
    request: &mut Request<Incoming>,
) -> Result<Answer, Refusal> {
    let stream = worker.stream(stream)?;
    let settings = &stream.shared.settings;
    let level = Level::of(request.headers(), &stream.shared)?;
    let encoding = Encoding::of(request.headers())?;
    let key = key_of(request.headers(), settings)?;
    let cut = Cut::of(request.headers(), settings);
    // What can not be taken is not read and decompressed for that.
    stream.shared.limit.as_ref().map_or(Ok(()), |limit| limit.look())?;
    let body = read(worker, &stream, encoding, request).await?;
    let aside = cut.oversize(body.bytes())?;
    let mut charge = stream.shared.charge_whole(|| cut.measure(body.bytes()))?;
    if !aside.is_empty() {
        // What is set aside is kept, whatever becomes of the others.
        keep(charge.take());
    }
    for record in &aside {
        let record = cut.whole(body.bytes().get(record.clone()));
        worker.set_aside(&stream, record, key.clone()).await?;
    }
    let set_aside = aside.len();
    if set_aside > 0 && cut.count(body.bytes()) == set_aside {
        return Ok(accepted(0, 0, set_aside, &Reached::Durable));
    }
    let waiting = worker.waiting(&stream, level, || cut.count(body.bytes()) - set_aside)?;
    let (records, bytes) = worker.admit(&stream, &waiting, |entry| {
        entry.set_key(key);
        cut.fill(entry, body, waiting.of_each())?;
        Ok((entry.records(), entry.bytes()))
    })?;
    keep(charge);
    let reached = worker.reached(waiting).await?;
    Ok(accepted(records, bytes, set_aside, &reached))
}

async fn read(
    worker: &Worker,
    stream: &Rc<WorkerStream>,
    encoding: Encoding,
    request: &mut Request<Incoming>,
) -> Result<Body, Refusal> {
    let config = &worker.shared.config;
    let share = stream.shared.lane.share();
    let body =
        body::read(request.body_mut(), config.body_bytes_max, config.body_timeout, share).await?;
    if encoding == Encoding::Identity {
        return Ok(body);
    }
    let mut room = share.empty_reservation();
    let bytes_max = config.decoded_bytes_max;
    let decoded = decode::decode(encoding, body.bytes(), bytes_max, &mut room).await?;
    Ok(Body::Large(decoded, room))
}

/// How a body becomes records.
#[derive(Debug, Clone, Copy)]
struct Cut {
    is_lines: bool,
    ends_with_newline: bool,
    sets_aside: bool,
}

impl Cut {
    fn of(headers: &HeaderMap, settings: &StreamSettings) -> Self {
        Self {
            is_lines: match settings.framing {
                Framing::Lines => true,
                Framing::Body => false,
                Framing::Auto => {
                    headers.get(CONTENT_TYPE).is_some_and(|value| is_line_type(value.as_bytes()))
                }
            },
            ends_with_newline: settings.delimiter != Delimiter::None,
            sets_aside: settings.oversize == Oversize::DeadLetter,
        }
    }

    /// Where the records are that are too large for the service, on a stream that sets them aside.
    fn oversize(self, body: &[u8]) -> Result<Vec<Range<usize>>, Refusal> {
        // A delimiter that is missing makes a record one byte larger.
        if !self.sets_aside || body.len() < RECORD_BYTES_MAX {
            return Ok(Vec::new());
        }
        let mut oversize = Vec::new();
        let whole = (!self.is_lines).then_some(0..body.len());
        let lines = self.is_lines.then(|| lines(body)).into_iter().flatten();
        for (index, record) in whole.into_iter().chain(lines).enumerate() {
            let bytes = self.bytes(body.get(record.clone()).unwrap_or_default());
            if bytes > ASIDE_BYTES_MAX {
                return Err(Refusal::RecordTooLarge { index, bytes });
            }
            if bytes > RECORD_BYTES_MAX {
                oversize.push(record);
            }
        }
        Ok(oversize)
    }

    /// How large a record is with its delimiter.
    fn bytes(self, record: &[u8]) -> usize {
        match self.ends_with_newline {
            true => record.len() + usize::from(record.last() != Some(&b'\n')),
            false if self.is_lines => chomp(record).len(),
            false => record.len(),
        }
    }

    /// A record with its delimiter, on its own.
    fn whole(self, record: Option<&[u8]>) -> Vec<u8> {
        let record = record.unwrap_or_default();
        let mut whole = Vec::with_capacity(record.len() + 1);
        whole.extend_from_slice(record);
        if self.ends_with_newline && record.last() != Some(&b'\n') {
            whole.push(b'\n');
        }
        whole.truncate(self.bytes(record));
        whole
    }

    /// How many records there are, for those who wait for each.
    fn count(self, body: &[u8]) -> usize {
        if self.is_lines { lines(body).count() } else { 1 }
    }

    /// How many records there are, and their bytes with delimiters, for streams with an ingest limit.
    fn measure(self, body: &[u8]) -> (usize, usize) {
        if !self.is_lines {
            return (1, self.bytes(body));
        }
        lines(body).fold((0, 0), |(records, bytes), line| {
            (records + 1, bytes + self.bytes(body.get(line).unwrap_or_default()))
        })
    }

    fn fill(
        self,
        entry: &mut Entry<'_>,
        body: Body,
        receipt: Option<&Receipt>,
    ) -> Result<(), Refusal> {
        if body.bytes().is_empty() {
            return Err(Refusal::Malformed("the body is empty: it has no record".to_owned()));
        }
        match body {
            Body::Large(mut bytes, room) if bytes.len() >= SHARED_BODY_BYTES_MIN => {
                if self.ends_with_newline && bytes.last() != Some(&b'\n') {
                    // The buffer has this byte to spare.
                    bytes.push(b'\n');
                }
                let shared = SharedBody::new(bytes, room);
                self.fill_slices(entry, &shared, receipt)?;
            }
            body => self.fill_copies(entry, body.bytes(), receipt)?,
        }
        if entry.records() == 0 {
            return Err(Refusal::Malformed("the body has only empty lines: no record".to_owned()));
        }
        Ok(())
    }

    fn fill_slices(
        self,
        entry: &mut Entry<'_>,
        shared: &Arc<SharedBody>,
        receipt: Option<&Receipt>,
    ) -> Result<(), Refusal> {
        let body = shared.bytes();
        if !self.is_lines {
            return self.push(entry, &Piece::Slice(shared, 0..body.len()), receipt);
        }
        for mut line in lines(body) {
            if !self.ends_with_newline {
                line.end = line.start + body.get(line.clone()).map_or(0, |line| chomp(line).len());
            }
            self.push(entry, &Piece::Slice(shared, line), receipt)?;
        }
        Ok(())
    }

    fn fill_copies(
        self,
        entry: &mut Entry<'_>,
        body: &[u8],
        receipt: Option<&Receipt>,
    ) -> Result<(), Refusal> {
        if !self.is_lines {
            return self.push(entry, &self.copy(body), receipt);
        }
        for line in lines(body) {
            let line = body.get(line).unwrap_or_default();
            let line = if self.ends_with_newline { line } else { chomp(line) };
            self.push(entry, &self.copy(line), receipt)?;
        }
        Ok(())
    }

    fn copy(self, record: &[u8]) -> Piece<'_> {
        let is_missing = self.ends_with_newline && record.last() != Some(&b'\n');
        Piece::Copy(record, is_missing.then_some(b'\n'))
    }

    fn push(
        self,
        entry: &mut Entry<'_>,
        piece: &Piece<'_>,
        receipt: Option<&Receipt>,
    ) -> Result<(), Refusal> {
        let index = entry.records();
        if piece.len() > RECORD_BYTES_MAX {
            let too_large = Refusal::RecordTooLarge { index, bytes: piece.len() };
            // One that was set aside is in the spool already.
            return if self.sets_aside { Ok(()) } else { Err(too_large) };
        }
        let ticket = receipt.map(|receipt| receipt.ticket(index));
        entry.push(piece, ticket).map_err(|_| Refusal::NoRoom)
    }
}

/// A line without its newline, and without the carriage return before it.
fn chomp(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// Whether the content type says that each line is a record.
fn is_line_type(content_type: &[u8]) -> bool {
    const LINE_TYPES: [&str; 6] = [
        "application/x-ndjson",
        "application/ndjson",
        "application/jsonl",
        "application/x-jsonl",
        "application/jsonlines",
        "application/x-jsonlines",
    ];
    let essence = content_type.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    LINE_TYPES.iter().any(|known| essence.eq_ignore_ascii_case(known.as_bytes()))
}
