//! A segment of an earlier life: from a file that was found to one whose frames can be read.
//!
//! It reads the header, the note and the end, and asks for the key. That a key is away, or a disk fails, is
//! never damage: the segment waits. It changes nothing on the disk.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use memchr::memmem;

use super::frame::{self, FrameKind, HEAD_BYTES, Head};
use super::fs::{self, File, Storage};
use super::header::{self, HEADER_BYTES_MAX, HeaderError, Kind, Parsed};
use super::keyring::{KeyRing, UnwrapError, Unwrapped};
use super::note;
use super::noted::Noted;
use super::scan::Extent;
use super::seal::TAG_BYTES;
use super::segment::Seal;
use super::tracked::Tracked;
use crate::record::StreamName;

/// The longest note that is read: one that is longer is read up to here.
const NOTE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// What a record takes in a segment at least: its length.
const RECORD_BYTES_MIN: u64 = 4;

/// A file that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) id: u64,
    pub(super) path: PathBuf,
    pub(super) bytes: u64,
    pub(super) note_path: PathBuf,
    pub(super) note_bytes: Option<u64>,
}

/// What a file that was found is.
#[derive(Debug)]
pub(super) enum Loaded {
    /// A segment that can be read. `records`: how many records are left in it, where that is known.
    Ready { segment: Box<Tracked>, records: Option<u64>, unverified_note_bytes: u64 },
    /// Its key is on its way.
    Pending,
    /// It can not be opened now, for a reason that somebody can remove.
    Waits(String),
    /// It can never be opened: why, and how many records its end claims.
    Unfit { why: String, records: Option<u64> },
    /// Its making was cut short: nobody was promised anything of it.
    Unborn,
}

/// What is needed to look at a file.
pub(super) struct Eye<'a> {
    pub(super) storage: &'a dyn Storage,
    pub(super) ring: &'a dyn KeyRing,
    pub(super) stream: &'a StreamName,
    pub(super) kind: Kind,
}

impl Eye<'_> {
    /// Looks at a file. `ready` is called when a key that is on its way may be there.
    ///
    /// # Errors
    /// Those of the disk. Nothing is known of the file then.
    pub(super) fn load(
        &self,
        found: &Found,
        ready: Box<dyn FnOnce() + Send>,
    ) -> io::Result<Loaded> {
        let file = self.storage.open_read(&found.path)?;
        let parsed = match self.header(found, file.as_ref())? {
            Ok(parsed) => parsed,
            Err(loaded) => return Ok(loaded),
        };
        let key = match self.ring.unwrap(self.stream, &parsed.header.key, ready) {
            Unwrapped::Ready(key) => key,
            Unwrapped::Pending => return Ok(Loaded::Pending),
            Unwrapped::Refused(error) => return refused(error, found, file.as_ref()),
        };
        let Ok(keys) = parsed.keys(&key) else {
            let why = "its header was changed, or its key is another one".to_owned();
            return unfit(why, found, file.as_ref());
        };
        let seal = Seal { keys: Arc::new(keys), digest: parsed.digest };
        let (noted, unverified_note_bytes) = self.noted(found, &seal)?;
        let end = end(file.as_ref(), found.bytes)?
            .filter(|head| opens(&seal, head, file.as_ref(), found));
        let mut extent = Extent::found(found.bytes);
        if let Some(head) = &end {
            (extent.frames, extent.records) = (head.index, head.records_before);
        }
        // How many records the frames that are noted whole had is known when they are passed.
        let is_untouched = noted.whole_frames() == 0 && noted == Noted::default();
        let records = end.filter(|_| is_untouched).map(|head| head.records_before);
        let paths = (found.path.clone(), found.note_path.clone());
        let start = parsed.bytes as u64;
        let mut segment = Tracked::found(found.id, paths, start, Arc::new(seal), extent, noted);
        segment.is_uncounted = records.is_none();
        Ok(Loaded::Ready { segment: Box::new(segment), records, unverified_note_bytes })
    }

    fn header(&self, found: &Found, file: &dyn File) -> io::Result<Result<Parsed, Loaded>> {
        let mut bytes = vec![0; HEADER_BYTES_MAX];
        let count = file.read_at(0, &mut bytes)?;
        bytes.truncate(count);
        // A file that something was written into behind its header is longer, has a frame or has a note: if
        // its header is not there, that is damage.
        let may_be_unborn = count < HEADER_BYTES_MAX
            && found.note_bytes.is_none()
            && memmem::find(&bytes, &frame::MAGIC).is_none();
        let parsed = match header::decode(&bytes) {
            Ok(parsed) => parsed,
            Err(HeaderError::TooShort) if may_be_unborn => return Ok(Err(Loaded::Unborn)),
            Err(HeaderError::Version(version)) => {
                return Ok(Err(Loaded::Waits(format!(
                    "it has format version {version}, which this version of Standpipe does not read"
                ))));
            }
            // A crash may have left the file its length and nothing of what was written.
            Err(HeaderError::NotASegment)
                if may_be_unborn && bytes.iter().all(|byte| *byte == 0) =>
            {
                return Ok(Err(Loaded::Unborn));
            }
            Err(error) => return unfit(error.to_string(), found, file).map(Err),
        };
        let header = &parsed.header;
        let is_its_own =
            header.id == found.id && header.stream == *self.stream && header.kind == self.kind;
        if is_its_own {
            return Ok(Ok(parsed));
        }
        let why = format!(
            "it is segment {:016x} of the stream {}, and not this one",
            header.id, header.stream
        );
        unfit(why, found, file).map(Err)
    }

    fn noted(&self, found: &Found, seal: &Seal) -> io::Result<(Noted, u64)> {
        let mut noted = Noted::default();
        if found.note_bytes.is_none() {
            return Ok((noted, 0));
        }
        let file = self.storage.open_read(&found.note_path)?;
        let bytes = fs::read_start(file.as_ref(), NOTE_BYTES_MAX)?;
        let scanned = note::scan(&seal.keys, found.id, &bytes, |entry| noted.apply(&entry));
        Ok((noted, scanned.unverified_bytes))
    }
}

