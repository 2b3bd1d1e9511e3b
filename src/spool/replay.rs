//! Dead letters, sent on their way again: each is written into the stream's log as a fresh record, and only
//! when that is on the disk is it noted as replayed; a segment of which all letters are is taken away.
//!
//! ```text
//!  dead-letter segment ─► a group of letters ─► one frame, synced ─► the reader: backlog
//!                                                        └─► the note, synced ─► … ─► unlinked
//! ```
//!
//! A crash in between replays a group twice and loses nothing. A replay is a job of the stream's writer and
//! does one group a turn, so that fresh records wait for no more than that. It covers the segments that are
//! there when it begins: a letter that comes back lies behind them, and is not replayed again.

use std::collections::{BTreeSet, VecDeque};
use std::io::{self, ErrorKind};
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;

use super::handle::ReaderJob;
use super::header::Kind;
use super::letter::{self, LetterId};
use super::log::LogError;
use super::names::{self, FileName};
use super::old::{Eye, Found, Loaded};
use super::payload;
use super::pool::Turn;
use super::segment::Laid;
use super::tracked::{Read, ReadFrame, Tracked};
use super::writer::Writer;
use crate::pipeline::{NotDurable, Origin, PartitionKeys};
use crate::record::{BATCH_RECORDS_MAX, StreamName};

/// Which dead letters of a stream are to be replayed, and how long that may take.
#[derive(Debug, Clone)]
pub struct ReplayAsk {
    /// These alone, or all.
    pub ids: Option<BTreeSet<LetterId>>,
    /// No segment above this one: [`Replayed::segment_max`] of the replay that this one goes on with.
    pub segment_max: Option<u64>,
    /// When it is to end, whether it is through or not.
    pub until: Instant,
}

/// What became of a replay.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Replayed {
    /// The letters that are on their way again.
    pub letters: u64,
    /// The letters that can not be read, as far as they are known.
    pub letters_unreadable: u64,
    /// The last segment that it covers. 0 when there is none.
    pub segment_max: u64,
    /// Whether all that was asked for was gone through. If not, it may be asked again.
    pub is_through: bool,
    /// What was in the way: why it ended early, or why segments were left out.
    pub obstacles: Vec<String>,
}

/// A replay that was asked for. See the module.
pub(super) struct Replay {
    ask: ReplayAsk,
    answer: Sender<Replayed>,
    /// What is to be gone through, once it has begun.
    segments: Option<VecDeque<u64>>,
    reading: Option<Box<Tracked>>,
    /// What has to come before it goes on.
    waits_for: Option<String>,
    done: Replayed,
}

/// What comes next.
enum Step {
    GoOn,
    /// Something has to come first.
    WaitUntil(Instant, &'static str),
    Through,
}

/// Letters that go into one frame.
#[derive(Default)]
struct Group {
    records: Vec<Vec<u8>>,
    keys: PartitionKeys,
    ids: Vec<LetterId>,
    bytes: usize,
    accepted_unix_ms: u64,
}

/// How much goes into one frame, in bytes, but for the record that takes it there.
const GROUP_BYTES_MAX: usize = 1024 * 1024;

/// How often it is looked whether a key is there.
const KEY_INTERVAL: Duration = Duration::from_millis(100);

/// The most obstacles that are told one by one.
const OBSTACLES_MAX: usize = 16;

impl std::fmt::Debug for Replay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Replay").field("done", &self.done).finish_non_exhaustive()
    }
}

impl Replay {
    pub(super) fn new(ask: ReplayAsk, answer: Sender<Replayed>) -> Self {
        let done = Replayed::default();
        Self { ask, answer, segments: None, reading: None, waits_for: None, done }
    }

    /// Does the next piece. Says when to be called again; nothing when it is over and was answered.
    pub(super) fn go_on(&mut self, writer: &mut Writer, now: Instant) -> Option<Turn> {
        if writer.is_over {
            return self.end(writer, Some(NotDurable::Stopping.sentence().to_owned()));
        }
        if now >= self.ask.until {
            let why = self.waits_for.take();
            return self.end(writer, why);
        }
        if let (Some(why), Some(retry_at)) = (writer.trouble.waits(now), writer.trouble.retry_at())
        {
            self.waits_for = Some(why.sentence().to_owned());
            return Some(Turn::At(retry_at.min(self.ask.until)));
        }
        self.waits_for = None;
        match self.step(writer, now) {
            Ok(Step::GoOn) => Some(Turn::Again),
            Ok(Step::WaitUntil(at, why)) => {
                self.waits_for = Some(why.to_owned());
                Some(Turn::At(at.min(self.ask.until)))
            }
            Ok(Step::Through) => {
                self.done.is_through = true;
                self.end(writer, None)
            }
            Err(why) => self.end(writer, Some(why)),
        }
    }

