//! A segment, opened with its key and gone through frame by frame: what opens, and what is missing.
//!
//! The engine's own scanner and loader do the reading, so that what is said here is what a start would find.

use std::io::{self, ErrorKind};
use std::sync::Arc;

use super::super::frame::Head;
use super::super::fs::File;
use super::super::header::{self, HEADER_BYTES_MAX, HeaderError, Kind, Parsed};
use super::super::names;
use super::super::noted::Noted;
use super::super::old::{Eye, Found, Loaded};
use super::super::payload::Payload;
use super::super::scan::{Event, Scanner};
use super::super::tracked::Tracked;
use super::files::{Place, SegmentFile, State};
use super::keys::{Given, Keys, NotHad};
use super::list::Inspector;

/// Why a segment was not gone through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotOpened {
    /// It is not there any more: a living process has delivered it, or moved it.
    Gone,
    /// Its making was cut short: there was never anything in it.
    Unborn,
    /// Its key can not be had now, or its format is one of another version: nothing is wrong with it.
    Waits(String),
    /// It can never be opened: damage.
    Unfit(String),
    /// The disk does not give it.
    Failed(String),
}

impl NotOpened {
    /// A stable word for it.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Gone => "gone",
            Self::Unborn => "unborn",
            Self::Waits(_) => "waits",
            Self::Unfit(_) => "unfit",
            Self::Failed(_) => "failed",
        }
    }

    /// Why it is so, where that is not in the word.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Waits(why) | Self::Unfit(why) | Self::Failed(why) => Some(why),
            Self::Gone | Self::Unborn => None,
        }
    }
}

/// A piece of a segment that was durable and does not open any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Missing {
    /// Where it begins in the file.
    pub offset: u64,
    /// How long it is.
    pub bytes: u64,
    /// How many frames are missing; none when there is only something that does not belong there.
    pub frames: u32,
    /// How many records are in those.
    pub records: u64,
    /// How many of them were not delivered, as far as the note says: at most.
    pub records_undelivered: u64,
}

/// What was found in one segment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Why it was not gone through, or not to its end.
    pub not_opened: Option<NotOpened>,
    /// Frames that open. Those that were not asked for are not opened, and not among them.
    pub frames: u32,
    /// Records in those.
    pub records: u64,
    /// How many of these are delivered, or replayed, by the note.
    pub records_noted: u64,
    /// Records that were handed to whoever asked for them.
    pub records_given: u64,
    /// Damage.
    pub missing: Vec<Missing>,
    /// Bytes at the end that nobody was promised: of a write that a crash cut short, or of one under way.
    pub torn_bytes: u64,
    /// Bytes of the note that do not verify: what they said is delivered again.
    pub unverified_note_bytes: u64,
}

impl Report {
    /// Whether something that was durable can not be read.
    #[must_use]
    pub fn is_damaged(&self) -> bool {
        !self.missing.is_empty()
            || matches!(self.not_opened, Some(NotOpened::Unfit(_) | NotOpened::Failed(_)))
    }

    /// How many records are missing, as far as that is known.
    #[must_use]
    pub fn records_missing(&self) -> u64 {
        self.missing.iter().map(|missing| missing.records).sum()
    }
}

/// A frame that opened.
pub(super) struct Opened<'a> {
    pub(super) head: Head,
    pub(super) payload: Payload<'a>,
    pub(super) noted: &'a Noted,
}

/// A segment that can be read.
struct Ready {
    file: Box<dyn File>,
    segment: Box<Tracked>,
}

impl Inspector {
    /// Opens every frame of a segment. `progress` is told how much of it is done, in bytes.
    #[must_use]
    pub fn verify(
        &self,
        file: &SegmentFile,
        keys: &mut Keys<'_>,
        progress: &mut dyn FnMut(u64),
    ) -> Report {
        let walked = self.walk(file, keys, |_, _| true, &mut |_| Ok(0), progress);
        // Nothing is written, so that nothing of that can fail.
        walked.unwrap_or_default()
    }

