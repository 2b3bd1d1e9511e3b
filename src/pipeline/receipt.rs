//! Receipts: how the sender of a record learns what became of it.
//!
//! A request that waits opens a receipt in its worker's book. It waits for records, each of which has a
//! ticket, until the service or the spool has them; and for parts, one for each batch that its records are
//! in, until the spool has those. Whoever settles a group writes its tickets into the worker's channel and
//! rings its bell once: one wake-up per worker and group, not per receipt. A request that waits no longer
//! drops its receipt; tickets that come later are then for nobody. Books never leave their worker's thread.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use crossbeam_channel::{Receiver, Sender};

use super::bell::Bell;
use super::budget::{NoRoom, Reservation, Share};
use super::durable::NotDurable;
use crate::record::BATCH_RECORDS_MAX;

/// What it costs to wait for a record, in bytes: its place in the receipt.
const PLACE_BYTES: usize = 32;

/// What it costs to wait at all, in bytes: the slot, and a ticket in each of a few batches.
const RECEIPT_BYTES: usize = 256;

/// What the id of a record that was delivered costs until its request is answered, in bytes: with its
/// copy in the answer. Source: the ids of the service have about 225 characters.
const ID_BYTES: usize = 480;

const _: () = assert!(size_of::<Place>() <= PLACE_BYTES, "a place is paid for");

const _: () =
    assert!(size_of::<Slot>() + 4 * size_of::<Ticket>() <= RECEIPT_BYTES, "a slot is paid for");

/// Names one record, or one part, of one waiting request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket {
    worker: u16,
    slot: u32,
    /// Tells a receipt from an earlier one in the same slot.
    life: u32,
    /// The record's index in its request, or [`PART`].
    index: u32,
}

/// The index of a ticket that stands for a whole part.
const PART: u32 = u32::MAX;

/// What the service said of one record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivered {
    /// The id that the service gave it.
    pub record_id: Box<str>,
    /// Whether the service says that the stream was encrypted, where it says anything.
    pub encrypted: Option<bool>,
}

/// What became of a record, or of a part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Word {
    /// The service has the record.
    Delivered(Delivered),
    /// The spool has the record, which can not be delivered now.
    Spooled,
    /// The spool has the part.
    Secured,
    /// The spool does not have the part, and its records were not accepted.
    Refused(NotDurable),
}

/// What became of all that a request waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The service has each record; what it said of them, in the request's order.
    Delivered(Vec<Delivered>),
    /// The spool has every record that the service does not have, or was all that was waited for.
    Durable,
    /// The spool did not take the records. They were not accepted.
    Refused(NotDurable),
    /// The process ends, and nobody will say what became of the records.
    CutShort,
}

/// One settled record or part on its way to the worker that knows who waits for it.
#[derive(Debug)]
pub(super) struct Settled {
    ticket: Ticket,
    word: Word,
}

/// The settling end: it knows the way to every worker's book.
///
/// Its channels need no bound of their own: a record is settled once, and records are bounded.
#[derive(Debug, Clone)]
pub struct Post {
    ways: Vec<(Sender<Vec<Settled>>, Bell)>,
}

impl Post {
    /// Sends each worker what was settled for it, and wakes it once.
    pub fn settle(&self, settled: impl IntoIterator<Item = (Ticket, Word)>) {
        let mut groups: Vec<Vec<Settled>> = self.ways.iter().map(|_| Vec::new()).collect();
        for (ticket, word) in settled {
            if let Some(group) = groups.get_mut(usize::from(ticket.worker)) {
                group.push(Settled { ticket, word });
            }
        }
        for ((way, bell), group) in self.ways.iter().zip(groups) {
            // A worker that is gone has nobody left who waits.
            if !group.is_empty() && way.send(group).is_ok() {
                bell.ring();
            }
        }
    }

    /// Wakes every worker, so that it looks at the batches that it keeps open.
    pub fn ring_all(&self) {
        for (_, bell) in &self.ways {
            bell.ring();
        }
    }
}

/// What a worker hears on: its bell, and what was settled for it.
#[derive(Debug)]
pub struct Mailbox {
    worker: u16,
    bell: Bell,
    letters: Receiver<Vec<Settled>>,
}

impl Mailbox {
    /// The bell that wakes the worker.
    #[must_use]
    pub const fn bell(&self) -> &Bell {
        &self.bell
    }
}

