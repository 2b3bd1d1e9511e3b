//! The other half of a writer: what it says to those who wait, to the forwarder and to the reader.
//!
//! It seals, writes and decides nothing.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::handle::ReaderJob;
use super::header::Kind;
use super::log::Over;
use super::segment::Laid;
use super::words::Word;
use super::writer::{Kept, Writer};
use crate::pipeline::{NotDurable, Origin, Ticket, Word as Settled};

impl Writer {
    /// The group is on the disk: whoever waits for it hears that, each worker once.
    pub(super) fn kept(&mut self, kind: Kind, pending: Vec<(Kept, Laid)>) {
        let Some(segment) = self.log(kind).open.as_ref().map(|open| open.segment.id) else {
            return;
        };
        let frames: Vec<Laid> = pending.iter().map(|(_, laid)| *laid).collect();
        let records: u64 = frames.iter().map(|laid| u64::from(laid.records)).sum();
        let bytes: u64 = frames.iter().map(|laid| laid.end - laid.offset).sum();
        self.metrics.group_records.record(u32::try_from(records).map_or(f64::MAX, f64::from));
        self.counts.written.add(records);
        self.counts.written_bytes.add(bytes);
        self.shared.ring.used(&self.stream, bytes);
        if let Some(had) = self.trouble.proved_over()
            && had != NotDurable::NoKey
        {
            let reason = had.as_str();
            tracing::info!(stream = %self.stream, reason, "the spool takes durable records again");
        }
        if kind == Kind::Records {
            self.counts.records.add(records);
            // It is not woken: it hears of the frames before the first note of one of them.
            self.mention(ReaderJob::Synced { segment, frames });
        } else {
            self.count_shelf();
        }
        let mut tickets: Vec<(Ticket, Settled)> = Vec::new();
        let mut words = Vec::with_capacity(pending.len());
        for (kept, laid) in pending {
            let origin = Origin { segment, frame: laid.frame };
            match kept {
                Kept::Group(mut batch) => {
                    tickets.extend(
                        batch.take_parts().into_iter().map(|part| (part, Settled::Secured)),
                    );
                    batch.secure(origin);
                    self.onward.push(batch);
                }
                Kept::Copy(spill, room) => {
                    drop(room);
                    let stream = self.stream.clone();
                    words.push(Word::Spooled { stream, id: spill.id, result: Ok(origin) });
                }
                Kept::Letter(letter, ticket) => {
                    self.counts.dead_letters.add(1);
                    if let Some((origin, number)) = letter.origin {
                        self.tell(ReaderJob::Note { origin, numbers: vec![number] });
                    }
                    if let Some(ticket) = ticket {
                        self.is_off_its_way(letter.record.capacity());
                        tickets.push((ticket, Settled::Secured));
                        continue;
                    }
                    let stream = self.stream.clone();
                    words.push(Word::SetAside { stream, id: letter.id, result: Ok(()) });
                }
            }
        }
        self.counts.onward.set(self.onward.records() as u64);
        // At rest before the workers are woken: they hand over what they kept open meanwhile.
        let is_awaited = self.outflow.rest();
        self.shared.post.settle(tickets);
        if is_awaited {
            self.shared.post.ring_all();
        }
        self.shared.speaker.say(words);
    }

    /// Says that something is not kept.
    pub(super) fn fail(&self, kept: Kept, why: NotDurable) {
        let stream = self.stream.clone();
        match kept {
            Kept::Group(mut batch) => {
                let parts = batch.take_parts().into_iter();
                self.shared.post.settle(parts.map(|part| (part, Settled::Refused(why))));
            }
            Kept::Copy(spill, room) => {
                drop(room);
                self.shared.speaker.say([Word::Spooled { stream, id: spill.id, result: Err(why) }]);
            }
            Kept::Letter(letter, Some(ticket)) => {
                self.is_off_its_way(letter.record.capacity());
                self.shared.post.settle([(ticket, Settled::Refused(why))]);
            }
            Kept::Letter(letter, None) => {
                self.shared.speaker.say([Word::SetAside {
                    stream,
                    id: letter.id,
                    result: Err(why),
                }]);
            }
        }
    }

    /// Bytes that were on their way to here are no more.
    fn is_off_its_way(&self, bytes: usize) {
        self.shared.spilling_bytes.fetch_sub(bytes, Ordering::AcqRel);
    }

    pub(super) fn end_log(&mut self, kind: Kind) {
        if let Some(over) = self.log(kind).end() {
            if let Some(error) = &over.error {
                tracing::warn!(
                    stream = %self.stream,
                    segment = over.segment,
                    %error,
                    "a segment has no end frame: what is durable of it is read all the same"
                );
                self.counts.failures.add(1);
            }
            self.tell_over(kind, over);
        }
    }

    pub(super) fn tell_begun(&mut self) {
        let Some(open) = self.records.open.as_mut().filter(|open| !open.is_told) else { return };
        open.is_told = true;
        let segment = &open.segment;
        let job = ReaderJob::Begun {
            segment: segment.id,
            path: segment.path().to_owned(),
            start: segment.start,
            seal: Arc::clone(&segment.seal),
        };
        self.counts.segments.add(1);
        self.mention(job);
    }

    pub(super) fn tell_over(&mut self, kind: Kind, over: Over) {
        let Over { segment, frames, records, bytes: _, room, error: _ } = over;
        if kind == Kind::Records {
            self.tell(ReaderJob::Ended { segment, frames, records, room });
        } else {
            // Dead letters stay until they are replayed, and so does the room that they take.
            self.letters.left.insert(segment, room);
            self.count_shelf();
        }
    }

    pub(super) fn tell(&self, job: ReaderJob) {
        self.mention(job);
        (self.wake_reader)();
    }

    pub(super) fn mention(&self, job: ReaderJob) {
        // The reader lives as long as the pool.
        let _is_heard = self.to_reader.send(job).is_ok();
    }
}
