//! A segment, read in pieces: its frames in order, and what damage there is.
//!
//! ```text
//!  walk ──► frame, frame, skipped, …          the next frame is where it has to be, and opens
//!   │  ▲
//!   ▼  └─ damage, and on from the next frame   the next frame that opens was found
//!  look ─► until it is known whether what is missing was durable
//! ```
//!
//! What does not open is damage. Whether it matters is told by the last watermark, the greatest of all
//! frames that open: above it, in a segment without an end frame, is a torn tail, of which nobody was
//! promised anything; below it, or in a segment that has its end frame, records are missing, and the next
//! frame that opens says how many. So at damage the rest of the segment is looked at, frame by frame, until
//! that is decided; what was learned is kept, so that this happens once for each group of frames at most.
//!
//! Frames come in the order of their indices, each at most once; one that lies behind a later one is not
//! given, but counted as missing. Memory holds one frame and a piece more, whatever a head claims. Pure: it
//! reads no file, asks for bytes, and is filled by whoever owns the file; so an error of reading is never
//! damage.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use super::frame::{self, FrameKind, HEAD_BYTES, Head};
use super::look::{Look, Seen, opens};
use super::payload::{self, Payload};
use super::seal::{SegmentKeys, TAG_BYTES};
use super::window::{NeedBytes, Window, to_u64};

/// How far a segment may be read, and what is known of it beside what it says itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Extent {
    /// Where it ends, or ends for now: then at the end of a frame.
    pub(super) bytes: u64,
    /// How many frames this life of the process knows to be durable in it.
    pub(super) frames: u32,
    /// How many records are in those.
    pub(super) records: u64,
    /// Whether it never becomes longer.
    pub(super) is_final: bool,
}

impl Extent {
    /// A segment of an earlier life, as it was found.
    pub(super) const fn found(bytes: u64) -> Self {
        Self { bytes, frames: 0, records: 0, is_final: true }
    }
}

/// What comes next of a segment.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Event<'a> {
    /// A frame of records that opened.
    Frame { offset: u64, head: Head, payload: Payload<'a> },
    /// A frame of which the caller said that it needs nothing. It may not have been opened.
    Skipped { offset: u64, head: Head },
    /// Something that does not open, or is not there.
    Damage(Damage),
    /// The scanner is to be filled.
    NeedBytes,
    /// There is no more for now: the segment may become longer.
    Wait,
    /// There is no more.
    End {
        /// The records of all its frames, as far as they are known: those that came and those missing.
        records: u64,
        /// Whether its end frame is there.
        is_closed: bool,
    },
}

/// Something that does not open, or is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Damage {
    /// Where it begins.
    pub(super) from_offset: u64,
    /// Where reading goes on.
    pub(super) to_offset: u64,
    /// The index of the first frame that is missing, if any is.
    pub(super) first: u32,
    /// How many frames are missing; none when there is only something that does not belong there.
    pub(super) frames: u32,
    /// How many records are in those. Nothing where it is not known how many frames are missing either: then
    /// it is torn.
    pub(super) records: Option<u64>,
    /// Whether nobody was promised that what is missing is durable.
    pub(super) is_torn: bool,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Scanner {
    keys: Arc<SegmentKeys>,
    digest: [u8; 32],
    extent: Extent,
    window: Window,
    /// Where the next frame has to be.
    at: u64,
    /// Its index.
    index: u32,
    /// The records of all earlier frames.
    records: u64,
    /// What was learned of the whole segment.
    seen: Seen,
    /// Whether the end frame was passed.
    is_past_end: bool,
    doubt: Doubt,
    look: Option<Look>,
}

/// Whether the next frame, which the caller needs nothing of, may be passed unopened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Doubt {
    /// Its head was not looked at yet.
    Unknown,
    /// Its head is plausible, and what follows it has to be looked at.
    Following(Head),
    /// No: it is to be opened.
    Founded,
}

/// An event that holds nothing of the window yet.
enum Step {
    Frame { offset: u64, head: Head, payload: Range<usize> },
    Other(Event<'static>),
}

/// What came of looking for the next frame where it has to be.
enum Walked {
    Step(Step),
    /// There is something else; the next frame is to be searched for from here on.
    Damaged {
        search_at: u64,
    },
    /// The end frame, which is nothing to the caller.
    Passed,
}

impl Scanner {
    /// A scanner of the segment with these keys, whose header has this digest and ends at `at`.
    pub(super) fn new(keys: Arc<SegmentKeys>, digest: [u8; 32], at: u64, extent: Extent) -> Self {
        Self {
            keys,
            digest,
            extent,
            window: Window::default(),
            at,
            index: 0,
            records: 0,
            seen: Seen::of(extent.frames),
            is_past_end: false,
            doubt: Doubt::Unknown,
            look: None,
        }
    }

