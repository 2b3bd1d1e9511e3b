//! A Standpipe with a sink of its own, and the load that it is put under.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use crate::args::Role;
use crate::common::child::Actor;
use crate::common::fault::Fault;
use crate::common::ledger::Ledger;
use crate::common::load::Aim;
use crate::common::measure::{self, Drive, Sample};
use crate::common::pipe::{self, Pipe};
use crate::common::records::{Requests, Shape};
use crate::spooled::Spooled;

/// The record that everything is about.
pub(crate) const SINGLE: Shape =
    Shape { name: "512x1", title: "512-byte record, 1 a POST", record_bytes: 512, records: 1 };

/// A load, wherever it goes.
#[derive(Debug, Clone)]
pub(crate) struct Burden {
    /// How many keep-alive connections there are.
    pub(crate) connections: u16,
    /// How many requests come in a second, or as many as can be.
    pub(crate) pace: Option<u32>,
    /// For how long.
    pub(crate) time: Duration,
    /// What is sent.
    pub(crate) requests: Arc<Requests>,
}

impl Burden {
    /// The load on the server at this address. Its records are numbered from 0 on.
    pub(crate) fn on(&self, addr: SocketAddr) -> Drive {
        let aim = Aim {
            addr,
            connections: self.connections,
            requests: Arc::clone(&self.requests),
            numbers: Some(Arc::new(AtomicU64::new(0))),
        };
        Drive { aim, pace: self.pace, time: self.time }
    }
}

/// See the module.
pub(crate) struct Stage {
    pub(crate) pipe: Pipe,
    ledger: Ledger,
    _sink: Actor,
    drive: Drive,
}

impl Stage {
    /// Starts the processes. The configuration is told where the sink is.
    pub(crate) async fn set(
        burden: &Burden,
        configuration: impl FnOnce(SocketAddr) -> String,
    ) -> Result<Self, Fault> {
        let (sink_actor, sink) = Actor::server(Role::Sink.as_str(), &[]).await?;
        let pipe = Pipe::start(&configuration(sink)).await?;
        let drive = burden.on(pipe.data);
        Ok(Self { pipe, ledger: Ledger::new(sink), _sink: sink_actor, drive })
    }

    /// Makes what is slow only at first happen.
    pub(crate) async fn warm_up(&mut self, requests: u64) -> Result<(), Fault> {
        measure::warm_up(&self.drive, requests, Some(&mut self.ledger)).await
    }

    /// Puts it under load until all has arrived.
    pub(crate) async fn measure(&mut self) -> Result<(Sample, Spooled), Fault> {
        let before = self.pipe.scrape().await?;
        let sample = measure::server(self.pipe.pid(), &self.drive, Some(&mut self.ledger)).await?;
        let after = self.pipe.scrape().await?;
        self.pipe.pass_on_remarks();
        if sample.refused > 0 {
            // Whoever reads figures wants to know why.
            let answers = after.series("standpipe_ingest_requests_total", "protocol=\"native\"");
            answers.filter(|line| !line.ends_with(" 0")).for_each(|line| eprintln!("{line}"));
        }
        let spooled = Spooled::between(&before, &after, &sample);
        Ok((sample, spooled))
    }

    /// How many records arrived more than once.
    pub(crate) async fn duplicates(&self) -> Result<u64, Fault> {
        Ok(self.ledger.arrived().await?.duplicates())
    }
}

/// A spool as it is configured.
#[derive(Debug, Clone)]
pub(crate) struct Spool {
    /// Where it is, and its key file.
    pub(crate) folder: PathBuf,
    /// The most bytes on disk.
    pub(crate) bytes_max: u64,
    /// What else is said of it.
    pub(crate) settings: Vec<String>,
}

/// A configuration with a spool, and all `streams` at the durable level.
pub(crate) fn durable(sink: SocketAddr, spool: &Spool, streams: &[String]) -> String {
    let mut text = pipe::common(sink);
    let (folder, bytes_max) = (spool.folder.display(), spool.bytes_max);
    text.push_str(&format!("[spool]\ndir = \"{folder}/spool\"\nbytes_max = {bytes_max}\n"));
    text.push_str(&format!("stream_bytes_max = {bytes_max}\n"));
    for setting in &spool.settings {
        text.push_str(setting);
        text.push('\n');
    }
    text.push_str(&format!("[keys]\nprovider = \"file\"\nfile = \"{folder}/key\"\n"));
    for stream in streams {
        text.push_str(&format!("[[streams]]\nname = \"{stream}\"\nack = \"durable\"\n"));
    }
    text
}
