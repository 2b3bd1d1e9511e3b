//! The memory budget: one bound for all records and bodies that the process holds.
//!
//! It counts capacity, not payload, since capacity is what the machine has to give. Every stream has a
//! floor that nobody else can take; what lies above the floors is shared. Reserving is a few atomic
//! operations and never waits. It never allocates and knows nothing of what the bytes are for.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The bound in bytes, as far as it is shared between the streams.
#[derive(Debug)]
pub struct Budget {
    shared_bytes_max: usize,
    shared_bytes: AtomicUsize,
}

impl Budget {
    /// A budget whose shared part has `shared_bytes_max` bytes. The floors come on top.
    #[must_use]
    pub fn new(shared_bytes_max: usize) -> Arc<Self> {
        Arc::new(Self { shared_bytes_max, shared_bytes: AtomicUsize::new(0) })
    }

    /// A share of the budget with `floor_bytes` of its own.
    #[must_use]
    pub fn share(self: &Arc<Self>, floor_bytes: usize) -> Arc<Share> {
        Arc::new(Share { budget: Arc::clone(self), floor_bytes, used_bytes: AtomicUsize::new(0) })
    }

    /// A share of the budget with `floor_bytes` that are taken out of the shared part for it, for good.
    ///
    /// Where the shared part has not as much left, it has no floor.
    #[must_use]
    pub fn share_with_floor_inside(self: &Arc<Self>, floor_bytes: usize) -> Arc<Share> {
        let floor_bytes = self.take_shared(floor_bytes).map_or(0, |()| floor_bytes);
        self.share(floor_bytes)
    }

    fn take_shared(&self, bytes: usize) -> Result<(), NoRoom> {
        if bytes == 0 {
            return Ok(());
        }
        self.shared_bytes
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
                used.checked_add(bytes).filter(|sum| *sum <= self.shared_bytes_max)
            })
            .map(|_| ())
            .map_err(|_| NoRoom)
    }

    fn take_shared_anyway(&self, bytes: usize) {
        self.shared_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    fn give_shared(&self, bytes: usize) {
        if bytes != 0 {
            self.shared_bytes.fetch_sub(bytes, Ordering::Relaxed);
        }
    }
}

/// One stream's part of the [`Budget`]: its floor, and what it has taken from the shared part.
#[derive(Debug)]
pub struct Share {
    budget: Arc<Budget>,
    floor_bytes: usize,
    used_bytes: AtomicUsize,
}

impl Share {
    /// Reserves `bytes`; they are given back when the reservation is dropped.
    ///
    /// # Errors
    /// [`NoRoom`] when the floor is used up and the shared part has not as much left. Nothing is reserved then.
    pub fn reserve(self: &Arc<Self>, bytes: usize) -> Result<Reservation, NoRoom> {
        let mut reservation = self.empty_reservation();
        reservation.grow(bytes)?;
        Ok(reservation)
    }

    /// A reservation of nothing, to be grown.
    #[must_use]
    pub fn empty_reservation(self: &Arc<Self>) -> Reservation {
        Reservation { share: Arc::clone(self), bytes: 0 }
    }

    /// What is reserved now, in bytes.
    #[must_use]
    pub fn used_bytes(&self) -> usize {
        self.used_bytes.load(Ordering::Relaxed)
    }

    /// What could be reserved beyond that at this moment, in bytes: the rest of the floor, and what is left
    /// of the shared part.
    #[must_use]
    pub fn room_bytes(&self) -> usize {
        let shared = self.budget.shared_bytes.load(Ordering::Relaxed);
        let left = self.budget.shared_bytes_max.saturating_sub(shared);
        self.floor_bytes.saturating_sub(self.used_bytes()).saturating_add(left)
    }

    /// What nobody else can take, in bytes.
    #[must_use]
    pub const fn floor_bytes(&self) -> usize {
        self.floor_bytes
    }

    const fn above_floor(&self, used: usize) -> usize {
        used.saturating_sub(self.floor_bytes)
    }

    /// Pays into the shared part first and counts afterwards, so that the shared part never holds less
    /// than what lies above the floors, whatever other threads do in between.
    fn take(&self, bytes: usize) -> Result<(), NoRoom> {
        let mut used = self.used_bytes.load(Ordering::Relaxed);
        loop {
            let sum = used.checked_add(bytes).ok_or(NoRoom)?;
            let wanted = self.above_floor(sum) - self.above_floor(used);
            self.budget.take_shared(wanted)?;
            match self.used_bytes.compare_exchange_weak(
                used,
                sum,
                Ordering::Relaxed,
                Ordering::Relaxed,
            ) {
                Ok(_) => return Ok(()),
                Err(now) => {
                    self.budget.give_shared(wanted);
                    used = now;
                }
            }
        }
    }

    /// Takes what can not be refused, because it is there already, beyond the bound if need be.
    fn take_anyway(&self, bytes: usize) {
        let before = self.used_bytes.fetch_add(bytes, Ordering::Relaxed);
        let wanted = self.above_floor(before.saturating_add(bytes)) - self.above_floor(before);
        self.budget.take_shared_anyway(wanted);
    }

    /// Counts first and gives back afterwards, for the same reason.
    fn give(&self, bytes: usize) {
        let before = self.used_bytes.fetch_sub(bytes, Ordering::Relaxed);
        let after = before.saturating_sub(bytes);
        self.budget.give_shared(self.above_floor(before) - self.above_floor(after));
    }
}