    /// The segment became longer, or is final now.
    pub(super) fn extend(&mut self, extent: Extent) {
        self.extent = extent;
        self.seen.watermark = self.seen.watermark.max(extent.frames);
    }

    /// Reads what the last [`Event::NeedBytes`] asked for: `read` is given where in the file, and where to. A
    /// file that ends before its [`Extent`] does is taken to end there. After an error nothing has changed.
    ///
    /// # Errors
    /// Those of `read`.
    pub(super) fn fill(
        &mut self,
        read: impl FnOnce(u64, &mut [u8]) -> io::Result<usize>,
    ) -> io::Result<()> {
        let mut was_asked = false;
        let came = self.window.fill(|offset, into| {
            was_asked = !into.is_empty();
            read(offset, into)
        })?;
        if was_asked && came == 0 {
            self.extent.bytes = self.extent.bytes.min(self.window.end());
        }
        Ok(())
    }

    /// The offset and the index of the next frame, as far as it was walked.
    pub(super) const fn position(&self) -> (u64, u32) {
        (self.at, self.index)
    }

    /// The index and the length of the next frame of records, if its head is where it has to be and was read
    /// already. What the scanner is about to ask for stays as it is.
    pub(super) fn next_frame(&self) -> Option<(u32, usize)> {
        if self.look.is_some() {
            return None;
        }
        let head = frame::parse_head(self.window.peek(self.at, HEAD_BYTES)?).ok()?;
        let is_there = to_u64(head.frame_bytes()) <= self.extent.bytes.saturating_sub(self.at);
        (is_there && head.has_records()).then_some((head.index, head.frame_bytes()))
    }

    /// Gives back the memory that is held, when it may be long until the next call; what is needed of it is
    /// asked for again. Not for between [`Event::NeedBytes`] and what it asks for.
    pub(super) fn release(&mut self) {
        self.window.clear();
    }

    /// What comes next. `is_needed` says whether the caller needs anything of the frame of this index; one
    /// that it does not is passed unopened where its surroundings are as they should be.
    pub(super) fn next(&mut self, is_needed: impl Fn(u32) -> bool) -> Event<'_> {
        match self.step(is_needed) {
            Err(NeedBytes) => Event::NeedBytes,
            Ok(Step::Other(event)) => event,
            Ok(Step::Frame { offset, head, payload }) => {
                let held = self.window.at(offset, head.frame_bytes(), self.extent.bytes);
                let bytes = held.ok().and_then(|held| held.get(payload));
                let payload =
                    bytes.and_then(|bytes| payload::parse(bytes, head.kind, head.records).ok());
                Event::Frame { offset, head, payload: payload.expect("it was parsed just now") }
            }
        }
    }

    fn step(&mut self, is_needed: impl Fn(u32) -> bool) -> Result<Step, NeedBytes> {
        loop {
            if let Some(mut look) = self.look.take() {
                let decided = look.go_on(
                    &self.keys,
                    &self.digest,
                    self.extent,
                    &mut self.window,
                    &mut self.seen,
                );
                match decided {
                    Ok(true) => return Ok(self.damage(&look)),
                    Ok(false) => {
                        self.look = Some(look);
                        self.window.clear();
                        return Ok(Step::Other(Event::Wait));
                    }
                    Err(NeedBytes) => {
                        self.look = Some(look);
                        return Err(NeedBytes);
                    }
                }
            }
            if self.at >= self.extent.bytes {
                return Ok(Step::Other(self.at_end()));
            }
            if self.is_past_end {
                return Ok(self.behind_the_end());
            }
            match self.walk(&is_needed)? {
                Walked::Step(step) => return Ok(step),
                Walked::Passed => {}
                Walked::Damaged { search_at } => {
                    self.look = Some(Look::new(search_at, self.index));
                }
            }
        }
    }

