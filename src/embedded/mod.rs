//! The embedded emulator of Amazon Data Firehose, of Kinesis Data Streams and of KMS: the services over
//! their real wire protocol, on loopback, with their limits, and with faults that can be asked for.
//!
//! Somebody without an account uses it to try Standpipe, and the tests use it to break Standpipe.
//! It speaks awsJson1_1 (`X-Amz-Target: Firehose_20150804.*`) over HTTP/1.1 and knows
//! `CreateDeliveryStream`, `DescribeDeliveryStream`, `ListDeliveryStreams`, `DeleteDeliveryStream`,
//! `PutRecord`, `PutRecordBatch`, `StartDeliveryStreamEncryption` and `StopDeliveryStreamEncryption`; data
//! streams (`X-Amz-Target: Kinesis_20131202.*`, see `kinesis/mod.rs`), which delivery streams may have as
//! their source; and of KMS (`X-Amz-Target: TrentService.*`) `CreateKey`, `DescribeKey`, `ListKeys`,
//! `GenerateDataKey`, `Decrypt`, `EnableKey`, `DisableKey`, `ScheduleKeyDeletion`, `CancelKeyDeletion`,
//! `CreateAlias`, `ListAliases` and `DeleteAlias`. One key is always there.
//!
//! **Requests need not be signed, and a signature is never verified.** It is no place for real data
//! on a network: it listens on loopback unless it is told otherwise, and its files are plain.
//!
//! A record that was answered with a record id has been written to a file before the answer, so that
//! the death of the process loses none; only a lost machine does, since nothing here is synced but
//! the list of streams. What a stream has written is rolled into an object once a second:
//!
//! ```text
//! <data_dir>/delivered/<stream>/YYYY/MM/DD/HH/<stream>-<version>-YYYY-MM-DD-HH-MM-SS-<id>
//! <data_dir>/open/              objects that are still being written (adopted at the next start)
//! <data_dir>/streams.json       the streams and their encryption
//! <data_dir>/data-streams.json  the data streams and their encryption; their records are in memory only
//! <data_dir>/keys.json          the keys of KMS, in the clear
//! <data_dir>/emulator.lock      held while an emulator uses the directory
//! ```
//!
//! Beside the protocol stands a control endpoint on the same listener, `/emulator/faults`,
//! `/emulator/streams` and more: the table is at the top of `control.rs`.
//!
//! | file | role |
//! |---|---|
//! | `emulator.rs` | the handle: start, stop, the thread |
//! | `server.rs` | connections: accept, bound, cut, end |
//! | `dispatch.rs`, `dispatch_kinesis.rs` | one request: read, judged by the faults, routed, answered |
//! | `puts.rs`, `put_input.rs` | `PutRecord` and `PutRecordBatch`; their bodies |
//! | `actions.rs`, `source.rs`, `describe.rs` | the control plane of the service; its longest answer |
//! | `kinesis/` | data streams |
//! | `service.rs` | the services behind the listener, and their actions |
//! | `kms.rs`, `kms_aliases.rs`, `kms_keys.rs`, `kms_seal.rs` | KMS: its actions; its keys; its blobs |
//! | `sse.rs`, `quota.rs`, `faults.rs`, `injector.rs`, `limits.rs`, `kpl.rs` | pure decisions |
//! | `sse_control.rs`, `account.rs`, `key_use.rs` | what a test commands of encryption, permissions and rates; what stands against a key |
//! | `state.rs`, `streams.rs`, `journal.rs` | what the emulator knows |
//! | `deliver.rs`, `object.rs`, `files.rs` | the writer thread; names of objects; the file system |
//! | `wire.rs` | answers and errors of the protocol |
//! | `control.rs`, `control_kinesis.rs` | the control endpoint |

mod account;
mod actions;
mod control;
mod control_kinesis;
mod deliver;
mod describe;
mod dispatch;
mod dispatch_kinesis;
mod emulator;
mod faults;
mod files;
mod injector;
mod journal;
mod key_use;
mod kinesis;
mod kms;
mod kms_aliases;
mod kms_keys;
mod kms_seal;
#[cfg(test)]
mod kms_tests;
pub(crate) mod kpl;
mod limits;
mod object;
mod put_input;
mod puts;
mod quota;
mod server;
mod service;
mod source;
mod sse;
mod sse_control;
#[cfg(test)]
mod sse_tests;
mod state;
mod streams;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod wire;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use crate::record::StreamName;