/// Bytes that are reserved until this is dropped.
#[derive(Debug)]
pub struct Reservation {
    share: Arc<Share>,
    bytes: usize,
}

impl Reservation {
    /// Reserves `bytes` more.
    ///
    /// # Errors
    /// [`NoRoom`] when they are not to be had. The reservation is as before then.
    pub fn grow(&mut self, bytes: usize) -> Result<(), NoRoom> {
        self.share.take(bytes)?;
        self.bytes += bytes;
        Ok(())
    }

    /// Reserves `bytes` more, beyond the bound if need be: for what is there and can not be refused.
    pub fn grow_anyway(&mut self, bytes: usize) {
        self.share.take_anyway(bytes);
        self.bytes += bytes;
    }

    /// Gives back all but `bytes`. Does nothing when it holds no more than that.
    pub fn shrink_to(&mut self, bytes: usize) {
        let surplus = self.bytes.saturating_sub(bytes);
        self.share.give(surplus);
        self.bytes -= surplus;
    }

    /// How many bytes are reserved here.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.share.give(self.bytes);
    }
}

/// The budget has no room for as many bytes at this moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoRoom;

impl std::fmt::Display for NoRoom {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the memory budget has no room")
    }
}

impl std::error::Error for NoRoom {}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_last_byte_can_be_had_and_one_more_can_not() {
        let budget = Budget::new(100);
        let share = budget.share(20);
        let all = share.reserve(120).unwrap();
        assert_eq!(share.reserve(1).unwrap_err(), NoRoom);
        drop(all);
        assert_eq!(share.used_bytes(), 0);
        drop(share.reserve(120).unwrap());
    }

    #[test]
    fn what_could_be_reserved_is_what_can_be() {
        let budget = Budget::new(100);
        let (one, other) = (budget.share(10), budget.share(20));
        let _some = one.reserve(40).unwrap();
        assert_eq!([one.room_bytes(), other.room_bytes()], [70, 90]);
        assert_eq!(one.reserve(71).unwrap_err(), NoRoom);
        let _all = one.reserve(70).unwrap();
        assert_eq!([one.room_bytes(), other.room_bytes()], [0, 20]);
    }

    #[test]
    fn what_is_there_already_is_counted_beyond_the_bound_and_given_back_whole() {
        let budget = Budget::new(100);
        let share = budget.share(20);
        let mut there = share.empty_reservation();
        there.grow_anyway(500);
        assert_eq!(there.grow(1), Err(NoRoom));
        assert_eq!(share.used_bytes(), 500);
        drop(there);
        drop(share.reserve(120).unwrap());
    }

    #[test]
    fn a_greedy_stream_can_not_take_the_floor_of_another() {
        let budget = Budget::new(100);
        let (greedy, modest) = (budget.share(10), budget.share(10));
        let _all = greedy.reserve(110).unwrap();
        let floor = modest.reserve(10).unwrap();
        assert_eq!(modest.reserve(1).unwrap_err(), NoRoom);
        assert_eq!(floor.bytes(), 10);
    }

    #[test]
    fn a_refused_reservation_leaves_nothing_behind() {
        let budget = Budget::new(10);
        let share = budget.share(5);
        let mut held = share.reserve(12).unwrap();
        assert_eq!(held.grow(4), Err(NoRoom));
        assert_eq!((held.bytes(), share.used_bytes()), (12, 12));
        held.shrink_to(3);
        assert_eq!(budget.shared_bytes.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn threads_that_fight_for_room_leave_the_count_as_they_found_it() {
        let budget = Budget::new(1_000);
        let shares = [budget.share(100), budget.share(0)];
        std::thread::scope(|scope| {
            for thread in 0..4_u64 {
                let shares = &shares;
                scope.spawn(move || {
                    let mut random = fastrand::Rng::with_seed(thread);
                    let mut held = Vec::new();
                    for _ in 0..20_000 {
                        if random.bool() {
                            held.extend(shares[random.usize(0..2)].reserve(random.usize(0..300)));
                        } else if !held.is_empty() {
                            held.swap_remove(random.usize(0..held.len()));
                        }
                    }
                });
            }
        });
        assert_eq!(shares.each_ref().map(|share| share.used_bytes()), [0, 0]);
        assert_eq!(budget.shared_bytes.load(Ordering::Relaxed), 0);
    }

    proptest! {
        /// Whatever is taken and given back, the shared part holds just what lies above the floors.
        #[test]
        fn the_shared_part_holds_what_lies_above_the_floors(
            steps in prop::collection::vec((0..3_usize, 0..200_usize, any::<bool>()), 0..200)
        ) {
            let budget = Budget::new(300);
            let shares = [budget.share(0), budget.share(50), budget.share(120)];
            let mut held: Vec<Reservation> = Vec::new();
            for (share, bytes, take) in steps {
                if take {
                    held.extend(shares[share].reserve(bytes));
                } else if !held.is_empty() {
                    held.swap_remove(bytes % held.len());
                }
                let above: usize =
                    shares.iter().map(|s| s.used_bytes().saturating_sub(s.floor_bytes())).sum();
                prop_assert_eq!(budget.shared_bytes.load(Ordering::Relaxed), above);
                prop_assert!(above <= 300);
            }
        }
    }
}
