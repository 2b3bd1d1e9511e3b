//! The bell: how a thread that has put something into a channel wakes the thread that reads it.
//!
//! It rings at most once until it was heard, so that a busy reader is not woken again and again. Each
//! ring is counted, since wake-ups are what the pipeline is built to avoid. It carries no data.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::sync::Notify;

/// A bell with one hearer and any number of ringers.
#[derive(Debug, Clone, Default)]
pub struct Bell {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    notify: Notify,
    is_rung: AtomicBool,
    rings: AtomicU64,
}

impl Bell {
    /// Wakes the hearer, unless it was woken already and has not listened since.
    pub fn ring(&self) {
        if !self.inner.is_rung.swap(true, Ordering::AcqRel) {
            self.inner.rings.fetch_add(1, Ordering::Relaxed);
            self.inner.notify.notify_one();
        }
    }

    /// Waits for a ring. What was put into a channel before the ring can be read afterwards.
    ///
    /// Dropping the future loses no ring.
    pub async fn heard(&self) {
        loop {
            if self.inner.is_rung.swap(false, Ordering::AcqRel) {
                return;
            }
            self.inner.notify.notified().await;
        }
    }

    /// How often the hearer was woken since the start.
    #[must_use]
    pub fn rings(&self) -> u64 {
        self.inner.rings.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn many_rings_before_the_hearer_listens_are_one_wake_up() {
        let bell = Bell::default();
        for _ in 0..1_000 {
            bell.ring();
        }
        bell.heard().await;
        assert_eq!(bell.rings(), 1);
    }

    #[tokio::test]
    async fn a_ring_while_nobody_listens_is_heard_later() {
        let bell = Bell::default();
        bell.ring();
        bell.heard().await;
        bell.ring();
        bell.heard().await;
        assert_eq!(bell.rings(), 2);
    }

    #[tokio::test]
    async fn no_ring_is_lost_between_threads() {
        const MESSAGES: u32 = 50_000;
        let bell = Bell::default();
        let (sender, receiver) = crossbeam_channel::unbounded();
        let ringer = bell.clone();
        let thread = std::thread::spawn(move || {
            for message in 0..MESSAGES {
                sender.send(message).unwrap();
                ringer.ring();
            }
        });
        let mut next = 0;
        while next < MESSAGES {
            bell.heard().await;
            while let Ok(message) = receiver.try_recv() {
                assert_eq!(message, next);
                next += 1;
            }
        }
        thread.join().unwrap();
        assert!(bell.rings() <= u64::from(MESSAGES));
    }
}