/// A post with a mailbox for each of `workers`.
#[must_use]
pub fn post(workers: u16) -> (Post, Vec<Mailbox>) {
    let (ways, boxes) = (0..workers)
        .map(|worker| {
            let (way, letters) = crossbeam_channel::unbounded();
            let bell = Bell::default();
            ((way, bell.clone()), Mailbox { worker, bell, letters })
        })
        .unzip();
    (Post { ways }, boxes)
}

/// All receipts of one worker. Cloning gives another handle to the same book.
#[derive(Debug, Clone)]
pub struct Book {
    mailbox: Rc<Mailbox>,
    slots: Rc<RefCell<Slots>>,
}

#[derive(Debug, Default)]
struct Slots {
    slots: Vec<Slot>,
    free: Vec<u32>,
}

/// What is known of one record.
#[derive(Debug, Clone)]
enum Place {
    Missing,
    Spooled,
    Delivered(Delivered),
}

#[derive(Debug, Default)]
struct Slot {
    life: u32,
    /// How many records nobody has yet.
    missing: usize,
    /// How many parts the spool does not have yet.
    parts_missing: usize,
    has_parts: bool,
    /// Nothing more is to come.
    is_cut_short: bool,
    places: Vec<Place>,
    refused: Option<NotDurable>,
    waker: Option<Waker>,
}

impl Slot {
    fn fill(&mut self, index: u32, with: Place) {
        if let Some(place) = self.places.get_mut(index as usize) {
            self.missing -= usize::from(matches!(place, Place::Missing) && self.missing > 0);
            // What the service said stands; what the spool has may still be delivered.
            if !matches!(place, Place::Delivered(_)) {
                *place = with;
            }
        }
    }

    const fn is_over(&self) -> bool {
        self.missing == 0 && self.parts_missing == 0
    }

    fn outcome(&mut self) -> Outcome {
        if let Some(why) = self.refused {
            return Outcome::Refused(why);
        }
        if !self.is_over() {
            return Outcome::CutShort;
        }
        let places = std::mem::take(&mut self.places);
        let records = places.len();
        let delivered: Vec<Delivered> = places
            .into_iter()
            .filter_map(|place| match place {
                Place::Delivered(delivered) => Some(delivered),
                Place::Missing | Place::Spooled => None,
            })
            .collect();
        if records > 0 && delivered.len() == records {
            Outcome::Delivered(delivered)
        } else {
            Outcome::Durable
        }
    }
}

impl Book {
    /// The book of the worker that owns `mailbox`.
    #[must_use]
    pub fn new(mailbox: Mailbox) -> Self {
        Self { mailbox: Rc::new(mailbox), slots: Rc::default() }
    }

    /// Opens a receipt for a request that waits for `records` records, and pays for it out of `share`.
    ///
    /// One that waits for nothing but its parts has no records here.
    ///
    /// The ids of one batch come together and are gone with the answer. A longer request keeps its first
    /// ids until its last record is delivered: it pays for those too.
    ///
    /// # Errors
    /// [`NoRoom`] when memory is full.
    pub fn open(&self, records: usize, share: &Arc<Share>) -> Result<Receipt, NoRoom> {
        let kept = records.saturating_sub(BATCH_RECORDS_MAX);
        let room = share.reserve(RECEIPT_BYTES + records * PLACE_BYTES + kept * ID_BYTES)?;
        let mut slots = self.slots.borrow_mut();
        let slot = slots.free.pop().unwrap_or_else(|| {
            slots.slots.push(Slot::default());
            u32::try_from(slots.slots.len() - 1).expect("waiting requests are bounded far below")
        });
        let entry = slots.at(slot).expect("a free slot exists");
        entry.missing = records;
        entry.places = vec![Place::Missing; records];
        Ok(Receipt {
            slots: Rc::clone(&self.slots),
            worker: self.mailbox.worker,
            slot,
            life: entry.life,
            _room: room,
        })
    }

    /// Waits until something was settled or somebody rang, and enters it.
    pub async fn listen(&self) {
        self.mailbox.bell.heard().await;
        self.enter_all();
    }

    /// Ends all waits, now that nothing more is to come: who has not heard by now never will.
    pub fn close(&self) {
        self.enter_all();
        for slot in &mut self.slots.borrow_mut().slots {
            slot.is_cut_short = true;
            if let Some(waker) = slot.waker.take() {
                waker.wake();
            }
        }
    }

