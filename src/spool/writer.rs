//! The writer of one stream: takes what is to be kept, seals it, appends it, syncs once, and answers.
//!
//! ```text
//!  groups ─► ┐                     ┌─► batches on to the forwarder, parts secured
//!  copies ─► ├─ one group: seal ─► append ─► one fdatasync ─► copies spooled, records set aside
//!  letters ► ┘                     └─► the reader: which frames there are, all in hand
//! ```
//!
//! What came while a sync was under way is the next group. After an error nothing is tried again: the group
//! fails, its segment is over, and before another one is begun some time passes. It reads no segment
//! but those of dead letters that are replayed.

use std::mem;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender};

use super::counts::Counts;
use super::handle::{ReaderJob, SpillRoom, Wake, WriterJob};
use super::header::Kind;
use super::letter;
use super::log::{Log, LogError};
use super::metrics::WriterMetrics;
use super::onward::Onward;
use super::payload;
use super::pool::{Actor, Turn};
use super::segment::Laid;
use super::shared::Shared;
use super::shelf::Shelf;
use super::trouble::Trouble;
use super::words::{Letter, Spill, unix_ms};
use crate::pipeline::{Batch, NotDurable, Outflow, PartitionKeys, Ticket};
use crate::record::StreamName;

/// How often an idle writer looks whether it could write.
const IDLE_LOOK_INTERVAL: Duration = Duration::from_secs(5);

/// See the module.
pub(super) struct Writer {
    pub(super) stream: StreamName,
    pub(super) shared: Arc<Shared>,
    pub(super) outflow: Outflow,
    pub(super) jobs: Receiver<WriterJob>,
    pub(super) to_reader: Sender<ReaderJob>,
    pub(super) wake_reader: Wake,
    pub(super) counts: Arc<Counts>,
    pub(super) records: Log,
    pub(super) letters: Log,
    pub(super) trouble: Trouble,
    pub(super) metrics: WriterMetrics,
    pub(super) is_over: bool,
    /// Where it says that it is at its end.
    pub(super) done: Sender<()>,
    /// What is sealed and not yet synced, of each log.
    pub(super) pending: Vec<(Kept, Laid)>,
    pub(super) pending_letters: Vec<(Kept, Laid)>,
    pub(super) onward: Onward,
    pub(super) shelf: Shelf,
}

/// One thing that is to be kept.
pub(super) enum Kept {
    Group(Box<Batch>),
    Copy(Spill, SpillRoom),
    Letter(Letter, Option<Ticket>),
}

impl Kept {
    /// What there is to be sealed, in bytes, but for lengths.
    fn bytes(&self) -> usize {
        match self {
            Self::Group(batch) => {
                batch.bytes() + payload::keys_bytes(batch.partition_keys(), batch.len())
            }
            Self::Copy(spill, _) => {
                spill.bytes.len() + payload::keys_bytes(&spill.partition_keys, spill.lengths.len())
            }
            Self::Letter(letter, _) => {
                letter.record.len() + letter.partition_key.as_deref().map_or(0, str::len)
            }
        }
    }

    const fn kind(&self) -> Kind {
        match self {
            Self::Group(_) | Self::Copy(..) => Kind::Records,
            Self::Letter(..) => Kind::DeadLetters,
        }
    }
}

impl Actor for Writer {
    fn turn(&mut self, now: Instant) -> Turn {
        let (group, is_end) = self.take();
        if self.is_over {
            self.shelf = Shelf::default();
            return self.refuse(group);
        }
        let looked = self.look(now, is_end);
        for kept in group {
            match looked {
                Err(why) if !is_no_obstacle(&kept, why) => self.fail(kept, why),
                _ => self.keep(now, kept),
            }
        }
        self.commit(now, Kind::Records);
        self.commit(now, Kind::DeadLetters);
        if is_end {
            self.is_over = true;
            self.outflow.set_obstacle(Some(NotDurable::Stopping));
        }
        // A stop lets nothing linger: the forwarder delivers it while there is time.
        let is_hurried = self.is_over || self.shared.is_stopping();
        let due = if is_hurried { self.onward.take() } else { self.onward.due(now) };
        self.shared.speaker.say(due);
        // Only now: until then who looks finds it here or there.
        self.counts.onward.set(self.onward.records() as u64);
        let shelf = self.tend_shelf(now);
        self.end_what_is_due(now);
        // The reader, which knows when it becomes less, sleeps while it only becomes more.
        self.counts.bytes.set(self.records.share.used_bytes() as u64);
        if is_end {
            // Who stopped it may have stopped waiting.
            let _is_heard = self.done.send(()).is_ok();
        }
        self.rest(now).or_sooner(shelf)
    }
}

