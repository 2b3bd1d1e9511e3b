//! The data streams that are there from the start, and the delivery streams behind them.

use std::fmt;
use std::str::FromStr;

use super::naming::arn_of;
use super::streams::Definition;
use crate::embedded::emulator::StartError;
use crate::embedded::files::DATA_STREAMS;
use crate::embedded::state::State;
use crate::embedded::streams::{self, Destination, Source};
use crate::record::StreamName;

/// A data stream to have from the start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KinesisStream {
    /// Its name.
    pub name: StreamName,
    /// How many shards it has, at least one.
    pub shards: u32,
    /// The delivery stream that has it as its source.
    pub delivery_stream: Option<StreamName>,
}

/// A text that names no data stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadKinesisStream(String);

impl fmt::Display for BadKinesisStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BadKinesisStream {}

/// `NAME`, or `NAME=DELIVERY_STREAM`: a data stream of one shard.
impl FromStr for KinesisStream {
    type Err = BadKinesisStream;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let name = |text: &str| {
            text.parse().map_err(|error| BadKinesisStream(format!("{text:?}: {error}")))
        };
        let (stream, behind) = match text.split_once('=') {
            Some((stream, behind)) => (stream, Some(behind)),
            None => (text, None),
        };
        Ok(Self { name: name(stream)?, shards: 1, delivery_stream: behind.map(name).transpose()? })
    }
}

/// Adds what the configuration names and an earlier life has not left. A delivery stream that had another
/// source is given this one.
pub(in crate::embedded) fn add_configured(
    state: &mut State,
    now_ms: u64,
) -> Result<(), StartError> {
    for configured in state.config.kinesis_streams.clone() {
        let name = configured.name.as_str();
        if !state.kinesis.streams.contains_key(name) {
            let definition = Definition::new(name, configured.shards.max(1), false, now_ms);
            let path = state.dir.path(DATA_STREAMS);
            state
                .create_data_stream(definition)
                .map_err(|source| StartError::DataDir { path, source })?;
        }
        let Some(delivery_stream) = configured.delivery_stream else { continue };
        let arn = arn_of(name, &state.config.region);
        let known = state.streams.get(&delivery_stream).map(|stream| &stream.definition);
        let has_it = known.is_some_and(
            |known| matches!(&known.source, Source::DataStream { arn: has, .. } if *has == arn),
        );
        if has_it {
            continue;
        }
        let destination = Destination::default();
        let role_arn = destination.role_arn.clone();
        let mut definition = streams::Definition::new(&delivery_stream, destination, now_ms);
        definition.source = Source::DataStream { arn, role_arn, since_ms: now_ms };
        state.add(delivery_stream, definition);
    }
    Ok(())
}