    fn enter_all(&self) {
        while let Ok(letter) = self.mailbox.letters.try_recv() {
            let mut slots = self.slots.borrow_mut();
            for Settled { ticket, word } in letter {
                slots.enter(ticket, word);
            }
        }
    }
}

impl Slots {
    fn at(&mut self, slot: u32) -> Option<&mut Slot> {
        self.slots.get_mut(slot as usize)
    }

    fn enter(&mut self, ticket: Ticket, word: Word) {
        let Some(slot) = self.at(ticket.slot).filter(|slot| slot.life == ticket.life) else {
            return;
        };
        match word {
            Word::Secured => slot.parts_missing = slot.parts_missing.saturating_sub(1),
            Word::Refused(why) => {
                slot.parts_missing = slot.parts_missing.saturating_sub(1);
                slot.refused = Some(why);
                // Nothing more is to come for records that were not accepted.
                slot.missing = 0;
            }
            Word::Spooled => slot.fill(ticket.index, Place::Spooled),
            Word::Delivered(delivered) => slot.fill(ticket.index, Place::Delivered(delivered)),
        }
        if slot.is_over()
            && let Some(waker) = slot.waker.take()
        {
            waker.wake();
        }
    }
}

/// One request's wait for all its records and parts.
#[derive(Debug)]
pub struct Receipt {
    slots: Rc<RefCell<Slots>>,
    worker: u16,
    slot: u32,
    life: u32,
    _room: Reservation,
}

impl Receipt {
    /// The ticket for the request's record at `index`.
    #[must_use]
    pub fn ticket(&self, index: usize) -> Ticket {
        // An index beyond the receipt's records settles nothing; requests are far smaller than this.
        let index = u32::try_from(index).unwrap_or(PART - 1);
        Ticket { worker: self.worker, slot: self.slot, life: self.life, index }
    }

    /// The ticket for one more part, which is waited for from now on.
    #[must_use]
    pub fn part(&self) -> Ticket {
        if let Some(slot) = self.slots.borrow_mut().at(self.slot) {
            slot.parts_missing += 1;
            slot.has_parts = true;
        }
        Ticket { worker: self.worker, slot: self.slot, life: self.life, index: PART }
    }

    /// Whether there are parts, and the spool has all of them.
    #[must_use]
    pub fn is_durable(&self) -> bool {
        self.slots
            .borrow_mut()
            .at(self.slot)
            .is_some_and(|slot| slot.has_parts && slot.parts_missing == 0)
    }

    /// Waits for the first `records` only: the others were not taken.
    ///
    /// To be called before any ticket can have been settled.
    pub fn shorten(&self, records: usize) {
        if let Some(slot) = self.slots.borrow_mut().at(self.slot) {
            slot.places.truncate(records);
            slot.missing = slot.missing.min(records);
        }
    }
}

