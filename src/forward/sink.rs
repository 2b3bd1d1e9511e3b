//! What the records of a stream go into: the delivery stream, or the data stream that it reads from.
//!
//! It has the bounds of each service, and writes and sends a request in the way of each. It decides neither
//! what goes nor when.

use std::sync::Arc;

use super::answer::PutAnswer;
use super::blobs::{Joining, When};
use super::body;
use super::firehose::Firehose;
use super::kinesis::Kinesis;
use super::kinesis_body;
use super::partition::Keys;
use super::plan::Plan;
use super::request::{Bounds, Request};
use super::{Config, StreamConfig};
use crate::aws::{BadUpstream, CallError};
use crate::gate::{DataStream, Joins, Route};
use crate::record::{BATCH_BYTES_MAX, BATCH_RECORDS_MAX, StreamName};

/// The most bytes in one `PutRecords`, with the partition keys. Source: the service's documentation.
const KINESIS_BYTES_MAX: usize = 10 * 1024 * 1024;

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Sink {
    /// The delivery stream itself.
    Firehose,
    /// This data stream.
    Kinesis(Arc<DataStream>),
}

impl Sink {
    /// What the records go into by this route, if they go anywhere.
    pub(super) fn of(route: &Route) -> Option<Self> {
        match route {
            Route::Firehose => Some(Self::Firehose),
            Route::Kinesis(data_stream) => Some(Self::Kinesis(Arc::clone(data_stream))),
            Route::Unknown | Route::Nowhere(_) => None,
        }
    }

    /// The most that one request takes, by the service and by the configuration, whichever is less.
    pub(super) fn bounds(&self, config: &Config, stream: &StreamConfig, keys: &Keys) -> Bounds {
        let (bytes_max, record_bytes_more) = match self {
            Self::Firehose => (BATCH_BYTES_MAX, 0),
            Self::Kinesis(_) => (KINESIS_BYTES_MAX, keys.bytes_max()),
        };
        let least = |bounds: [Option<usize>; 2], of_service: usize| {
            bounds.into_iter().flatten().fold(of_service, usize::min)
        };
        Bounds {
            records_max: least(
                [Some(config.request_records_max), stream.request_records_max],
                BATCH_RECORDS_MAX,
            ),
            bytes_max: least([config.request_bytes_max, stream.request_bytes_max], bytes_max),
            record_bytes_more,
        }
    }

    /// The places of a request whose records are larger than what they go into takes, and what it takes.
    pub(super) fn too_large(
        &self,
        plan: &Plan,
        request: &Request,
        keys: &mut Keys,
    ) -> Option<(Vec<usize>, usize)> {
        let Self::Kinesis(data_stream) = self else { return None };
        let bytes_max = data_stream.record_bytes_max;
        let key_bytes_max = keys.bytes_max();
        if request.picks.iter().all(|pick| pick.bytes as usize + key_bytes_max <= bytes_max) {
            return None;
        }
        let sized = plan.keyed_records(request).enumerate();
        let is_large = |record: &[u8], key: &str| record.len() + key.len() > bytes_max;
        let large = sized
            .filter(|(_, (record, of_request))| is_large(record, keys.key(record, *of_request)));
        let places: Vec<usize> = large.map(|(place, _)| place).collect();
        // They are counted when they are sent.
        keys.take_missing();
        (!places.is_empty()).then_some((places, bytes_max))
    }

    /// The body of a request.
    pub(super) fn body(
        &self,
        stream: &StreamName,
        plan: &Plan,
        request: &Request,
        keys: &mut Keys,
    ) -> Vec<u8> {
        let (records, bytes) = (request.picks.len(), request.bytes);
        match (self, &request.blobs) {
            (Self::Firehose, None) => body::encode(stream, plan.records(request), records, bytes),
            (Self::Firehose, Some(blobs)) => {
                body::encode_joined(stream, plan.records(request), blobs)
            }
            (Self::Kinesis(data_stream), None) => {
                let keyed = plan.keyed_records(request);
                kinesis_body::encode(&data_stream.id, keyed, keys, records, bytes)
            }
            (Self::Kinesis(data_stream), Some(blobs)) => {
                kinesis_body::encode_joined(&data_stream.id, plan.records(request), blobs)
            }
        }
    }

    /// How the records of a stream are joined, if they are.
    pub(super) fn joining(&self, stream: &StreamConfig, joins: Joins) -> Option<Joining> {
        let aggregate = &stream.aggregate;
        let is_on = match aggregate.when {
            When::Off => false,
            When::On => true,
            When::Auto => joins.is_safe,
        };
        is_on.then(|| match self {
            Self::Firehose => Joining::for_firehose(aggregate),
            Self::Kinesis(data_stream) => {
                let takes = data_stream.record_bytes_max;
                Joining::for_kinesis(aggregate, &stream.partition_key, takes)
            }
        })
    }
}

/// The clients of both services.
#[derive(Debug)]
pub(super) struct Services {
    firehose: Firehose,
    kinesis: Kinesis,
}

impl Services {
    /// Clients that have asked for nothing yet.
    ///
    /// # Errors
    /// When the proxy, the CA file or an endpoint of the configuration can not be used.
    pub(super) fn new(config: &Config) -> Result<Self, BadUpstream> {
        let firehose = Firehose::new(config)?;
        Ok(Self { kinesis: Kinesis::new(config, &firehose)?, firehose })
    }

    /// Sends a request with this body.
    pub(super) async fn put(
        &self,
        sink: &Sink,
        stream: &StreamName,
        body: Vec<u8>,
    ) -> Result<PutAnswer, CallError> {
        match sink {
            Sink::Firehose => self.firehose.put(stream, body).await,
            Sink::Kinesis(data_stream) => self.kinesis.put(&data_stream.id, body).await,
        }
    }
}
