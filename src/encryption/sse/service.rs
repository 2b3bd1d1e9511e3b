//! Both services as one: where a stream's records go, how it is encrypted there, and how that is changed.
//!
//! For a stream that reads from a Kinesis data stream everything about encryption is the data stream's: the
//! calls of Firehose are refused there. It judges failures and decides nothing else.

use std::sync::Arc;
use std::time::Instant;

use super::Config;
use super::calls::CallKind;
use super::declared::{Destination, Key, Target};
use super::firehose::Firehose;
use super::joins;
use super::kinesis::Kinesis;
use super::metrics::{self, Operation};
use super::observed::{Description, Observed, Place};
use super::trouble::{self, Trouble};
use crate::aws::{BadUpstream, CallError};
use crate::record::StreamName;

/// The ways to the services.
#[derive(Debug)]
pub(super) struct Service {
    firehose: Firehose,
    kinesis: Kinesis,
}

impl Service {
    /// Ways on which nothing has gone yet.
    ///
    /// # Errors
    /// When the proxy, the CA file or an endpoint of the configuration can not be used.
    pub(super) fn new(config: &Config) -> Result<Self, BadUpstream> {
        let firehose = Firehose::new(config)?;
        Ok(Self { kinesis: Kinesis::new(config, &firehose)?, firehose })
    }

    /// Asks where the records of a stream go, and how it is encrypted there.
    pub(super) async fn describe(
        &self,
        stream: &StreamName,
        destination: &Destination,
    ) -> Result<Description, Trouble> {
        if let Destination::Kinesis(id) = destination {
            return self.describe_data_stream(id, None).await;
        }
        let asked = self.firehose.describe(stream);
        let delivery = counted(Operation::DescribeDeliveryStream, asked).await?;
        let is_kinesis = &*delivery.source == "KinesisStreamAsSource";
        match (delivery.data_stream, destination) {
            (Some(arn), Destination::Auto) if is_kinesis => {
                self.describe_data_stream(&arn, Some(delivery.source)).await
            }
            _ => {
                let is_direct = &*delivery.source == "DirectPut";
                Ok(Description {
                    place: if is_direct { Place::Firehose } else { Place::Nowhere },
                    source: Some(delivery.source),
                    status: delivery.status,
                    observed: delivery.observed,
                    joins: delivery.joins,
                })
            }
        }
    }

    async fn describe_data_stream(
        &self,
        id: &Arc<str>,
        source: Option<Arc<str>>,
    ) -> Result<Description, Trouble> {
        let asked = self.kinesis.describe(id);
        let data = counted(Operation::DescribeStreamSummary, asked).await?;
        let place = Place::Kinesis { id: Arc::clone(id), record_bytes_max: data.record_bytes_max };
        // Who reads a data stream that no delivery stream names is not known.
        let joins = if source.is_some() { joins::TAKEN_APART } else { joins::ANY_READER };
        Ok(Description { place, source, status: data.status, observed: data.observed, joins })
    }

    /// Makes the call that brings a stream to `target`. `seen` is how it stands, as far as that is known.
    pub(super) async fn change(
        &self,
        stream: &StreamName,
        place: &Place,
        target: &Target,
        seen: Option<&Observed>,
    ) -> Result<(), Trouble> {
        match (place, target) {
            (Place::Kinesis { id, .. }, Target::Encrypted(key)) => {
                counted(Operation::StartStreamEncryption, self.kinesis.start(id, key)).await
            }
            (Place::Kinesis { id, .. }, Target::Plain) => {
                // It wants the key that is in force.
                let key = seen.and_then(|seen| seen.key.clone()).unwrap_or(Key::AwsOwned);
                counted(Operation::StopStreamEncryption, self.kinesis.stop(id, &key)).await
            }
            (Place::Firehose | Place::Nowhere, Target::Encrypted(key)) => {
                let call = self.firehose.start(stream, key);
                counted(Operation::StartDeliveryStreamEncryption, call).await
            }
            (Place::Firehose | Place::Nowhere, Target::Plain) => {
                let call = self.firehose.stop(stream);
                counted(Operation::StopDeliveryStreamEncryption, call).await
            }
        }
    }
}

/// The call that brings a stream to `target`.
pub(super) const fn kind_of(target: &Target) -> CallKind {
    match target {
        Target::Encrypted(_) => CallKind::Start,
        Target::Plain => CallKind::Stop,
    }
}

async fn counted<T>(
    operation: Operation,
    call: impl Future<Output = Result<T, CallError>>,
) -> Result<T, Trouble> {
    let began_at = Instant::now();
    let result = call.await.map_err(|error| trouble::of(&error).during(operation.as_str()));
    let code = result.as_ref().map_or_else(|trouble| trouble.code.as_ref(), |_| metrics::OK);
    metrics::count_call(operation, code, began_at.elapsed());
    result
}
