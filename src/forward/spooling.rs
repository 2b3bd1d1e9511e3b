//! One stream's dealings with its spool: copies to it, batches that are let go, notes, dead letters.
//!
//! What has to be done is `overflow`'s to say, and which records that concerns `plan`'s; the effects are
//! here. It waits for nothing: what became of a copy or a letter comes as a word.

use std::time::{Duration, Instant};

use super::flow::HURRIED_WAIT_MAX;
use super::letters::{Cause, Letters};
use super::metrics::SpoolMetrics;
use super::overflow::{self, Amount, Memory, Outlook, earlier};
use super::plan::Plan;
use super::request::Note;
use crate::aws::Backoff;
use crate::pipeline::{NotDurable, Share, Ticket};
use crate::record::StreamName;
use crate::spool::{Letter, StreamSpool};

/// When as many copies are on their way as may be, over all streams, this is asked again after so long.
const BUSY_WAIT: Duration = Duration::from_millis(50);

/// So much is copied in one go, in bytes; then answers have their turn.
const COPY_BYTES_TURN: usize = 4 * 1024 * 1024;

/// The first wait after a copy that could not be kept, and the last one.
const REFUSED_WAITS: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(10));

/// See the module.
pub(super) struct Spooling {
    spool: StreamSpool,
    pub(super) letters: Letters,
    pub(super) metrics: SpoolMetrics,
    is_wanted: bool,
    refusal: Option<Refusal>,
    refused_waits: Backoff,
    is_hurried: bool,
}

/// The disk takes no copies.
#[derive(Debug, Clone, Copy)]
struct Refusal {
    attempts: u32,
    again_at: Instant,
}

/// What tending to memory has brought.
#[derive(Debug, Default)]
pub(super) struct Tended {
    /// When to look again.
    pub(super) look_at: Option<Instant>,
    /// Who waited for batches that were let go.
    pub(super) tickets: Vec<Ticket>,
    /// Whether batches were let go.
    pub(super) has_let_go: bool,
}

impl Spooling {
    /// The dealings of `stream` with `spool`. Dead letters that are refused are tried again after
    /// `letter_waits`: the first wait, and the last one.
    pub(super) fn new(
        stream: &StreamName,
        spool: StreamSpool,
        letter_waits: (Duration, Duration),
    ) -> Self {
        Self {
            spool,
            letters: Letters::new(letter_waits.0, letter_waits.1),
            metrics: SpoolMetrics::new(stream),
            is_wanted: false,
            refusal: None,
            refused_waits: Backoff::new(REFUSED_WAITS.0, REFUSED_WAITS.1),
            is_hurried: false,
        }
    }

    /// The process stops, which has made room: the disk is asked again at once, and then soon.
    pub(super) fn hurry(&mut self, now: Instant) {
        let soon = now + HURRIED_WAIT_MAX;
        self.letters.shorten(soon);
        let at = if std::mem::replace(&mut self.is_hurried, true) { soon } else { now };
        if let Some(refusal) = &mut self.refusal {
            refusal.again_at = refusal.again_at.min(at);
        }
    }

    /// Whether the disk did not take the last copy.
    pub(super) const fn is_failing(&self) -> bool {
        self.refusal.is_some()
    }

    /// Whether the disk has nothing that is not delivered, nor will have.
    pub(super) fn has_no_backlog(&self) -> bool {
        let backlog = self.spool.backlog();
        backlog.undelivered == 0 && backlog.segments_uncounted == 0 && !backlog.is_growing
    }

    /// Whether fresh records are about to come from the disk.
    pub(super) fn is_expecting(&self) -> bool {
        let backlog = self.spool.backlog();
        backlog.is_growing || backlog.lingering > 0
    }

    /// Notes that records are settled.
    pub(super) fn note(&self, notes: impl IntoIterator<Item = Note>) {
        for (origin, numbers) in notes {
            self.spool.note(origin, numbers);
        }
    }

    /// Makes a dead letter of a record that was set aside under this name.
    pub(super) fn set_aside(&mut self, plan: &mut Plan, name: u64, cause: Cause) {
        self.letters.add(name, cause.clone());
        self.send_letter(plan, name, cause);
    }

    fn send_letter(&self, plan: &mut Plan, name: u64, cause: Cause) {
        let Some(enclosed) = plan.letter(name) else { return };
        self.spool.set_aside(Letter {
            id: name,
            record: enclosed.record,
            partition_key: enclosed.partition_key,
            opened_at: enclosed.opened_at,
            reason: cause.reason,
            code: cause.code,
            message: cause.message,
            origin: enclosed.origin,
        });
    }

    /// A copy could not be kept. The disk is asked again after a while.
    pub(super) fn refused(&mut self, now: Instant) {
        let attempts = match self.refusal {
            // Copies that were on their way together count once.
            Some(refusal) if refusal.again_at > now => return,
            Some(refusal) => refusal.attempts.saturating_add(1),
            None => 1,
        };
        let again_at = now + self.refused_waits.ceiling(attempts);
        self.refusal = Some(Refusal { attempts, again_at });
    }

