//! How what a batch holds grows: by doubling, from a little on, and paid for before it is allocated.
//!
//! It knows nothing of what it is that grows.

use crate::pipeline::budget::{NoRoom, Reservation};

/// Makes place for one more, and pays for that first.
#[inline]
pub(super) fn make_room<T>(
    all: &mut Vec<T>,
    room: &mut Reservation,
    least: usize,
) -> Result<(), NoRoom> {
    if all.len() < all.capacity() { Ok(()) } else { grow(all, room, least) }
}

#[cold]
fn grow<T>(all: &mut Vec<T>, room: &mut Reservation, least: usize) -> Result<(), NoRoom> {
    let capacity = capacity_for(all.len() + 1, least);
    room.grow(capacity.saturating_sub(all.capacity()) * size_of::<T>())?;
    all.reserve_exact(capacity - all.len());
    Ok(())
}

/// The capacity that there is for so many of something.
pub(in crate::pipeline) fn capacity_for(count: usize, least: usize) -> usize {
    if count == 0 { 0 } else { count.next_power_of_two().max(least) }
}