    fn end(&mut self, writer: &Writer, why: Option<String>) -> Option<Turn> {
        self.done.obstacles.extend(why);
        let done = std::mem::take(&mut self.done);
        tracing::info!(
            stream = %writer.stream,
            letters = done.letters,
            is_through = done.is_through,
            "dead letters were replayed"
        );
        // Whoever asked may have gone.
        let _is_heard = self.answer.send(done).is_ok();
        None
    }

    fn step(&mut self, writer: &mut Writer, now: Instant) -> Result<Step, String> {
        let Some(segments) = &mut self.segments else {
            self.begin(writer).map_err(|error| error.to_string())?;
            return Ok(Step::GoOn);
        };
        let Some(mut segment) = self.reading.take() else {
            let Some(id) = segments.pop_front() else { return Ok(Step::Through) };
            return self.load(writer, id, now).map_err(|error| error.to_string());
        };
        let (group, is_read) =
            self.read(writer, &mut segment).map_err(|error| error.to_string())?;
        if !group.records.is_empty() {
            writer.append_again(now, &group).map_err(|error| error.message)?;
            self.done.letters += group.ids.len() as u64;
            let noted = writer.note_again(&mut segment, &group);
            // They are on their way; a note that could not be written lets them be replayed once more.
            noted
                .map_err(|error| format!("the note of dead letters can not be written: {error}"))?;
        }
        if !is_read {
            self.reading = Some(segment);
        } else if segment.is_done(now) && !segment.is_damaged {
            writer.take_letters_away(segment.id).map_err(|error| error.to_string())?;
        }
        Ok(Step::GoOn)
    }

    /// Ends the open segment, so that it can be read, and lists what is there.
    fn begin(&mut self, writer: &mut Writer) -> io::Result<()> {
        let max = self.ask.segment_max.unwrap_or(u64::MAX);
        if writer.letters.open.as_ref().is_some_and(|open| open.segment.id <= max) {
            writer.end_log(Kind::DeadLetters);
        }
        let entries = match writer.shared.storage.read_dir(&writer.letters.dir) {
            Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
            entries => entries?,
        };
        let mut ids: Vec<u64> = entries
            .iter()
            .filter_map(|entry| match names::parse_file(&entry.name) {
                Some(FileName::Segment(id)) if id <= max => Some(id),
                _ => None,
            })
            .collect();
        ids.sort_unstable();
        self.done.segment_max = self.ask.segment_max.or(ids.last().copied()).unwrap_or(0);
        if let Some(wanted) = &self.ask.ids {
            ids.retain(|id| wanted.iter().any(|letter| letter.segment == *id));
        }
        self.segments = Some(ids.into());
        Ok(())
    }

    fn load(&mut self, writer: &mut Writer, id: u64, now: Instant) -> io::Result<Step> {
        let found = match found(writer, id) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Step::GoOn),
            found => found?,
        };
        let stream: StreamName = writer.stream.clone();
        let eye = Eye {
            storage: writer.shared.storage.as_ref(),
            ring: writer.shared.ring.as_ref(),
            stream: &stream,
            kind: Kind::DeadLetters,
        };
        // It is looked for the key every now and then: nobody has to say that it is there.
        match eye.load(&found, Box::new(|| ()))? {
            Loaded::Ready { segment, .. } => self.reading = Some(segment),
            Loaded::Pending => {
                self.segments.get_or_insert_default().push_front(id);
                return Ok(Step::WaitUntil(
                    now + KEY_INTERVAL,
                    "the key of the dead letters is on its way",
                ));
            }
            Loaded::Unborn => writer.take_letters_away(id)?,
            Loaded::Waits(why) => self.leave_out(id, &why),
            Loaded::Unfit { why, records } => {
                self.done.letters_unreadable += records.unwrap_or(0);
                tracing::error!(%stream, segment = format!("{id:016x}"), reason = %why, "dead letters can not be opened");
                self.leave_out(id, &why);
            }
        }
        Ok(Step::GoOn)
    }

    fn leave_out(&mut self, id: u64, why: &str) {
        if self.done.obstacles.len() < OBSTACLES_MAX {
            self.done.obstacles.push(format!("segment {id:016x} was left out: {why}"));
        }
    }

    /// Reads the letters of the next group. Says whether the segment is read to its end.
    fn read(&mut self, writer: &Writer, segment: &mut Tracked) -> io::Result<(Group, bool)> {
        let mut group = Group::default();
        while group.records.len() < BATCH_RECORDS_MAX && group.bytes < GROUP_BYTES_MAX {
            match segment.read(writer.shared.storage.as_ref(), usize::MAX)? {
                Read::Frame(frame) => self.choose(segment.id, &frame, &mut group),
                Read::Damage(damage) => {
                    let records = segment.damaged(&damage).unwrap_or(0);
                    if !damage.is_torn {
                        self.done.letters_unreadable += records;
                        tracing::error!(
                            stream = %writer.stream,
                            segment = format!("{:016x}", segment.id),
                            offset = damage.from_offset,
                            records,
                            "a segment of dead letters is damaged: these can not be read, and it stays where it is"
                        );
                    }
                }
                Read::Nothing => return Ok((group, true)),
                Read::Next(_) => {}
            }
        }
        Ok((group, false))
    }

    /// Takes the letters of a frame that are wanted. The others keep the segment where it is.
    fn choose(&mut self, segment: u64, frame: &ReadFrame, group: &mut Group) {
        for (place, number) in &frame.wanted {
            let id = LetterId { segment, frame: frame.frame, number: *number };
            if self.ask.ids.as_ref().is_some_and(|ids| !ids.contains(&id)) {
                continue;
            }
            let Some(view) = frame.bytes.get(place.clone()).and_then(letter::decode) else {
                self.done.letters_unreadable += 1;
                continue;
            };
            let oldest = if group.ids.is_empty() { u64::MAX } else { group.accepted_unix_ms };
            group.accepted_unix_ms = oldest.min(view.accepted_unix_ms);
            group.bytes += view.record.len();
            if let Some(key) = frame.keys.get(usize::from(*number)) {
                group.keys.set(group.records.len(), key);
            }
            group.records.push(view.record.to_owned());
            group.ids.push(id);
        }
    }
}