    /// A copy was kept. Says whether the one before was not.
    pub(super) const fn kept(&mut self) -> bool {
        self.refusal.take().is_some()
    }

    /// Asks for the backlog, or asks for it no more.
    pub(super) fn want(&mut self, is_wanted: bool) {
        if self.is_wanted != is_wanted {
            self.is_wanted = is_wanted;
            self.spool.want(is_wanted);
        }
    }

    /// Lets go what memory need not hold, copies what it should not hold alone, and asks for the backlog
    /// or not. `is_shut`: nothing at all may leave, not even to ask with.
    pub(super) fn tend(
        &mut self,
        now: Instant,
        plan: &mut Plan,
        share: &Share,
        outlook: Outlook,
        is_shut: bool,
    ) -> Tended {
        for (name, cause) in self.letters.take_due(now) {
            self.send_letter(plan, name, cause);
        }
        let mut tended = Tended { look_at: self.letters.again_at(), ..Tended::default() };
        self.let_go(plan, share, outlook, &mut tended);
        tended.look_at = earlier(tended.look_at, self.copy_out(now, plan, share, outlook));
        // A stream that is held for its dead letters is not asked with records.
        let has_probe = plan.has_probe() || self.letters.block().is_some();
        self.want(!is_shut && overflow::wants_backlog(outlook, has_probe));
        tended
    }

    fn let_go(&self, plan: &mut Plan, share: &Share, outlook: Outlook, tended: &mut Tended) {
        let demand = overflow::demand(outlook, memory(share), 0);
        let (mut left, with_backlog) = match demand.let_go {
            Amount::None => return,
            Amount::Newest { bytes } => (bytes, false),
            Amount::All => (usize::MAX, true),
        };
        let mut below = None;
        while left > 0
            && let Some((id, bytes)) = plan.newest_secured(below, with_backlog)
        {
            below = Some(id);
            if outlook == Outlook::Blocked && plan.is_only_probe(id) {
                continue;
            }
            if let Some(gone) = plan.let_go(id) {
                left = left.saturating_sub(bytes);
                tended.has_let_go = true;
                tended.tickets.extend(gone.batch.tickets().map(|(_, ticket)| ticket));
                self.metrics.records_let_go.increment(gone.batch.len() as u64);
                self.spool.let_go(gone.origin);
            }
        }
    }

    /// Gives when to look again.
    fn copy_out(
        &self,
        now: Instant,
        plan: &mut Plan,
        share: &Share,
        outlook: Outlook,
    ) -> Option<Instant> {
        let demand = overflow::demand(outlook, memory(share), plan.on_its_way().bytes);
        let (mut left, with_pinned) = match demand.copy {
            Amount::None => (0, false),
            Amount::Newest { bytes } => (bytes, false),
            Amount::All => (usize::MAX, true),
        };
        let is_wanted = left > 0 && plan.newest_alone(None, with_pinned).is_some();
        if let Some(refusal) = self.refusal.filter(|refusal| refusal.again_at > now) {
            let is_awaited = plan.awaited(now).is_some();
            let again_at = (is_wanted || is_awaited).then_some(refusal.again_at);
            return earlier(again_at, plan.awaited_at().filter(|at| *at > now));
        }
        let mut turn = COPY_BYTES_TURN;
        while let Some(id) = plan.awaited(now) {
            match self.copy(plan, id) {
                Some(bytes) => turn = turn.saturating_sub(bytes),
                None => return Some(now + BUSY_WAIT),
            }
        }
        let mut below = None;
        while left > 0
            && let Some((id, bytes)) = plan.newest_alone(below, with_pinned)
        {
            if turn == 0 {
                return Some(now);
            }
            below = Some(id);
            let Some(copied) = self.copy(plan, id) else { return Some(now + BUSY_WAIT) };
            turn = turn.saturating_sub(copied);
            left = left.saturating_sub(bytes);
        }
        plan.awaited_at()
    }

    /// Sends a copy of a batch on its way. Gives its size, or nothing when none may go now.
    fn copy(&self, plan: &mut Plan, id: u64) -> Option<usize> {
        // Asked for first: while there is none, nothing is copied in vain.
        let room = self.spool.spill_room(plan.copy_bytes(id)?)?;
        let spill = plan.copy(id)?;
        let (name, records, bytes) = (spill.id, spill.lengths.len(), spill.bytes.len());
        self.spool.spill_into(room, spill);
        plan.copying(name, id, records);
        Some(bytes)
    }
}

/// Why a stream is held for its dead letters, in words.
pub(super) fn letters_refused(why: NotDurable) -> String {
    format!("records that the service refuses can not be set aside, since {why}")
}

fn memory(share: &Share) -> Memory {
    Memory { used: share.used_bytes(), room: share.room_bytes() }
}
