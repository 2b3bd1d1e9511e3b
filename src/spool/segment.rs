//! A segment that is being written: header first, frames sealed into a buffer, a group at a time on disk.
//!
//! An index is consumed when its frame is sealed, so that no nonce comes twice; after any error the segment
//! is over, and nothing is appended to it again. It decides nothing: when to sync, when to end and what an
//! error means is the writer's matter.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use super::frame::{self, FrameKind, HEAD_BYTES, Head};
use super::fs::{self, File, Storage};
use super::header::{self, Header, Kind};
use super::keyring::DataKey;
use super::seal::{self, SegmentKeys, TAG_BYTES};
use super::words::unix_ms;
use super::{names, payload};
use crate::pipeline::PartitionKeys;
use crate::record::{BATCH_RECORDS_MAX, StreamName};

/// What the frames of a segment are sealed and its notes authenticated with.
#[derive(Debug)]
pub(super) struct Seal {
    pub(super) keys: Arc<SegmentKeys>,
    /// Of the whole header.
    pub(super) digest: [u8; 32],
}

/// What a new segment is made of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Birth<'a> {
    pub(super) dir: &'a Path,
    /// Whether the folder is known to be there for good.
    pub(super) has_dir: bool,
    pub(super) id: u64,
    pub(super) kind: Kind,
    pub(super) stream: &'a StreamName,
    pub(super) now: Instant,
}

/// Where a frame lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Laid {
    pub(super) frame: u32,
    pub(super) records: u32,
    /// Where it begins in the segment's file.
    pub(super) offset: u64,
    /// Where the next one begins.
    pub(super) end: u64,
}

/// A segment that this life writes. See the module.
#[derive(Debug)]
pub(super) struct OpenSegment {
    pub(super) id: u64,
    pub(super) seal: Arc<Seal>,
    pub(super) begun_at: Instant,
    /// Where the first frame begins.
    pub(super) start: u64,
    path: PathBuf,
    file: Box<dyn File>,
    buffer: Vec<u8>,
    /// Frames that were sealed, in the buffer or written.
    frames: u32,
    records: u64,
    /// Frames that are known to be durable, and their records.
    durable: u32,
    durable_records: u64,
    /// How long the file is, without the buffer.
    bytes: u64,
}

/// Why a segment could not be begun.
#[derive(Debug)]
pub(super) enum BeginError {
    /// The disk refused, and nothing is there.
    Io(io::Error),
    /// The disk refused when the file was made. It holds nothing, and is to be taken away.
    Unborn(io::Error, PathBuf),
    /// The key can not be written down, or there is no randomness.
    Unfit(String),
}

impl From<io::Error> for BeginError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl fmt::Display for BeginError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) | Self::Unborn(error, _) => error.fmt(f),
            Self::Unfit(message) => f.write_str(message),
        }
    }
}

/// Room in the buffer that is kept from one group to the next.
const BUFFER_BYTES_KEPT: usize = 1024 * 1024;

/// How long an end frame is.
const END_BYTES: u64 = (HEAD_BYTES + TAG_BYTES) as u64;

impl OpenSegment {
    /// Makes the file, writes the header and makes both durable, with the folders that are missing.
    pub(super) fn begin(
        storage: &dyn Storage,
        birth: Birth<'_>,
        key: &DataKey,
    ) -> Result<Self, BeginError> {
        let unfit = |error: &dyn fmt::Display| BeginError::Unfit(error.to_string());
        let header = Header {
            id: birth.id,
            created_unix_ms: unix_ms(Instant::now()),
            kind: birth.kind,
            stream: birth.stream.clone(),
            key: key.wrapped().clone(),
            salt: seal::random().map_err(|error| unfit(&error))?,
        };
        let header::Encoded { bytes, digest, keys } =
            header::encode(&header, key).map_err(|error| unfit(&error))?;
        if !birth.has_dir {
            fs::ensure_dir(storage, birth.dir)?;
        }
        let path = birth.dir.join(names::segment_file(birth.id));
        let mut file = storage.create_new(&path)?;
        let written = file.append(&bytes).and_then(|()| file.sync_data());
        if let Err(error) = written.and_then(|()| storage.sync_dir(birth.dir)) {
            return Err(BeginError::Unborn(error, path));
        }
        Ok(Self {
            id: birth.id,
            seal: Arc::new(Seal { keys: Arc::new(keys), digest }),
            begun_at: birth.now,
            start: bytes.len() as u64,
            path,
            file,
            buffer: Vec::new(),
            frames: 0,
            records: 0,
            durable: 0,
            durable_records: 0,
            bytes: bytes.len() as u64,
        })
    }