    /// Goes through a segment. Frames that are not `needed` may be passed unopened; `on` is given the others,
    /// and says how many records it took.
    ///
    /// # Errors
    /// Those of `on`. An error of reading is in the report.
    pub(super) fn walk(
        &self,
        file: &SegmentFile,
        keys: &mut Keys<'_>,
        needed: impl Fn(u32, &Noted) -> bool,
        on: &mut dyn FnMut(Opened<'_>) -> io::Result<u64>,
        progress: &mut dyn FnMut(u64),
    ) -> io::Result<Report> {
        let mut report = Report::default();
        let ready = match self.open(file, keys, &mut report) {
            Ok(ready) => ready,
            Err(why) => {
                report.not_opened = Some(why);
                return Ok(report);
            }
        };
        let Ready { file: data, segment } = ready;
        let noted = segment.noted();
        let seal = &segment.seal;
        let mut scanner =
            Scanner::new(Arc::clone(&seal.keys), seal.digest, segment.start(), segment.extent);
        loop {
            match scanner.next(|frame| needed(frame, noted)) {
                Event::NeedBytes => {
                    if let Err(error) = scanner.fill(|offset, into| data.read_at(offset, into)) {
                        report.not_opened = Some(failed(&error));
                        return Ok(report);
                    }
                }
                Event::Frame { head, payload, .. } => {
                    report.frames += 1;
                    report.records += u64::from(head.records);
                    report.records_noted += u64::from(noted.noted_in(head.index, head.records));
                    report.records_given += on(Opened { head, payload, noted })?;
                }
                Event::Skipped { .. } => {}
                Event::Damage(damage) => {
                    let bytes = damage.to_offset.saturating_sub(damage.from_offset);
                    if damage.is_torn {
                        report.torn_bytes += bytes;
                    } else {
                        let records = damage.records.unwrap_or(0);
                        report.missing.push(Missing {
                            offset: damage.from_offset,
                            bytes,
                            frames: damage.frames,
                            records,
                            records_undelivered: noted.missing_in(
                                damage.first,
                                damage.frames,
                                records,
                            ),
                        });
                    }
                }
                Event::Wait | Event::End { .. } => return Ok(report),
            }
            progress(scanner.position().0);
        }
    }

    fn open(
        &self,
        file: &SegmentFile,
        keys: &mut Keys<'_>,
        report: &mut Report,
    ) -> Result<Ready, NotOpened> {
        match &file.state {
            State::Unborn => return Err(NotOpened::Unborn),
            State::Foreign(why) => return Err(NotOpened::Waits(why.clone())),
            State::Unfit(why) => return Err(NotOpened::Unfit(why.clone())),
            State::Open | State::Closed | State::NoEnd | State::Failed(_) => {}
        }
        let data = self.storage.open_read(&file.path).map_err(|error| failed(&error))?;
        let parsed = header_of(data.as_ref())?;
        let key = keys.of(&file.stream, &parsed.header.key).map_err(|not_had| match not_had {
            NotHad::Waits(why) => NotOpened::Waits(why),
            NotHad::Invalid(why) => NotOpened::Unfit(why),
        })?;
        let eye = Eye {
            storage: self.storage.as_ref(),
            ring: &Given(key),
            stream: &file.stream,
            kind: match file.place {
                Place::Streams => Kind::Records,
                Place::DeadLetters => Kind::DeadLetters,
                Place::Quarantine => parsed.header.kind,
            },
        };
        let found = self.found(file, data.as_ref()).map_err(|error| failed(&error))?;
        match eye.load(&found, Box::new(|| ())).map_err(|error| failed(&error))? {
            Loaded::Ready { segment, unverified_note_bytes, .. } => {
                report.unverified_note_bytes = unverified_note_bytes;
                Ok(Ready { file: data, segment })
            }
            Loaded::Unfit { why, .. } => Err(NotOpened::Unfit(why)),
            Loaded::Waits(why) => Err(NotOpened::Waits(why)),
            Loaded::Unborn => Err(NotOpened::Unborn),
            Loaded::Pending => Err(NotOpened::Waits("the key did not come".to_owned())),
        }
    }

    /// The file as it is now: it may have grown, or been noted, since it was listed.
    fn found(&self, file: &SegmentFile, data: &dyn File) -> io::Result<Found> {
        let note_path = file.path.with_file_name(names::note_file(file.id));
        let note_bytes = match self.storage.open_read(&note_path) {
            Ok(note) => Some(note.bytes()?),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let (id, path, bytes) = (file.id, file.path.clone(), data.bytes()?);
        Ok(Found { id, path, bytes, note_path, note_bytes })
    }
}

fn header_of(file: &dyn File) -> Result<Parsed, NotOpened> {
    let mut bytes = vec![0; HEADER_BYTES_MAX];
    let count = file.read_at(0, &mut bytes).map_err(|error| failed(&error))?;
    bytes.truncate(count);
    header::decode(&bytes).map_err(|error| match error {
        HeaderError::TooShort => NotOpened::Unborn,
        HeaderError::Version(_) | HeaderError::Suite(_) => NotOpened::Waits(error.to_string()),
        HeaderError::NotASegment | HeaderError::Malformed(_) => NotOpened::Unfit(error.to_string()),
    })
}

fn failed(error: &io::Error) -> NotOpened {
    match error.kind() {
        ErrorKind::NotFound => NotOpened::Gone,
        _ => NotOpened::Failed(error.to_string()),
    }
}