impl Writer {
    /// After the end nothing is taken any more, and nobody waits in vain.
    fn refuse(&self, group: Vec<Kept>) -> Turn {
        let is_all = group.is_empty();
        group.into_iter().for_each(|kept| self.fail(kept, NotDurable::Stopping));
        if self.outflow.rest() {
            self.shared.post.ring_all();
        }
        if is_all { Turn::Idle } else { Turn::Again }
    }

    /// Takes what makes the next group out of the queues. Says whether it is the last one.
    fn take(&mut self) -> (Vec<Kept>, bool) {
        let mut group = Vec::new();
        let mut bytes = 0;
        while bytes < self.shared.config.group_bytes_max {
            let kept = if let Some(batch) = self.outflow.try_take() {
                Kept::Group(batch)
            } else {
                match self.jobs.try_recv() {
                    Ok(WriterJob::Spill(spill, room)) => Kept::Copy(spill, room),
                    Ok(WriterJob::SetAside(letter, ticket)) => Kept::Letter(letter, ticket),
                    Ok(WriterJob::Replay(replay)) => {
                        self.shelf.ask(replay);
                        continue;
                    }
                    Ok(WriterJob::End) => return (group, true),
                    Err(_) => break,
                }
            };
            bytes += kept.bytes();
            group.push(kept);
        }
        (group, false)
    }

    /// Whether anything can be written now. A trouble that is not over yet is not looked at again, unless it
    /// is the last time, or a stop has just made room.
    fn look(&mut self, now: Instant, is_end: bool) -> Result<(), NotDurable> {
        let has_new_room = |why: NotDurable| self.shared.is_stopping() && is_about_room(why);
        if let Some(why) = self.trouble.waits(now)
            && !is_end
            && !has_new_room(why)
        {
            return Err(why);
        }
        let looked = self.records.look(now);
        let proved = match self.trouble.why() {
            // That a disk works again is known when a segment was begun on it.
            Some(NotDurable::DiskFailed | NotDurable::DiskFull) if looked.is_ok() => {
                self.records.ready(now, 1).map(drop)
            }
            _ => looked,
        };
        self.tell_begun();
        match proved {
            Ok(()) => {
                self.well();
                Ok(())
            }
            Err(error) => Err(self.met(now, &error)),
        }
    }

    /// Seals one thing into its log, or says that it can not be kept.
    fn keep(&mut self, now: Instant, kept: Kept) {
        let kind = kept.kind();
        if self.log(kind).is_full_for(kept.bytes()) {
            self.commit(now, kind);
            self.end_log(kind);
        }
        if let Some(why) = self.trouble.waits(now)
            && !is_no_obstacle(&kept, why)
        {
            return self.fail(kept, why);
        }
        match self.seal(now, &kept) {
            Ok(laid) => self.pending_of(kind).push((kept, laid)),
            Err(error) => {
                let why = match kind {
                    // A full store of dead letters stands in no record's way; a disk that fails does.
                    Kind::DeadLetters if error.why != NotDurable::DiskFailed => error.why,
                    Kind::Records | Kind::DeadLetters => self.met(now, &error),
                };
                self.fail(kept, why);
            }
        }
    }

    fn seal(&mut self, now: Instant, kept: &Kept) -> Result<Laid, LogError> {
        let began_at = Instant::now();
        let kind = kept.kind();
        let is_ready = self.log(kind).ready(now, kept.bytes()).map(drop);
        // The reader is to know of everything that lies there, whatever comes of it.
        self.tell_begun();
        is_ready?;
        let open = self.log(kind).open.as_mut();
        let segment = &mut open.ok_or_else(LogError::not_begun)?.segment;
        let laid = match kept {
            Kept::Group(batch) => {
                segment.seal(unix_ms(batch.opened_at()), batch.partition_keys(), batch.records())
            }
            Kept::Copy(spill, _) => {
                segment.seal(unix_ms(spill.opened_at), &spill.partition_keys, spill.records())
            }
            Kept::Letter(letter, _) => {
                let encoded = letter::encode(letter);
                let keys = PartitionKeys::collect(std::iter::once(letter.partition_key.as_deref()));
                let record = std::iter::once(encoded.as_slice());
                segment.seal(unix_ms(letter.opened_at), &keys, record)
            }
        };
        self.metrics.seal_seconds.record(began_at.elapsed().as_secs_f64());
        laid.map_err(LogError::from)
    }

