//! Receipts: how the sender of a record learns what became of it.
//!
//! A request that waits opens a receipt in its worker's book and gives each of its records a ticket.
//! Whoever settles records writes the tickets of a whole group into the worker's channel and rings its
//! bell once: one wake-up per worker and group, not per receipt. A request that waits no longer drops
//! its receipt; tickets that come later are then for nobody. Books never leave their worker's thread.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use crossbeam_channel::{Receiver, Sender};

use super::bell::Bell;
use super::budget::{NoRoom, Reservation, Share};
use crate::record::BATCH_RECORDS_MAX;

/// What it costs to wait for a record, in bytes: its place in the receipt.
const PLACE_BYTES: usize = 32;

/// What the id of a record that was delivered costs until its request is answered, in bytes: with its
/// copy in the answer. Source: the ids of the service have about 225 characters.
const ID_BYTES: usize = 480;

const _: () = assert!(size_of::<Option<Delivered>>() <= PLACE_BYTES, "a place is paid for");

/// Names one record of one waiting request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket {
    worker: u16,
    slot: u32,
    /// Tells a receipt from an earlier one in the same slot.
    life: u32,
    /// The record's index in its request.
    index: u32,
}

/// What the service said of one record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivered {
    /// The id that the service gave it.
    pub record_id: Box<str>,
    /// Whether the service says that the stream was encrypted, where it says anything.
    pub encrypted: Option<bool>,
}

/// One settled record on its way to the worker that knows who waits for it.
#[derive(Debug)]
pub(super) struct Settled {
    ticket: Ticket,
    delivered: Delivered,
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
    pub fn settle(&self, settled: impl IntoIterator<Item = (Ticket, Delivered)>) {
        let mut groups: Vec<Vec<Settled>> = self.ways.iter().map(|_| Vec::new()).collect();
        for (ticket, delivered) in settled {
            if let Some(group) = groups.get_mut(usize::from(ticket.worker)) {
                group.push(Settled { ticket, delivered });
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

#[derive(Debug, Default)]
struct Slot {
    life: u32,
    missing: usize,
    delivered: Vec<Option<Delivered>>,
    waker: Option<Waker>,
}

impl Book {
    /// The book of the worker that owns `mailbox`.
    #[must_use]
    pub fn new(mailbox: Mailbox) -> Self {
        Self { mailbox: Rc::new(mailbox), slots: Rc::default() }
    }

    /// Opens a receipt for a request of `records` records, and pays for it out of `share`.
    ///
    /// The ids of one batch come together and are gone with the answer. A longer request keeps its first
    /// ids until its last record is delivered: it pays for those too.
    ///
    /// # Errors
    /// [`NoRoom`] when memory is full.
    pub fn open(&self, records: usize, share: &Arc<Share>) -> Result<Receipt, NoRoom> {
        let kept = records.saturating_sub(BATCH_RECORDS_MAX);
        let room = share.reserve(records * PLACE_BYTES + kept * ID_BYTES)?;
        let mut slots = self.slots.borrow_mut();
        let slot = slots.free.pop().unwrap_or_else(|| {
            slots.slots.push(Slot::default());
            u32::try_from(slots.slots.len() - 1).expect("waiting requests are bounded far below")
        });
        let entry = slots.at(slot).expect("a free slot exists");
        entry.missing = records;
        entry.delivered = vec![None; records];
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
        while let Ok(letter) = self.mailbox.letters.try_recv() {
            let mut slots = self.slots.borrow_mut();
            for Settled { ticket, delivered } in letter {
                slots.enter(ticket, delivered);
            }
        }
    }
}

impl Slots {
    fn at(&mut self, slot: u32) -> Option<&mut Slot> {
        self.slots.get_mut(slot as usize)
    }

    fn enter(&mut self, ticket: Ticket, delivered: Delivered) {
        let Some(slot) = self.at(ticket.slot).filter(|slot| slot.life == ticket.life) else {
            return;
        };
        if let Some(entry @ None) = slot.delivered.get_mut(ticket.index as usize) {
            *entry = Some(delivered);
            slot.missing -= 1;
            if slot.missing == 0
                && let Some(waker) = slot.waker.take()
            {
                waker.wake();
            }
        }
    }
}

/// One request's wait for all its records. Resolves to what was said of each, in the request's order.
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
        let index = u32::try_from(index).unwrap_or(u32::MAX);
        Ticket { worker: self.worker, slot: self.slot, life: self.life, index }
    }

    /// Waits for the first `records` only: the others were not taken.
    ///
    /// To be called before any ticket can have been settled.
    pub fn shorten(&self, records: usize) {
        if let Some(slot) = self.slots.borrow_mut().at(self.slot) {
            slot.delivered.truncate(records);
            slot.missing = slot.missing.min(records);
        }
    }
}

impl Future for Receipt {
    type Output = Vec<Delivered>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut slots = self.slots.borrow_mut();
        let Some(slot) = slots.at(self.slot) else { return Poll::Pending };
        if slot.missing > 0 {
            slot.waker = Some(cx.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(std::mem::take(&mut slot.delivered).into_iter().flatten().collect())
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
        assert_eq!(share.used_bytes(), 500 * PLACE_BYTES);
        assert_eq!(book.open(100_000, &share).unwrap_err(), NoRoom);
        assert_eq!(book.slots.borrow().slots.len(), 1);
        let longer = book.open(1_000, &share).unwrap();
        assert_eq!(share.used_bytes(), 1_500 * PLACE_BYTES + 500 * ID_BYTES);
        drop((receipt, longer));
        assert_eq!(share.used_bytes(), 0);
    }

    #[tokio::test]
    async fn a_receipt_resolves_when_its_last_record_is_settled_whatever_the_order() {
        let (post, book) = book();
        let receipt = book.open(2);
        let tickets = [receipt.ticket(0), receipt.ticket(1)];
        post.settle([(tickets[1], delivered("b"))]);
        book.listen().await;
        post.settle([(tickets[1], delivered("twice")), (tickets[0], delivered("a"))]);
        book.listen().await;
        assert_eq!(receipt.await, [delivered("a"), delivered("b")]);
    }

    #[tokio::test]
    async fn a_ticket_of_a_receipt_that_was_dropped_never_settles_the_next_one_in_its_slot() {
        let (post, book) = book();
        let given_up = book.open(1);
        let late = given_up.ticket(0);
        drop(given_up);
        let next = book.open(1);
        post.settle([(late, delivered("late"))]);
        book.listen().await;
        post.settle([(next.ticket(0), delivered("right"))]);
        book.listen().await;
        assert_eq!(next.await, [delivered("right")]);
    }

    #[tokio::test]
    async fn a_group_for_many_receipts_wakes_the_worker_once() {
        let (post, book) = book();
        let receipts: Vec<Receipt> = (0..500).map(|_| book.open(1)).collect();
        post.settle(receipts.iter().map(|receipt| (receipt.ticket(0), delivered("x"))));
        book.listen().await;
        assert_eq!(book.book.mailbox.bell.rings(), 1);
        for receipt in receipts {
            assert_eq!(receipt.await.len(), 1);
        }
    }
}
