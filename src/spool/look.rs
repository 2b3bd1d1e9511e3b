//! The look-ahead of the scanner: from damage on, the next frame that opens, and whether what is missing
//! before it was durable.
//!
//! Pure, like the scanner. It opens copies, since what does not open is not to be lost for the search. The
//! bytes that it tries to open in vain are bounded: a disk that was filled with heads by somebody costs
//! seconds, not days.

use memchr::memmem;

use super::frame::{self, FrameKind, HEAD_BYTES, Head, MAGIC};
use super::payload;
use super::scan::Extent;
use super::seal::{SegmentKeys, TAG_BYTES};
use super::window::{NeedBytes, Window, to_u64};

/// How much is tried in vain for one segment, in bytes; behind that, nothing of it is found any more.
const TRIED_BYTES_MAX: u64 = 1024 * 1024 * 1024;

/// What was learned of a segment from its frames that open.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Seen {
    /// The greatest watermark.
    pub(super) watermark: u32,
    /// Whether there is an end frame.
    pub(super) is_closed: bool,
    /// Whether all of the segment was seen, so that the watermark is the last one.
    is_all: bool,
    /// What was tried in vain.
    tried_bytes: u64,
}

impl Seen {
    /// Nothing yet, but that all frames below `watermark` are durable.
    pub(super) fn of(watermark: u32) -> Self {
        Self { watermark, ..Self::default() }
    }

    /// A frame with this head opened.
    pub(super) fn learn(&mut self, head: &Head) {
        self.watermark = self.watermark.max(head.durable_frames());
        self.is_closed |= head.kind == FrameKind::End;
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Look {
    /// The index that is missing.
    missing: u32,
    /// Where to look next.
    at: u64,
    /// The lowest index that the next frame can have.
    index: u32,
    found: Option<(u64, Head)>,
    /// What is opened.
    copy: Vec<u8>,
}

impl Look {
    /// Frame `missing` is not where it has to be; look for the next one from `search_at` on.
    pub(super) const fn new(search_at: u64, missing: u32) -> Self {
        Self { missing, at: search_at, index: missing, found: None, copy: Vec::new() }
    }

    /// The first frame behind the damage that opens, and where it lies.
    pub(super) const fn found(&self) -> Option<(u64, Head)> {
        self.found
    }

    /// Looks on. Says whether it is decided what the damage is; if not, the segment has to become longer.
    pub(super) fn go_on(
        &mut self,
        keys: &SegmentKeys,
        digest: &[u8; 32],
        extent: Extent,
        window: &mut Window,
        seen: &mut Seen,
    ) -> Result<bool, NeedBytes> {
        while !self.is_decided(seen) {
            let Some(head) = self.candidate(extent.bytes, window, seen)? else {
                seen.is_all |= extent.is_final;
                return Ok(extent.is_final);
            };
            let frame = window.at(self.at, head.frame_bytes(), extent.bytes)?;
            self.copy.clear();
            self.copy.extend(frame.iter().take(head.frame_bytes()).skip(HEAD_BYTES));
            if opens(keys, digest, &head, &mut self.copy) {
                seen.learn(&head);
                self.found.get_or_insert((self.at, head));
                self.index = head.index.saturating_add(1);
                self.at += to_u64(head.frame_bytes());
            } else {
                seen.tried_bytes += to_u64(head.frame_bytes());
                self.at += 1;
            }
        }
        Ok(true)
    }

    fn is_decided(&self, seen: &Seen) -> bool {
        self.found.is_some() && (seen.is_all || seen.is_closed || seen.watermark > self.missing)
    }

    /// Goes to the next place where a frame may begin that is there whole; gives its head.
    fn candidate(
        &mut self,
        end: u64,
        window: &mut Window,
        seen: &Seen,
    ) -> Result<Option<Head>, NeedBytes> {
        if seen.tried_bytes > TRIED_BYTES_MAX {
            self.at = end;
        }
        while end.saturating_sub(self.at) >= to_u64(HEAD_BYTES + TAG_BYTES) {
            let bytes = window.at(self.at, HEAD_BYTES, end)?;
            let Some(skipped) = memmem::find(bytes, &MAGIC) else {
                // The last bytes may be the beginning of one.
                self.at += to_u64(bytes.len() - (MAGIC.len() - 1));
                continue;
            };
            self.at += to_u64(skipped);
            if end.saturating_sub(self.at) < to_u64(HEAD_BYTES + TAG_BYTES) {
                break;
            }
            let head = frame::parse_head(window.at(self.at, HEAD_BYTES, end)?);
            let fits = |head: &Head| {
                head.index >= self.index && to_u64(head.frame_bytes()) <= end - self.at
            };
            if let Some(head) = head.ok().filter(fits) {
                return Ok(Some(head));
            }
            self.at += 1;
        }
        Ok(None)
    }
}

/// Opens a frame in place, and checks its payload.
pub(super) fn opens(keys: &SegmentKeys, digest: &[u8; 32], head: &Head, sealed: &mut [u8]) -> bool {
    match (head.kind, frame::open(keys, digest, head, sealed)) {
        (_, Err(_)) => false,
        (FrameKind::End, Ok(payload)) => payload.is_empty(),
        (FrameKind::Records | FrameKind::KeyedRecords, Ok(payload)) => {
            payload::parse(payload, head.kind, head.records).is_ok()
        }
    }
}