    /// Where the file is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// How long the file will be when the buffer is written and the segment is ended.
    pub(super) const fn bytes_in_all(&self) -> u64 {
        self.bytes + self.buffer.len() as u64 + END_BYTES
    }

    /// How long the file will be when the buffer is written.
    pub(super) const fn bytes(&self) -> u64 {
        self.bytes + self.buffer.len() as u64
    }

    /// How much was sealed and not written yet.
    pub(super) const fn unwritten_bytes(&self) -> usize {
        self.buffer.len()
    }

    /// How many records were sealed into it.
    pub(super) const fn records(&self) -> u64 {
        self.records
    }

    /// How many frames are known to be durable.
    pub(super) const fn durable_frames(&self) -> u32 {
        self.durable
    }

    /// How many records are in those.
    pub(super) const fn durable_records(&self) -> u64 {
        self.durable_records
    }

    /// Seals a frame of these records, with their partition keys, into the buffer.
    pub(super) fn seal<'a>(
        &mut self,
        opened_unix_ms: u64,
        keys: &PartitionKeys,
        all: impl ExactSizeIterator<Item = &'a [u8]>,
    ) -> Result<Laid, BeginError> {
        let records = u32::try_from(all.len()).unwrap_or(u32::MAX);
        let unfit = |error: &dyn fmt::Display| BeginError::Unfit(error.to_string());
        if !(1..=BATCH_RECORDS_MAX).contains(&(records as usize)) {
            return Err(unfit(&format_args!("a frame of {records} records could not be read")));
        }
        let head = self.head(payload::kind_for(keys), records).map_err(|error| unfit(&error))?;
        let offset = self.bytes();
        let Seal { keys: sealed_with, digest } = &*self.seal;
        let payload = |out: &mut Vec<u8>| payload::append(out, opened_unix_ms, keys, all);
        frame::seal(sealed_with, digest, head, &mut self.buffer, payload).map_err(|error| {
            unfit(&format_args!("a batch of {} bytes is too large", error.bytes))
        })?;
        // Consumed with the nonce.
        self.frames += 1;
        self.records += u64::from(records);
        Ok(Laid { frame: head.index, records, offset, end: self.bytes() })
    }

    /// Writes what was sealed, and makes it durable.
    ///
    /// After an error the segment is over: it is never known what of it is on the disk.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.file.append(&self.buffer)?;
        self.file.sync_data()?;
        self.bytes += self.buffer.len() as u64;
        self.durable = self.frames;
        self.durable_records = self.records;
        self.buffer.clear();
        self.buffer.shrink_to(BUFFER_BYTES_KEPT);
        Ok(())
    }

    /// Ends the segment with its counts. Everything that was sealed is to be flushed before.
    pub(super) fn end(&mut self) -> io::Result<()> {
        let head = self.head(FrameKind::End, 0).map_err(io::Error::other)?;
        let Seal { keys, digest } = &*self.seal;
        frame::seal(keys, digest, head, &mut self.buffer, |_| ())
            .map_err(|_| io::Error::other("an end frame has no payload"))?;
        self.flush()
    }

    fn head(&self, kind: FrameKind, records: u32) -> Result<Head, seal::NoRandom> {
        Ok(Head {
            kind,
            index: self.frames,
            records,
            sealed_bytes: 0,
            watermark: self.durable,
            records_before: self.records,
            random: seal::random()?,
        })
    }
}
