//! Native records that are larger than the service takes, on a stream that sets them aside.
//!
//! They go to the spool as dead letters, one after the other, before the other records of their request are
//! taken: what can not be set aside refuses the request. It decides nothing for streams that refuse them.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use super::refusal::Refusal;
use super::streams::Aside;
use super::worker::{Worker, WorkerStream};
use crate::pipeline::Outcome;
use crate::record::{BATCH_BYTES_MAX, PartitionKey};

/// The largest record that is set aside, in bytes with its delimiter: a frame of the spool holds it.
pub(super) const ASIDE_BYTES_MAX: usize = BATCH_BYTES_MAX;

impl Worker {
    /// Sets a record aside, and waits until the spool has it.
    ///
    /// It is accepted when the spool has it, whether the client still waits for that or not.
    pub(super) async fn set_aside(
        &self,
        stream: &Rc<WorkerStream>,
        record: Vec<u8>,
        partition_key: Option<PartitionKey>,
    ) -> Result<(), Refusal> {
        let spool = stream.shared.spool.as_ref().ok_or(Refusal::NoSpool)?;
        let _place = self.place(stream)?;
        let receipt = self.receipt(stream, 0)?;
        let (lane, bytes) = (Arc::clone(&stream.shared.lane), record.len());
        let aside = Aside { record, partition_key, at: Instant::now(), ticket: receipt.part() };
        (spool.set_aside)(aside).map_err(|_| Refusal::NoRoom)?;
        let kept = tokio::task::spawn_local(async move {
            let outcome = receipt.await;
            if outcome == Outcome::Durable {
                lane.accept(1, bytes);
            }
            outcome
        });
        match tokio::time::timeout(self.shared.config.durable_wait, kept).await {
            Ok(Ok(Outcome::Refused(why))) => Err(Refusal::NotKept(Some(why))),
            Ok(Ok(Outcome::Durable | Outcome::Delivered(_))) => Ok(()),
            Ok(Ok(Outcome::CutShort)) => Err(Refusal::CutShort),
            Ok(Err(_)) => Err(Refusal::Stopping),
            Err(_) => Err(Refusal::NotKept(None)),
        }
    }
}
