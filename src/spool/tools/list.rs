//! What lies in the directory of a spool: by listings, headers and end frames. It needs no key.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::super::dirs::LOCK;
use super::super::fs::{Disk, Storage};
use super::super::header::{self, HEADER_BYTES_MAX, Header, HeaderError, Kind};
use super::super::names::{self, FileName};
use super::super::old;
use super::super::shared::{DEAD_LETTERS, QUARANTINE, STREAMS};
use super::files::{Claim, KeyFacts, Place, SegmentFile, State};
use crate::record::StreamName;

/// The directory of a spool, to be looked into. See the module above.
#[derive(Debug, Clone)]
pub struct Inspector {
    pub(super) storage: Arc<dyn Storage>,
    dir: PathBuf,
}

/// What there is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    /// Whether a process has the directory.
    pub is_alive: bool,
    /// The segments, by stream, place and age.
    pub segments: Vec<SegmentFile>,
}

/// Why nothing is listed.
#[derive(Debug)]
pub enum ListError {
    /// There is no spool.
    NoSpool {
        /// Where it was looked for.
        dir: PathBuf,
    },
    /// The file system refuses.
    Io {
        /// The path.
        path: PathBuf,
        /// What it says.
        error: io::Error,
    },
}

impl fmt::Display for ListError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSpool { dir } => write!(
                f,
                "there is no spool at {}: it is made when standpipe first starts with it",
                dir.display()
            ),
            Self::Io { path, error } => write!(f, "{} can not be read: {error}", path.display()),
        }
    }
}

impl std::error::Error for ListError {}

impl Inspector {
    /// Of the spool in this directory.
    #[must_use]
    pub fn new(dir: PathBuf) -> Self {
        Self::on(Arc::new(Disk), dir)
    }

    pub(in super::super) fn on(storage: Arc<dyn Storage>, dir: PathBuf) -> Self {
        Self { storage, dir }
    }

    /// The directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What there is of all streams, or of one.
    ///
    /// # Errors
    /// [`ListError`] when there is no spool, or it can not be listed. A single file that can not be read is
    /// listed as such.
    pub fn list(&self, only: Option<&StreamName>) -> Result<Listing, ListError> {
        let io = |path: &Path, error: io::Error| match error.kind() {
            ErrorKind::NotFound => ListError::NoSpool { dir: self.dir.clone() },
            _ => ListError::Io { path: path.to_owned(), error },
        };
        let lock = self.dir.join(LOCK);
        let is_alive = self.storage.is_locked(&lock).map_err(|error| io(&lock, error))?;
        let mut segments = Vec::new();
        for place in Place::ALL {
            let dir = self.dir.join(folder(place));
            for (stream, dir) in self.streams_in(&dir).map_err(|error| io(&dir, error))? {
                if only.is_none_or(|only| *only == stream) {
                    let found = self.segments_in(place, &stream, &dir, is_alive);
                    segments.extend(found.map_err(|error| io(&dir, error))?);
                }
            }
        }
        segments.sort_by(|a, b| (&a.stream, a.place, a.id).cmp(&(&b.stream, b.place, b.id)));
        Ok(Listing { is_alive, segments })
    }

    fn streams_in(&self, dir: &Path) -> io::Result<Vec<(StreamName, PathBuf)>> {
        let entries = self.storage.read_dir(dir)?;
        let folders = entries.into_iter().filter(|entry| entry.is_dir);
        Ok(folders
            .filter_map(|folder| Some((names::decode(&folder.name)?, dir.join(&folder.name))))
            .collect())
    }

    fn segments_in(
        &self,
        place: Place,
        stream: &StreamName,
        dir: &Path,
        is_alive: bool,
    ) -> io::Result<Vec<SegmentFile>> {
        let mut segments = BTreeMap::new();
        let mut notes = BTreeMap::new();
        for entry in self.storage.read_dir(dir)? {
            match names::parse_file(&entry.name) {
                Some(FileName::Segment(id)) => drop(segments.insert(id, entry.bytes)),
                Some(FileName::Note(id)) => drop(notes.insert(id, entry.bytes)),
                None => {}
            }
        }
        let last = segments.keys().next_back().copied();
        let files = segments.iter().filter_map(|(id, bytes)| {
            let mut file = SegmentFile {
                place,
                stream: stream.clone(),
                id: *id,
                path: dir.join(names::segment_file(*id)),
                state: State::NoEnd,
                claim: None,
                created_unix_ms: None,
                key: None,
                bytes: *bytes,
                note_bytes: notes.get(id).copied().unwrap_or(0),
            };
            match self.look(&mut file) {
                // It was taken away since the listing: that is how a delivered segment ends.
                Err(error) if error.kind() == ErrorKind::NotFound => return None,
                Err(error) => file.state = State::Failed(error.to_string()),
                Ok(()) => {}
            }
            let is_written = is_alive && Some(*id) == last && place != Place::Quarantine;
            if is_written && file.state == State::NoEnd {
                file.state = State::Open;
            }
            Some(file)
        });
        Ok(files.collect())
    }

    /// Reads the two ends of a segment.
    fn look(&self, found: &mut SegmentFile) -> io::Result<()> {
        let file = self.storage.open_read(&found.path)?;
        found.bytes = file.bytes()?;
        let mut bytes = vec![0; HEADER_BYTES_MAX];
        let count = file.read_at(0, &mut bytes)?;
        bytes.truncate(count);
        let header = match header::decode(&bytes) {
            Ok(parsed) => parsed.header,
            Err(error) => {
                found.state = state_of(error, &bytes);
                return Ok(());
            }
        };
        found.created_unix_ms = Some(header.created_unix_ms);
        found.state = strange(found, &header).map_or(State::NoEnd, State::Unfit);
        let key = header.key;
        found.key = Some(KeyFacts { provider: key.provider, key_id: key.key_id });
        if let Some(end) = old::end(file.as_ref(), found.bytes)? {
            found.claim = Some(Claim { frames: end.index, records: end.records_before });
            if found.state == State::NoEnd {
                found.state = State::Closed;
            }
        }
        Ok(())
    }
}

fn state_of(error: HeaderError, bytes: &[u8]) -> State {
    match error {
        HeaderError::TooShort => State::Unborn,
        // A crash may have left the file its length and nothing of what was written.
        HeaderError::NotASegment if bytes.iter().all(|byte| *byte == 0) => State::Unborn,
        HeaderError::Version(_) | HeaderError::Suite(_) => State::Foreign(error.to_string()),
        HeaderError::NotASegment | HeaderError::Malformed(_) => State::Unfit(error.to_string()),
    }
}

/// What is wrong with where a segment lies.
fn strange(found: &SegmentFile, header: &Header) -> Option<String> {
    let is_its_own = header.id == found.id
        && header.stream == found.stream
        && match found.place {
            Place::Streams => header.kind == Kind::Records,
            Place::DeadLetters => header.kind == Kind::DeadLetters,
            Place::Quarantine => true,
        };
    (!is_its_own).then(|| {
        let kind = match header.kind {
            Kind::Records => "segment",
            Kind::DeadLetters => "dead-letter segment",
        };
        format!("it is {kind} {:016x} of the stream {}, and not this one", header.id, header.stream)
    })
}

const fn folder(place: Place) -> &'static str {
    match place {
        Place::Streams => STREAMS,
        Place::DeadLetters => DEAD_LETTERS,
        Place::Quarantine => QUARANTINE,
    }
}
