//! The embedded Kinesis Data Streams: data streams over their real wire protocol, that delivery streams can
//! have as their source.
//!
//! It speaks awsJson1_1 (`X-Amz-Target: Kinesis_20131202.*`). What is put is delivered to the files of the
//! delivery streams behind it before it is answered, and is then kept **in memory, within a bound**, for
//! `GetRecords` and the control endpoint: the oldest is forgotten first, and all of it with the process.
//! What outlives the process are the streams themselves, in `data-streams.json`.
//!
//! A stream keeps the shards that it was created with. There are no consumers, no tags and no policies,
//! and no limits of reading.
//!
//! | file | role |
//! |---|---|
//! | `naming.rs`, `shards.rs` | pure: which stream, which shard |
//! | `streams.rs`, `startup.rs` | what is known of data streams; those that are there from the start |
//! | `manage.rs`, `describe.rs`, `encryption.rs` | the control plane |
//! | `put_input.rs`, `puts.rs` | `PutRecord` and `PutRecords` |
//! | `reads.rs` | iterators and `GetRecords` |

mod describe;
mod encryption;
mod manage;
pub(super) mod naming;
pub(super) mod put_input;
pub(super) mod puts;
pub(super) mod reads;
mod shards;
pub(super) mod startup;
pub(super) mod streams;
#[cfg(test)]
mod tests;

use super::actions::Outcome;
use super::state::State;
use super::wire::ServiceError;

pub(super) use naming::{arn_of, name_of_arn};
pub(super) use reads::sequence_text;
pub(super) use shards::shard_id;
pub(super) use streams::Kinesis;

/// Does what a request to the control plane, or to read, asks for.
pub(super) fn act(state: &mut State, action: &str, body: &[u8]) -> Outcome {
    // A client may leave out a body that would be empty.
    let body = if body.is_empty() { b"{}" } else { body };
    match action {
        "CreateStream" => manage::create(state, body),
        "DeleteStream" => manage::delete(state, body),
        "ListStreams" => manage::list(state, body),
        "UpdateMaxRecordSize" => manage::update_max_record_size(state, body),
        "DescribeStream" => describe::stream(state, body),
        "DescribeStreamSummary" => describe::summary(state, body),
        "ListShards" => describe::list_shards(state, body),
        "StartStreamEncryption" => encryption::start(state, body),
        "StopStreamEncryption" => encryption::stop(state, body),
        "GetShardIterator" => reads::shard_iterator(state, body),
        "GetRecords" => reads::records(state, body),
        _ => Err(ServiceError::unknown_operation()),
    }
}
