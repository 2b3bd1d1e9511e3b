//! What a request waits for once its records stand in a batch, and what it is told then.
//!
//! Every wait is bounded. A request that waits no longer takes nothing back: its records go their way.

use std::time::Instant;

use super::level::{Level, Way};
use super::places::Place;
use super::refusal::Refusal;
use super::response::Reached;
use super::worker::{Worker, WorkerStream};
use crate::pipeline::{Outcome, Receipt};
use crate::record::Ack;

/// The wait of one request. See the module.
#[derive(Debug)]
pub(super) struct Waiting {
    level: Level,
    /// None when nothing is waited for.
    receipt: Option<Receipt>,
    /// Where it waits, if it does.
    _place: Option<Place>,
}

impl Waiting {
    /// The way that the request's records go.
    pub(super) const fn way(&self) -> Way {
        self.level.way
    }

    /// The receipt that the parts of a request belong to.
    pub(super) const fn receipt(&self) -> Option<&Receipt> {
        self.receipt.as_ref()
    }

    /// The receipt that gives each record its ticket, when each is waited for.
    pub(super) fn of_each(&self) -> Option<&Receipt> {
        self.receipt.as_ref().filter(|_| self.level.ack == Ack::Delivered)
    }
}

impl Worker {
    /// Prepares the wait of a request for its `records`, which are counted when each is waited for.
    pub(super) fn waiting(
        &self,
        stream: &WorkerStream,
        level: Level,
        records: impl FnOnce() -> usize,
    ) -> Result<Waiting, Refusal> {
        let place = match level.ack {
            Ack::Memory => None,
            Ack::Durable | Ack::Delivered => Some(self.place(stream)?),
        };
        let receipt = match level.ack {
            Ack::Memory => None,
            Ack::Durable => Some(self.receipt(stream, 0)?),
            Ack::Delivered => Some(self.receipt(stream, records())?),
        };
        Ok(Waiting { level, receipt, _place: place })
    }

    /// A place to wait in.
    pub(super) fn place(&self, stream: &WorkerStream) -> Result<Place, Refusal> {
        stream.shared.places.take().ok_or(Refusal::TooManyWaiting)
    }

    /// Waits as long as that is allowed, and says what is true then.
    pub(super) async fn reached(&self, waiting: Waiting) -> Result<Reached, Refusal> {
        let Waiting { level, receipt, _place } = waiting;
        match (receipt, level.ack) {
            (None, _) => Ok(Reached::Memory),
            (Some(receipt), Ack::Delivered) => self.delivery(receipt, level.way).await,
            (Some(receipt), Ack::Memory | Ack::Durable) => {
                self.durability(receipt).await.map(|()| Reached::Durable)
            }
        }
    }

    /// Waits until the spool has all that a receipt has parts of.
    pub(super) async fn durability(&self, receipt: Receipt) -> Result<(), Refusal> {
        let begun = Instant::now();
        let outcome = tokio::time::timeout(self.shared.config.durable_wait, receipt).await;
        let waited = begun.elapsed().as_secs_f64();
        match outcome {
            Ok(Outcome::Durable | Outcome::Delivered(_)) => {
                self.metrics.durable_wait.durable.record(waited);
                Ok(())
            }
            Ok(Outcome::Refused(why)) => {
                self.metrics.durable_wait.refused.record(waited);
                Err(Refusal::NotKept(Some(why)))
            }
            Ok(Outcome::CutShort) => {
                self.metrics.durable_wait.too_late.record(waited);
                Err(Refusal::CutShort)
            }
            Err(_) => {
                self.metrics.durable_wait.too_late.record(waited);
                Err(Refusal::NotKept(None))
            }
        }
    }

    /// Waits until the service has all records of a receipt.
    async fn delivery(&self, mut receipt: Receipt, way: Way) -> Result<Reached, Refusal> {
        let begun = Instant::now();
        let outcome = tokio::time::timeout(self.shared.config.delivered_wait, &mut receipt).await;
        let (reached, histogram) = match outcome {
            Ok(Outcome::Delivered(delivered)) => {
                (Ok(Reached::Delivered(delivered)), &self.metrics.delivered_wait.delivered)
            }
            Ok(Outcome::Durable) => {
                (Ok(Reached::NotYetDelivered(Ack::Durable)), &self.metrics.delivered_wait.durable)
            }
            Ok(Outcome::Refused(why)) => {
                (Err(Refusal::NotKept(Some(why))), &self.metrics.delivered_wait.refused)
            }
            // The stop has saved what it could, and names the others.
            Ok(Outcome::CutShort) => (
                match way {
                    Way::Spool if receipt.is_durable() => {
                        Ok(Reached::NotYetDelivered(Ack::Durable))
                    }
                    Way::Spool | Way::Memory => Err(Refusal::CutShort),
                },
                &self.metrics.delivered_wait.too_late,
            ),
            Err(_) => (
                match way {
                    Way::Memory => Ok(Reached::NotYetDelivered(Ack::Memory)),
                    Way::Spool if receipt.is_durable() => {
                        Ok(Reached::NotYetDelivered(Ack::Durable))
                    }
                    Way::Spool => Err(Refusal::NotKept(None)),
                },
                &self.metrics.delivered_wait.too_late,
            ),
        };
        histogram.record(begun.elapsed().as_secs_f64());
        reached
    }
}
