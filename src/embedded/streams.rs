//! One delivery stream: what it was created as, and what it has seen in this life.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::ACCOUNT_ID;
use super::injector::Injector;
use super::journal::Journal;
use super::quota::Buckets;
use super::sse::Sse;
use super::sse_control::Commanded;
use super::wire::ServiceError;
use crate::record::StreamName;

/// A stream and everything about it.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) definition: Definition,
    /// `None` takes as much as comes.
    pub(super) buckets: Option<Buckets>,
    /// The stream's own faults, in place of those of all streams.
    pub(super) injector: Option<Injector>,
    pub(super) counters: Counters,
    pub(super) journal: Journal,
    /// What is commanded of its encryption.
    pub(super) commanded: Commanded,
    /// How often each action was asked of it in this life, whatever became of it.
    pub(super) calls: BTreeMap<&'static str, u64>,
}

/// What outlives the process. Times are milliseconds since the Unix epoch.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Definition {
    pub(super) name: String,
    pub(super) created_ms: u64,
    /// It is `CREATING` until then.
    pub(super) active_from_ms: u64,
    pub(super) destination: Destination,
    pub(super) sse: Sse,
    #[serde(default)]
    pub(super) source: Source,
}

/// Where the records of a delivery stream come from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Source {
    /// From those who put them.
    #[default]
    DirectPut,
    /// From a data stream: what is put there is delivered here.
    DataStream { arn: String, role_arn: String, since_ms: u64 },
    /// From Kafka. It is shown as it was given, and nothing ever comes.
    Msk { given: Value },
    /// From a database. Nothing ever comes.
    Database,
}

impl Source {
    /// The type of a stream with this source, as Describe shows it.
    pub(super) fn stream_type(&self) -> &'static str {
        match self {
            Self::DirectPut => "DirectPut",
            Self::DataStream { .. } => "KinesisStreamAsSource",
            Self::Msk { .. } => "MSKAsSource",
            Self::Database => "DatabaseAsSource",
        }
    }

    /// Refuses what only a Direct PUT stream can do.
    pub(super) fn check_direct_put(&self) -> Result<(), ServiceError> {
        if *self == Self::DirectPut {
            return Ok(());
        }
        Err(ServiceError::invalid_argument(format!(
            "This operation is not permitted on {} delivery stream type.",
            self.stream_type()
        )))
    }
}

/// The S3 destination that the stream was created with. It is shown and otherwise ignored: objects go
/// below the data directory, uncompressed, by the emulator's own size and age.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Destination {
    pub(super) role_arn: String,
    pub(super) bucket_arn: String,
    pub(super) prefix: Option<String>,
    pub(super) error_output_prefix: Option<String>,
    pub(super) buffer_mib: u32,
    pub(super) buffer_s: u32,
}

/// What happened to a stream in this life.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct Counters {
    /// Requests whose records were dealt with one by one.
    pub(super) put_requests: u64,
    /// Requests that were refused as a whole, cut, or left hanging.
    pub(super) put_requests_refused: u64,
    pub(super) records_accepted: u64,
    pub(super) bytes_accepted: u64,
    /// Each accepted record rounded up to 5 KiB.
    pub(super) bytes_billed: u64,
    /// Accepted records that were encrypted, whatever their answer was made to say.
    pub(super) records_encrypted: u64,
    /// Records over the quota.
    pub(super) records_throttled: u64,
    /// Records that a fault hit.
    pub(super) records_failed: u64,
    /// Accepted records whose answer was lost on purpose.
    pub(super) records_answer_lost: u64,
}

impl Definition {
    pub(super) fn new(name: &StreamName, destination: Destination, now_ms: u64) -> Self {
        Self {
            name: name.as_str().to_owned(),
            created_ms: now_ms,
            active_from_ms: now_ms,
            destination,
            sse: Sse::default(),
            source: Source::DirectPut,
        }
    }

    /// `CREATING` or `ACTIVE`.
    pub(super) fn is_active(&self, now_ms: u64) -> bool {
        self.active_from_ms <= now_ms
    }

    pub(super) fn arn(&self, region: &str) -> String {
        delivery_stream_arn(&self.name, region)
    }
}

/// The ARN of the delivery stream of this name.
pub(super) fn delivery_stream_arn(name: &str, region: &str) -> String {
    format!("arn:aws:firehose:{region}:{ACCOUNT_ID}:deliverystream/{name}")
}

impl Default for Destination {
    fn default() -> Self {
        Self {
            role_arn: format!("arn:aws:iam::{ACCOUNT_ID}:role/standpipe-emulator"),
            bucket_arn: String::from("arn:aws:s3:::standpipe-emulator"),
            prefix: None,
            error_output_prefix: None,
            buffer_mib: BUFFER_MIB_DEFAULT,
            buffer_s: BUFFER_S_DEFAULT,
        }
    }
}

/// The service's default buffering hints. Source: the service model.
pub(super) const BUFFER_MIB_DEFAULT: u32 = 5;
pub(super) const BUFFER_S_DEFAULT: u32 = 300;