/// A segment of dead letters as it is now.
fn found(writer: &Writer, id: u64) -> io::Result<Found> {
    let storage = &writer.shared.storage;
    let path = writer.letters.dir.join(names::segment_file(id));
    let note_path = writer.letters.dir.join(names::note_file(id));
    let bytes = storage.open_read(&path)?.bytes()?;
    let note_bytes = match storage.open_read(&note_path) {
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        note => Some(note?.bytes()?),
    };
    Ok(Found { id, path, bytes, note_path, note_bytes })
}

impl Writer {
    /// Writes letters into the log as records that lie on disk alone.
    fn append_again(&mut self, now: Instant, group: &Group) -> Result<(), LogError> {
        let bytes = group.bytes + payload::keys_bytes(&group.keys, group.records.len());
        if self.records.is_full_for(bytes) {
            self.end_log(Kind::Records);
        }
        // That there is no room for these is no obstacle for what is smaller.
        let refused_bytes = self.records.refused_bytes;
        let sealed = self.records.ready(now, bytes).and_then(|segment| {
            let records = group.records.iter().map(Vec::as_slice);
            let laid = segment.seal(group.accepted_unix_ms, &group.keys, records);
            Ok((segment.id, laid?))
        });
        self.tell_begun();
        let (segment, laid) = sealed.inspect_err(|error| {
            self.records.refused_bytes = refused_bytes;
            if error.why == NotDurable::DiskFailed {
                self.met(now, error);
            }
        })?;
        if let Err((error, over)) = self.records.flush() {
            self.met(now, &error);
            if let Some(over) = over {
                self.tell_over(Kind::Records, over);
            }
            return Err(error);
        }
        let Laid { frame, records, offset, end } = laid;
        self.counts.written.add(u64::from(records));
        self.counts.written_bytes.add(end - offset);
        self.counts.records.add(u64::from(records));
        self.counts.dead_letters_replayed.add(u64::from(records));
        self.mention(ReaderJob::Synced { segment, frames: vec![laid] });
        // Nobody has them in memory: they are read from the disk.
        self.tell(ReaderJob::LetGo(Origin { segment, frame }));
        Ok(())
    }

    /// Notes letters as replayed.
    fn note_again(&mut self, segment: &mut Tracked, group: &Group) -> io::Result<()> {
        for id in &group.ids {
            segment.note(id.frame, &[id.number]);
        }
        let storage = self.shared.storage.as_ref();
        let written = segment.write_note(storage);
        if let Some(room) = self.letters.left.get_mut(&segment.id) {
            room.grow_anyway(segment.take_note_bytes());
        }
        written?;
        segment.sync_note(storage).map(drop)
    }

    fn take_letters_away(&mut self, id: u64) -> io::Result<()> {
        let (storage, dir) = (&self.shared.storage, &self.letters.dir);
        // The segment first: a note without one is nothing, a segment without its note is replayed again.
        for name in [names::segment_file(id), names::note_file(id)] {
            match storage.remove(&dir.join(name)) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        storage.sync_dir(dir)?;
        self.letters.left.remove(&id);
        self.count_shelf();
        Ok(())
    }
}
