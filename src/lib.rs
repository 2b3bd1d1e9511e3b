//! Standpipe takes an application's records on loopback and delivers them to Amazon Data Firehose.
//!
//! # The map
//!
//! In the order of a record's way; each room has its own page at the top of its `mod.rs`.
//!
//! ```text
//!  apps ──HTTP──► ingest ──records──► pipeline ──closed batches──► forward ──► Firehose, or Kinesis
//!                   ▲                    │  ▲                       ▲ │   ▲
//!                   └─────receipts───────┘  └──────settlements──────┼─┘   │ gate: where to, may it go
//!                                        └─durable groups─► spool ◄─┘     │
//!                                                   data keys ▲ overflow, │
//!                                                             │ backlog,  │
//!                                                             │ notes     │
//!                                                         encryption ─────┘
//!  around it:  app, cli, config, lifecycle, telemetry, admin        beside it:  embedded
//! ```
//!
//! | room | what it is | thread |
//! |---|---|---|
//! | [`record`] | the nouns that travel: limits, stream names, levels | |
//! | [`ingest`] | HTTP in: native requests and the Firehose wire protocol, and their bounds | `ingest-N` |
//! | [`pipeline`] | records to closed batches: arena, batcher, memory budget, hand-off, receipts | none of its own |
//! | [`forward`] | batches to the service: plan, send, settle, back off, hold; and nothing while the gate is closed | `forward` |
//! | [`gate`] | where a stream's records go and whether they may: what control plane and data plane know of each other | none of its own |
//! | [`encryption`] | the control plane: the data keys of the spool, and the encryption of the streams | `encryption`, `control` |
//! | [`aws`] | what all clients of AWS share: endpoints, credentials, transport | none of its own |
//! | [`spool`] | records on disk, sealed: what memory can not hold and what must not be lost | `spool-N` |
//! | [`admin`] | health, metrics, status, stop | `admin` |
//! | [`embedded`] | the emulator of the service, over its real wire protocol | `emulator`, `emu-writer` |
//! | [`lifecycle`] | phases and readiness: one cell that all look at | |
//! | [`md5`] | the digest that data streams and the KPL's format are made with | |
//! | [`telemetry`] | logs and metrics, set up once | |
//! | [`token`] | the bearer token of a listener | |
//! | [`config`] | TOML and environment to the stages' `Config`s, or all faults at once | |
//! | [`app`] | the composition root: puts the stages together and takes them down | the main thread |
//! | [`cli`] | what is typed to what is done, and exit codes | the main thread |
//!
//! # What holds everywhere
//!
//! - A record that was accepted leaves memory only when it is settled, or is counted as lost. The lane's
//!   count of records in memory follows batches by their drop, so that it can not be forgotten.
//! - No lock and no wake-up of a thread on the way of a record: threads exchange whole batches, over
//!   bounded channels, with a bell that rings once. Clippy forbids the lock types; a test counts the
//!   wake-ups.
//! - Decisions are pure code that is given `now`: batcher, plan, outcome, backoff, circuit, quota.
//! - No stage imports `config`; `forward` and `ingest` do not know each other; `pipeline` knows no
//!   network and no service. `tests/tidy.rs` holds the table.
//! - The spool (sealed batches on disk) stands between `pipeline` and `forward`: what is to be durable goes
//!   through it and is accepted when the disk has it, and a batch that the forwarder can not send now goes
//!   there instead of waiting in memory.

pub mod admin;
pub mod app;
pub mod aws;
pub mod cli;
pub mod config;
pub mod embedded;
pub mod encryption;
pub mod forward;
pub mod gate;
pub mod ingest;
pub mod lifecycle;
pub mod md5;
pub mod pipeline;
pub mod record;
pub mod spool;
pub mod telemetry;
pub mod token;