    /// Looks at the frame where it has to be.
    fn walk(&mut self, asks: impl Fn(u32) -> bool) -> Result<Walked, NeedBytes> {
        let offset = self.at;
        let is_needed = asks(self.index);
        if is_needed {
            // It may be needed by now although it was not when its surroundings were to be looked at.
            self.doubt = Doubt::Unknown;
        }
        if let Doubt::Following(head) = self.doubt {
            let after = offset + to_u64(head.frame_bytes());
            let is_sound = match self.head_at(after)? {
                None => after == self.extent.bytes,
                Some(next) => {
                    next.index == head.index.saturating_add(1)
                        && next.records_before == head.records_after()
                }
            };
            if is_sound {
                self.pass(&head);
                return Ok(Walked::Step(Step::Other(Event::Skipped { offset, head })));
            }
            self.doubt = Doubt::Founded;
        }
        let Some(head) = self.head_at(offset)?.filter(|head| head.index == self.index) else {
            return Ok(Walked::Damaged { search_at: offset });
        };
        let is_skippable = self.doubt == Doubt::Unknown
            && head.has_records()
            && head.records_before == self.records
            && !is_needed;
        if is_skippable {
            self.doubt = Doubt::Following(head);
            return self.walk(asks);
        }
        let frame = self.window.at(offset, head.frame_bytes(), self.extent.bytes)?;
        let sealed = frame.get_mut(HEAD_BYTES..head.frame_bytes()).unwrap_or_default();
        let bytes = HEAD_BYTES..head.frame_bytes() - TAG_BYTES;
        if !opens(&self.keys, &self.digest, &head, sealed) {
            // What is left of it in the window is not what is in the file.
            self.window.clear();
            return Ok(Walked::Damaged { search_at: offset + 1 });
        }
        self.seen.learn(&head);
        self.pass(&head);
        Ok(match head.kind {
            FrameKind::End => Walked::Passed,
            FrameKind::Records | FrameKind::KeyedRecords if !is_needed => {
                Walked::Step(Step::Other(Event::Skipped { offset, head }))
            }
            FrameKind::Records | FrameKind::KeyedRecords => {
                Walked::Step(Step::Frame { offset, head, payload: bytes })
            }
        })
    }

    /// The head at `offset`, if there is a plausible one whose frame is there whole.
    fn head_at(&mut self, offset: u64) -> Result<Option<Head>, NeedBytes> {
        let end = self.extent.bytes;
        if end.saturating_sub(offset) < to_u64(HEAD_BYTES + TAG_BYTES) {
            return Ok(None);
        }
        let head = frame::parse_head(self.window.at(offset, HEAD_BYTES, end)?);
        Ok(head.ok().filter(|head| to_u64(head.frame_bytes()) <= end - offset))
    }

    fn pass(&mut self, head: &Head) {
        self.at += to_u64(head.frame_bytes());
        self.index = head.index.saturating_add(1);
        self.records = head.records_after();
        self.is_past_end = head.kind == FrameKind::End;
        self.doubt = Doubt::Unknown;
    }

    /// What is missing at damage, and where it goes on.
    fn damage(&mut self, look: &Look) -> Step {
        let end = self.extent.bytes;
        let known = (self.extent.frames > self.index).then_some((
            end,
            self.extent.frames,
            self.extent.records,
        ));
        let found = look.found().map(|(offset, head)| (offset, head.index, head.records_before));
        let goes_on = found.or(known);
        let (to_offset, index, records) = goes_on.unwrap_or((end, self.index, self.records));
        let damage = Damage {
            from_offset: self.at,
            to_offset,
            first: self.index,
            frames: index.saturating_sub(self.index),
            records: goes_on.map(|_| records.saturating_sub(self.records)),
            is_torn: !self.seen.is_closed && self.index >= self.seen.watermark,
        };
        (self.at, self.index, self.records) = (to_offset, index, records);
        self.doubt = Doubt::Unknown;
        Step::Other(Event::Damage(damage))
    }

    /// Where an end frame was, nothing more belongs.
    fn behind_the_end(&mut self) -> Step {
        let damage = Damage {
            from_offset: self.at,
            to_offset: self.extent.bytes,
            first: self.index,
            frames: 0,
            records: Some(0),
            is_torn: false,
        };
        self.at = self.extent.bytes;
        Step::Other(Event::Damage(damage))
    }

    fn at_end(&mut self) -> Event<'static> {
        self.window.clear();
        if !self.extent.is_final {
            return Event::Wait;
        }
        if self.extent.frames > self.index {
            let damage = Damage {
                from_offset: self.at,
                to_offset: self.at,
                first: self.index,
                frames: self.extent.frames - self.index,
                records: Some(self.extent.records.saturating_sub(self.records)),
                is_torn: false,
            };
            (self.index, self.records) = (self.extent.frames, self.extent.records);
            return Event::Damage(damage);
        }
        Event::End { records: self.records, is_closed: self.is_past_end }
    }
}