    /// Makes what is pending of a log durable, and answers for it.
    fn commit(&mut self, now: Instant, kind: Kind) {
        let pending = mem::take(self.pending_of(kind));
        if pending.is_empty() {
            return;
        }
        let began_at = Instant::now();
        match self.log(kind).flush() {
            Ok(()) => {
                self.metrics.sync_seconds.record(began_at.elapsed().as_secs_f64());
                self.kept(kind, pending);
            }
            Err((error, over)) => {
                let why = self.met(now, &error);
                if let Some(over) = over {
                    self.tell_over(kind, over);
                }
                pending.into_iter().for_each(|(kept, _)| self.fail(kept, why));
            }
        }
    }

    /// Ends segments that are old, that nobody needs open, or that the stop leaves behind. Where there is no
    /// room, nothing can be added to a segment, and only one that is ended is taken away when it is delivered.
    fn end_what_is_due(&mut self, now: Instant) {
        let is_short = self.shared.is_short_of_files();
        let is_full = self.trouble.why().is_some_and(NotDurable::is_for_room);
        for kind in [Kind::Records, Kind::DeadLetters] {
            self.log(kind).tidy();
            let age_max = self.shared.config.segment_age_max;
            let Some(open) = &self.log(kind).open else { continue };
            let is_old = now.saturating_duration_since(open.segment.begun_at) >= age_max;
            if is_old || is_short || self.is_over || is_full && kind == Kind::Records {
                self.end_log(kind);
            }
        }
    }

    /// When to look again, and whether somebody is to be told that nothing is written now.
    fn rest(&mut self, now: Instant) -> Turn {
        // Who was put off by the bound of a group has woken it already, and does not do so again.
        if !self.jobs.is_empty() || self.outflow.has_more() {
            return Turn::Again;
        }
        if self.outflow.rest() {
            self.shared.post.ring_all();
        }
        if self.is_over {
            return Turn::Idle;
        }
        let looks_at = self.trouble.retry_at().unwrap_or(now + IDLE_LOOK_INTERVAL);
        let leaves_at = self.onward.leaves_at().unwrap_or(looks_at);
        Turn::At(looks_at.min(leaves_at).max(now + Duration::from_millis(1)))
    }

    pub(super) fn met(&mut self, now: Instant, error: &LogError) -> NotDurable {
        let LogError { why, message } = error;
        if self.trouble.met(now, *why) {
            self.counts.failures.add(u64::from(matches!(why, NotDurable::DiskFailed)));
            match why {
                // The first key of a life takes a moment.
                NotDurable::NoKey => {
                    tracing::debug!(stream = %self.stream, detail = %message, "no key yet")
                }
                NotDurable::DiskFailed => tracing::error!(
                    stream = %self.stream,
                    detail = %message,
                    "the disk of the spool failed; durable records are refused"
                ),
                _ => tracing::warn!(
                    stream = %self.stream,
                    reason = why.as_str(),
                    detail = %message,
                    "durable records are refused"
                ),
            }
        }
        self.counts.writing.set(Some(message.clone()));
        self.outflow.set_obstacle(Some(*why));
        *why
    }

    fn well(&mut self) {
        self.trouble.over();
        if self.outflow.obstacle().is_some() {
            self.counts.writing.set(None);
            self.outflow.set_obstacle(None);
        }
    }

    pub(super) fn log(&mut self, kind: Kind) -> &mut Log {
        match kind {
            Kind::Records => &mut self.records,
            Kind::DeadLetters => &mut self.letters,
        }
    }

    fn pending_of(&mut self, kind: Kind) -> &mut Vec<(Kept, Laid)> {
        match kind {
            Kind::Records => &mut self.pending,
            Kind::DeadLetters => &mut self.pending_letters,
        }
    }
}

/// Whether there may be none of it any more as soon as something is taken away.
const fn is_about_room(why: NotDurable) -> bool {
    matches!(why, NotDurable::StreamFull | NotDurable::SpoolFull | NotDurable::DiskFull)
}

/// Dead letters have a room of their own: that records have none does not stop them, and they make some.
const fn is_no_obstacle(kept: &Kept, why: NotDurable) -> bool {
    matches!(kept.kind(), Kind::DeadLetters)
        && matches!(why, NotDurable::StreamFull | NotDurable::SpoolFull)
}