impl Future for Receipt {
    type Output = Outcome;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome> {
        let mut slots = self.slots.borrow_mut();
        let Some(slot) = slots.at(self.slot) else { return Poll::Pending };
        if !slot.is_over() && !slot.is_cut_short {
            slot.waker = Some(cx.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(slot.outcome())
    }
}

impl Drop for Receipt {
    fn drop(&mut self) {
        let mut slots = self.slots.borrow_mut();
        if let Some(slot) = slots.at(self.slot) {
            *slot = Slot { life: slot.life.wrapping_add(1), ..Slot::default() };
            slots.free.push(self.slot);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::Budget;

    fn delivered(id: &str) -> Delivered {
        Delivered { record_id: id.into(), encrypted: Some(true) }
    }

    fn word(id: &str) -> Word {
        Word::Delivered(delivered(id))
    }

    /// A book with room for any receipt.
    struct Open {
        book: Book,
        share: Arc<Share>,
    }

    impl Open {
        fn open(&self, records: usize) -> Receipt {
            self.book.open(records, &self.share).unwrap()
        }

        async fn listen(&self) {
            self.book.listen().await;
        }
    }

    fn book() -> (Post, Open) {
        let (post, mut boxes) = post(1);
        let book = Book::new(boxes.remove(0));
        (post, Open { book, share: Budget::new(1 << 24).share(0) })
    }

    #[test]
    fn a_receipt_is_paid_for_until_it_is_dropped_and_refused_before_it_takes_memory() {
        let (_post, Open { book, share }) = book();
        let receipt = book.open(500, &share).unwrap();
        assert_eq!(share.used_bytes(), RECEIPT_BYTES + 500 * PLACE_BYTES);
        assert_eq!(book.open(100_000, &share).unwrap_err(), NoRoom);
        assert_eq!(book.slots.borrow().slots.len(), 1);
        let longer = book.open(1_000, &share).unwrap();
        assert_eq!(share.used_bytes(), 2 * RECEIPT_BYTES + 1_500 * PLACE_BYTES + 500 * ID_BYTES);
        drop((receipt, longer));
        assert_eq!(share.used_bytes(), 0);
    }

    #[tokio::test]
    async fn a_receipt_resolves_when_its_last_record_is_settled_whatever_the_order() {
        let (post, book) = book();
        let receipt = book.open(2);
        let tickets = [receipt.ticket(0), receipt.ticket(1)];
        post.settle([(tickets[1], word("b"))]);
        book.listen().await;
        post.settle([(tickets[1], word("twice")), (tickets[0], word("a"))]);
        book.listen().await;
        assert_eq!(receipt.await, Outcome::Delivered(vec![delivered("a"), delivered("b")]));
    }

    #[tokio::test]
    async fn a_ticket_of_a_receipt_that_was_dropped_never_settles_the_next_one_in_its_slot() {
        let (post, book) = book();
        let given_up = book.open(1);
        let late = given_up.ticket(0);
        drop(given_up);
        let next = book.open(1);
        post.settle([(late, word("late"))]);
        book.listen().await;
        post.settle([(next.ticket(0), word("right"))]);
        book.listen().await;
        assert_eq!(next.await, Outcome::Delivered(vec![delivered("right")]));
    }

    #[tokio::test]
    async fn a_group_for_many_receipts_wakes_the_worker_once() {
        let (post, book) = book();
        let receipts: Vec<Receipt> = (0..500).map(|_| book.open(1)).collect();
        post.settle(receipts.iter().map(|receipt| (receipt.ticket(0), word("x"))));
        book.listen().await;
        assert_eq!(book.book.mailbox.bell.rings(), 1);
        for receipt in receipts {
            assert_eq!(receipt.await, Outcome::Delivered(vec![delivered("x")]));
        }
    }

    #[tokio::test]
    async fn a_request_whose_parts_the_spool_has_is_durable_after_the_last_of_them() {
        let (post, book) = book();
        let receipt = book.open(0);
        let parts = [receipt.part(), receipt.part()];
        post.settle([(parts[0], Word::Secured)]);
        book.listen().await;
        assert!(!receipt.is_durable());
        post.settle([(parts[1], Word::Secured)]);
        book.listen().await;
        assert!(receipt.is_durable());
        assert_eq!(receipt.await, Outcome::Durable);
    }

    #[tokio::test]
    async fn one_part_that_the_spool_refuses_refuses_the_request() {
        let (post, book) = book();
        let receipt = book.open(3);
        let parts = [receipt.part(), receipt.part()];
        post.settle([(parts[0], Word::Refused(NotDurable::DiskFull)), (parts[1], Word::Secured)]);
        book.listen().await;
        assert_eq!(receipt.await, Outcome::Refused(NotDurable::DiskFull));
    }

    #[tokio::test]
    async fn who_waits_at_the_end_is_told_what_is_known_then() {
        let (post, book) = book();
        let receipts = [book.open(1), book.open(1), book.open(0)];
        let part = receipts[2].part();
        post.settle([(receipts[0].ticket(0), word("a")), (part, Word::Secured)]);
        book.book.close();
        let [delivered_one, unknown, durable] = receipts;
        assert_eq!(delivered_one.await, Outcome::Delivered(vec![delivered("a")]));
        assert_eq!(unknown.await, Outcome::CutShort);
        assert_eq!(durable.await, Outcome::Durable);
    }

    #[tokio::test]
    async fn records_that_are_spooled_instead_of_delivered_are_durable_and_waited_for_no_longer() {
        let (post, book) = book();
        let receipt = book.open(2);
        let tickets = [receipt.ticket(0), receipt.ticket(1)];
        post.settle([(tickets[0], word("a")), (tickets[1], Word::Spooled)]);
        post.settle([(tickets[0], Word::Spooled)]);
        book.listen().await;
        assert_eq!(receipt.await, Outcome::Durable);
    }
}
