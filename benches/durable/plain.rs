//! The plain writer as it is measured, with a look at whether its file has all that it answered for.

use std::path::Path;

use crate::args::Role;
use crate::common::child::Actor;
use crate::common::fault::{During as _, Fault};
use crate::common::measure::{self, Drive, Sample};
use crate::common::process::Memory;
use crate::stage::Burden;

/// A running plain writer.
pub(crate) struct Plain {
    actor: Actor,
    drive: Drive,
    /// What it has answered for and what it has on disk, in bytes, up to the last look.
    bytes: u64,
}

impl Plain {
    /// Starts it, with its files in `folder`.
    pub(crate) async fn start(burden: &Burden, folder: &Path) -> Result<Self, Fault> {
        let folder = format!("--folder={}", folder.display());
        let (actor, addr) = Actor::server(Role::PlainWriter.as_str(), &[folder]).await?;
        Ok(Self { actor, drive: burden.on(addr), bytes: 0 })
    }

    /// Makes what is slow only at first happen.
    pub(crate) async fn warm_up(&mut self, requests: u64) -> Result<(), Fault> {
        measure::warm_up(&self.drive, requests, None).await?;
        self.bytes = self.durable_bytes().await?;
        Ok(())
    }

    /// Puts it under load.
    pub(crate) async fn measure(&mut self) -> Result<Sample, Fault> {
        let sample = measure::server(self.actor.pid(), &self.drive, None).await?;
        let shape = self.drive.aim.requests.shape();
        let record_bytes = u64::try_from(shape.record_bytes).unwrap_or(u64::MAX);
        self.bytes += sample.records * record_bytes;
        let durable = self.durable_bytes().await?;
        if durable == self.bytes {
            Ok(sample)
        } else {
            let bytes = self.bytes;
            Err(Fault::new(format!(
                "the plain writer answered for {bytes} bytes and wrote {durable}"
            )))
        }
    }

    /// Its memory now.
    pub(crate) fn memory(&self) -> Result<Memory, Fault> {
        Memory::of(self.actor.pid())
    }

    async fn durable_bytes(&mut self) -> Result<u64, Fault> {
        self.actor.ask("durable").await?.parse().during("what the plain writer has written")
    }
}