pub use emulator::{Emulator, StartError, StopError};
pub use faults::{BadFault, Faults, Outage, PoisonScope, parse_faults};
pub use files::{delivered_objects, read_delivered};
pub use kinesis::startup::{BadKinesisStream, KinesisStream};
pub use quota::Quota;
pub use sse::{FailureType, SseTiming};

/// The account that every stream of the emulator belongs to.
pub const ACCOUNT_ID: &str = "000000000000";

/// The id of the KMS key that is always there, as the bits of a UUID of version 4.
const DEFAULT_KEY: u128 = 0x5ea1_ed00_0000_4000_8000_0000_0000_0001;

/// What an emulator is told at its start.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where it listens. Port 0 takes a free one, see [`Emulator::local_addr`].
    pub listen: SocketAddr,
    /// Whether it takes any free port when another process has that of `listen`.
    pub any_port_if_taken: bool,
    /// The directory that it keeps everything in. Made when it is not there.
    pub data_dir: PathBuf,
    /// Streams that are there from the start, active at once. Those of an earlier life stay.
    pub streams: Vec<StreamName>,
    /// Data streams that are there from the start, and the delivery streams behind them. Those of an earlier
    /// life stay as they are; a delivery stream that had another source is given this one.
    pub kinesis_streams: Vec<KinesisStream>,
    /// The Region in the ARNs. Requests for any Region are answered.
    pub region: String,
    /// How long a created stream is `CREATING` before it takes records.
    pub create_delay: Duration,
    /// What a stream may take in a second; `None` means as much as comes.
    pub quota: Option<Quota>,
    /// Streams with a quota of their own, or with none.
    pub stream_quotas: BTreeMap<StreamName, Option<Quota>>,
    /// What each shard of a data stream may take in a second; `None` means as much as comes.
    pub shard_quota: Option<Quota>,
    /// How long the changes of stream encryption take, and how many there may be in a day.
    pub sse: SseTiming,
    /// The faults from the start, for all streams without faults of their own.
    pub faults: Faults,
    /// The faults from the start of single streams; they stand in place of `faults`.
    pub stream_faults: BTreeMap<StreamName, Faults>,
    /// The faults of data streams from the start.
    pub kinesis_faults: Faults,
    /// The faults of KMS from the start.
    pub kms_faults: Faults,
    /// Where accepted records go.
    pub delivery: Delivery,
    /// How many bytes of accepted records each stream remembers for
    /// `GET /emulator/streams/{s}/records`; 0 remembers none and costs nothing. A data stream keeps 16 MiB
    /// at least, to be read back.
    pub journal_bytes_max: usize,
    /// The largest body of a request.
    pub body_bytes_max: usize,
    /// The most connections at a time; more wait to be accepted.
    pub connections_max: usize,
}

/// Where accepted records go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// To files below `<data_dir>/delivered`.
    Files {
        /// An object that has reached this size is closed.
        roll_bytes: u64,
        /// An object of this age is closed.
        roll_after: Duration,
    },
    /// Nowhere: records are counted and forgotten. For benchmarks.
    Discard,
}

impl Default for Delivery {
    fn default() -> Self {
        Self::Files { roll_bytes: 5 * 1024 * 1024, roll_after: Duration::from_secs(1) }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 4575)),
            any_port_if_taken: false,
            data_dir: PathBuf::from("./standpipe-data"),
            streams: Vec::new(),
            kinesis_streams: Vec::new(),
            region: String::from("us-east-1"),
            create_delay: Duration::ZERO,
            quota: Some(Quota::LARGE_REGION),
            stream_quotas: BTreeMap::new(),
            shard_quota: Some(Quota::SHARD),
            sse: SseTiming::default(),
            faults: Faults::default(),
            stream_faults: BTreeMap::new(),
            kinesis_faults: Faults::default(),
            kms_faults: Faults::default(),
            delivery: Delivery::default(),
            journal_bytes_max: 0,
            body_bytes_max: BODY_BYTES_MAX,
            connections_max: CONNECTIONS_MAX,
        }
    }
}

/// The default bound of a body: 4 MiB of raw data are 5.6 MiB in base64, more with JSON escapes.
const BODY_BYTES_MAX: usize = 16 * 1024 * 1024;

/// The default bound of connections. Each may hold one body, so that this bounds the memory too.
const CONNECTIONS_MAX: usize = 1_024;