fn refused(error: UnwrapError, found: &Found, file: &dyn File) -> io::Result<Loaded> {
    let why = match error {
        UnwrapError::Foreign { key_id } => {
            format!("its key {key_id} is not listed: add it to keys.decrypt_only if it is yours")
        }
        UnwrapError::Disabled { message } => format!("its key can not be used: {message}"),
        UnwrapError::Unavailable { message } => format!("the key service is away: {message}"),
        UnwrapError::Invalid { message } => {
            return unfit(format!("its data key can not be unwrapped: {message}"), found, file);
        }
    };
    Ok(Loaded::Waits(why))
}

fn unfit(why: String, found: &Found, file: &dyn File) -> io::Result<Loaded> {
    // Nobody vouches for it; what can not be true is not repeated.
    let claims = end(file, found.bytes)?.map(|head| head.records_before);
    let records = claims.filter(|records| *records <= found.bytes / RECORD_BYTES_MIN);
    Ok(Loaded::Unfit { why, records })
}

/// What the last bytes of a segment say, if they are the head of an end frame. Not to be believed yet.
pub(super) fn end(file: &dyn File, bytes: u64) -> io::Result<Option<Head>> {
    let mut head = [0; HEAD_BYTES];
    let Some(at) = bytes.checked_sub((HEAD_BYTES + TAG_BYTES) as u64) else { return Ok(None) };
    if file.read_at(at, &mut head)? < HEAD_BYTES {
        return Ok(None);
    }
    Ok(frame::parse_head(&head).ok().filter(|head| head.kind == FrameKind::End))
}

/// Whether the end frame is to be believed.
fn opens(seal: &Seal, head: &Head, file: &dyn File, found: &Found) -> bool {
    let mut tag = [0; TAG_BYTES];
    let at = found.bytes.saturating_sub(TAG_BYTES as u64);
    file.read_at(at, &mut tag).is_ok_and(|count| count == TAG_BYTES)
        && frame::open(&seal.keys, &seal.digest, head, &mut tag).is_ok()
}
