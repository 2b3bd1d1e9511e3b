//! The bound on the bytes that are under way at once, over all streams.
//!
//! First come, first served, so that no stream can keep another one waiting for ever. One request may
//! always go when nothing is under way, however large it is. It counts raw bytes and knows no requests.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// See the module. Cloning gives another handle to the same room.
#[derive(Debug, Clone)]
pub(super) struct Room {
    units: Arc<Semaphore>,
    units_max: u32,
}

/// Bytes under way; they are given back when it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    _permit: OwnedSemaphorePermit,
}

/// Room is counted in units of so many bytes, so that any configured bound fits the counter.
const UNIT_BYTES: usize = 1024;

impl Room {
    /// Room for `bytes_max`.
    pub(super) fn new(bytes_max: usize) -> Self {
        let units_max = units(bytes_max);
        Self { units: Arc::new(Semaphore::new(units_max as usize)), units_max }
    }

    /// A place for `bytes` if there is one at once.
    pub(super) fn try_take(&self, bytes: usize) -> Option<Place> {
        let units = units(bytes).min(self.units_max);
        let permit = Arc::clone(&self.units).try_acquire_many_owned(units).ok()?;
        Some(Place { _permit: permit })
    }

    /// Waits until there is a place for `bytes`.
    pub(super) async fn take(&self, bytes: usize) -> Place {
        let units = units(bytes).min(self.units_max);
        let permit = Arc::clone(&self.units).acquire_many_owned(units).await;
        Place { _permit: permit.expect("the semaphore is never closed") }
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
}
