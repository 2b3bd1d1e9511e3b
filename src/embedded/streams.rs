//! One delivery stream: what it was created as, and what it has seen in this life.

use serde::{Deserialize, Serialize};

use super::ACCOUNT_ID;
use super::injector::Injector;
use super::journal::Journal;
use super::quota::Buckets;
use super::sse::Sse;
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
    /// Accepted records whose answer said `Encrypted: true`.
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
        }
    }

    /// `CREATING` or `ACTIVE`.
    pub(super) fn is_active(&self, now_ms: u64) -> bool {
        self.active_from_ms <= now_ms
    }

    pub(super) fn arn(&self, region: &str) -> String {
        format!("arn:aws:firehose:{region}:{ACCOUNT_ID}:deliverystream/{}", self.name)
    }
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
