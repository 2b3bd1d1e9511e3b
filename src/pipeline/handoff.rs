//! The hand-off: closed batches go from the ingest workers to the forward thread.
//!
//! A bounded crossbeam channel with a bell beside it. An outlet never waits: what the channel can not
//! take stays with the worker, which refuses new records until it has gone. Nothing is dropped here.

use std::collections::VecDeque;

use crossbeam_channel::{Receiver, Sender, TrySendError};

use super::batch::Batch;
use super::bell::Bell;

/// A worker's end.
#[derive(Debug)]
pub struct Outlet {
    way: Sender<Box<Batch>>,
    bell: Bell,
    waiting: VecDeque<Box<Batch>>,
}

/// The forward thread's end.
#[derive(Debug)]
pub struct Intake {
    batches: Receiver<Box<Batch>>,
    bell: Bell,
}

/// A hand-off that holds up to `batches_max` batches on their way, with one outlet for each of `workers`.
#[must_use]
pub fn handoff(workers: u16, batches_max: usize) -> (Vec<Outlet>, Intake) {
    let (way, batches) = crossbeam_channel::bounded(batches_max);
    let bell = Bell::default();
    let outlets = (0..workers)
        .map(|_| Outlet { way: way.clone(), bell: bell.clone(), waiting: VecDeque::new() })
        .collect();
    (outlets, Intake { batches, bell })
}

impl Outlet {
    /// Hands a batch over, behind those that could not go before.
    pub fn hand_over(&mut self, batch: Batch) {
        self.waiting.push_back(Box::new(batch));
        self.push_on();
    }

    /// Tries again to hand over what waits. Says whether nothing waits any more.
    pub fn push_on(&mut self) -> bool {
        let mut has_sent = false;
        while let Some(batch) = self.waiting.pop_front() {
            match self.way.try_send(batch) {
                Ok(()) => has_sent = true,
                Err(TrySendError::Full(batch) | TrySendError::Disconnected(batch)) => {
                    self.waiting.push_front(batch);
                    break;
                }
            }
        }
        if has_sent {
            self.bell.ring();
        }
        self.waiting.is_empty()
    }

    /// How many records wait here because the channel is full.
    #[must_use]
    pub fn waiting_records(&self) -> usize {
        self.waiting.iter().map(|batch| batch.len()).sum()
    }
}

impl Intake {
    /// Waits until a batch was handed over, or until all outlets are gone.
    ///
    /// Dropping the future loses no batch.
    pub async fn heard(&self) {
        self.bell.heard().await;
    }

    /// The next batch, if there is one.
    #[must_use]
    pub fn try_take(&self) -> Option<Box<Batch>> {
        self.batches.try_recv().ok()
    }

    /// The bell that wakes the forward thread.
    #[must_use]
    pub const fn bell(&self) -> &Bell {
        &self.bell
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::testing::{batch_of, lane};

    #[tokio::test]
    async fn a_full_channel_keeps_batches_with_the_worker_in_their_order() {
        let (mut outlets, intake) = handoff(1, 2);
        let lane = lane("demo", 1 << 20);
        for record in [b"a", b"b", b"c"] {
            outlets[0].hand_over(batch_of(&lane, &[record]));
        }
        assert_eq!(outlets[0].waiting_records(), 1);
        assert!(!outlets[0].push_on());
        intake.heard().await;
        let mut seen: Vec<Vec<u8>> = Vec::new();
        while let Some(batch) = intake.try_take() {
            seen.extend(batch.records().map(<[u8]>::to_vec));
            let _all_gone = outlets[0].push_on();
        }
        assert_eq!(seen, [b"a", b"b", b"c"]);
        assert_eq!(lane.records_in_memory(), 0);
    }

    #[tokio::test]
    async fn batches_that_come_together_wake_the_forward_thread_once() {
        let (mut outlets, intake) = handoff(1, 100);
        let lane = lane("demo", 1 << 22);
        for _ in 0..100 {
            outlets[0].hand_over(batch_of(&lane, &[b"x"]));
        }
        intake.heard().await;
        assert_eq!(intake.bell().rings(), 1);
    }
}
