//! The bound on the bytes that are under way at once, over all streams, and with them on the requests.
//!
//! First come, first served, so that no stream can keep another one waiting for ever; and a stream that
//! asks for no more than [`Room::part`] leaves as much to the others, so that a few streams whose requests
//! hang do not fill it. One request may always go when nothing is under way, however large it is. It
//! counts raw bytes and knows no requests.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// See the module. Cloning gives another handle to the same room.
#[derive(Debug, Clone)]
pub(super) struct Room {
    units: Arc<Semaphore>,
    units_max: u32,
    /// What the smallest request takes.
    units_min: u32,
}

/// Bytes under way; they are given back when it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    _permit: OwnedSemaphorePermit,
}

/// Room is counted in units of so many bytes, so that any configured bound fits the counter.
const UNIT_BYTES: usize = 1024;

/// The most requests under way, and so of connections: each takes at least such a part of the room.
const REQUESTS_MAX: u32 = 256;

/// However little is free, a part is at least such a part of the room: less is not worth a request.
const PARTS_MAX: u32 = 64;

impl Room {
    /// Room for `bytes_max`.
    pub(super) fn new(bytes_max: usize) -> Self {
        let units_max = units(bytes_max);
        let units_min = (units_max / REQUESTS_MAX).max(1);
        Self { units: Arc::new(Semaphore::new(units_max as usize)), units_max, units_min }
    }

    /// The most bytes that leave as much free to others, as far as they are worth a request.
    pub(super) fn part(&self) -> usize {
        let least = (self.units_max / PARTS_MAX).max(1) as usize;
        (self.units.available_permits() / 2).max(least) * UNIT_BYTES
    }

    /// A place for `bytes` if there is one at once.
    pub(super) fn try_take(&self, bytes: usize) -> Option<Place> {
        let units = self.units_of(bytes);
        let permit = Arc::clone(&self.units).try_acquire_many_owned(units).ok()?;
        Some(Place { _permit: permit })
    }

    /// Waits until there is a place for `bytes`.
    pub(super) async fn take(&self, bytes: usize) -> Place {
        let units = self.units_of(bytes);
        let permit = Arc::clone(&self.units).acquire_many_owned(units).await;
        Place { _permit: permit.expect("the semaphore is never closed") }
    }

    fn units_of(&self, bytes: usize) -> u32 {
        units(bytes).clamp(self.units_min, self.units_max)
    }
}

fn units(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT_BYTES)).unwrap_or(u32::MAX >> 3).clamp(1, u32::MAX >> 3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_request_that_is_larger_than_the_room_goes_when_nothing_is_under_way() {
        let room = Room::new(10 * UNIT_BYTES);
        let small = room.try_take(1).unwrap();
        assert!(room.try_take(100 * UNIT_BYTES).is_none());
        drop(small);
        let large = room.take(100 * UNIT_BYTES).await;
        assert!(room.try_take(1).is_none());
        drop(large);
        assert!(room.try_take(1).is_some());
    }

    #[test]
    fn many_small_requests_are_bounded_in_their_number() {
        let room = Room::new(16 << 20);
        let places: Vec<Place> = std::iter::from_fn(|| room.try_take(1)).collect();
        assert_eq!(places.len(), REQUESTS_MAX as usize);
    }

    #[test]
    fn who_takes_parts_leaves_as_much_to_others_down_to_what_is_worth_a_request() {
        let room = Room::new(64 * UNIT_BYTES);
        let (mut places, mut parts) = (Vec::new(), Vec::new());
        while let Some(place) = room.try_take(room.part()) {
            parts.push(64 - room.units.available_permits());
            places.push(place);
        }
        assert_eq!(parts, [32, 48, 56, 60, 62, 63, 64]);
        assert_eq!(room.part(), UNIT_BYTES, "one can wait for that");
    }
}
