//! What the keys of a stream say of its destination and its encryption, and what is declared by that. Pure.

use crate::encryption::sse::{self, Declared, Destination, Key, Policy, Target};
use crate::forward::{self, Aggregate, End, PartitionKey, When};
use crate::record::{BATCH_BYTES_MAX, BATCH_RECORDS_MAX};

use super::draft::{Draft, NamedStream, Slot, StreamDraft, control_dir};
use super::kind::NO_KEY;

/// The word for where records go.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Way {
    #[default]
    Auto,
    Firehose,
    Kinesis,
}

/// What the keys set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DeclaredDraft {
    pub(super) destination: Way,
    /// The data stream; only for [`Way::Kinesis`].
    pub(super) kinesis_stream: Option<String>,
    /// `random`, `header` or a JSON pointer; not for [`Way::Firehose`].
    pub(super) partition_key: String,
    /// Whether its records are joined, how large a blob becomes, and what each ends with, if somebody said it.
    pub(super) aggregate: When,
    pub(super) aggregate_bytes: usize,
    pub(super) aggregate_delimiter: Option<End>,
    pub(super) encryption: Policy,
    pub(super) manage: bool,
    /// What the name of a key is, or `none`; only with `manage`.
    pub(super) encryption_key: Option<String>,
}

/// What the partition key is taken from when nobody says it.
pub(super) const RANDOM: &str = "random";

/// It is taken from the header of the request.
pub(super) const HEADER: &str = "header";

impl Default for DeclaredDraft {
    fn default() -> Self {
        Self {
            destination: Way::Auto,
            kinesis_stream: None,
            partition_key: RANDOM.to_owned(),
            aggregate: When::Off,
            aggregate_bytes: Aggregate::default().bytes,
            aggregate_delimiter: None,
            encryption: Policy::default(),
            manage: false,
            encryption_key: None,
        }
    }
}

impl DeclaredDraft {
    /// The key, if it is one.
    pub(super) fn key(&self) -> Option<Key> {
        let text = self.encryption_key.as_deref().filter(|text| *text != NO_KEY);
        text.and_then(|text| Key::parse(text).ok())
    }

    /// Whether it is declared that there is no encryption.
    pub(super) fn is_plain(&self) -> bool {
        self.encryption_key.as_deref() == Some(NO_KEY)
    }

    /// What is declared by it.
    pub(super) fn declared(&self) -> Declared {
        let destination = match (self.destination, &self.kinesis_stream) {
            (Way::Firehose, _) => Destination::Firehose,
            (Way::Kinesis, Some(stream)) => Destination::Kinesis(stream.as_str().into()),
            // A default without a data stream is refused wherever it would hold for a stream.
            (Way::Auto, _) | (Way::Kinesis, None) => Destination::Auto,
        };
        let target = if self.is_plain() {
            Target::Plain
        } else {
            Target::Encrypted(self.key().unwrap_or(Key::AwsOwned))
        };
        Declared {
            destination,
            policy: self.encryption,
            manage: self.manage.then_some(target),
            asks_joins: self.aggregate == When::Auto,
        }
    }

    /// Forgets what is set and means nothing to it.
    fn forget(&mut self, is_own: impl Fn(&'static str) -> bool) {
        if self.destination != Way::Kinesis && !is_own("kinesis_stream") {
            self.kinesis_stream = None;
        }
        if self.destination == Way::Firehose && !is_own("partition_key") {
            RANDOM.clone_into(&mut self.partition_key);
        }
        if self.aggregate == When::Off && !is_own("aggregate_delimiter") {
            self.aggregate_delimiter = None;
        }
        if !self.manage && !is_own("encryption_key") {
            self.encryption_key = None;
        }
    }
}

impl StreamDraft {
    /// How its records are sent.
    pub(super) fn forwarded(&self) -> forward::StreamConfig {
        let limits = &self.settings.limits;
        let (records, bytes) = (limits.batch_records_max, limits.batch_bytes_max);
        forward::StreamConfig {
            partition_key: match self.declared.partition_key.as_str() {
                HEADER => PartitionKey::Header,
                // What is no pointer was refused when it was read.
                text => text.parse().map_or(PartitionKey::Random, PartitionKey::Pointer),
            },
            // The defaults are the bounds of Firehose, and those of Kinesis are wider.
            request_records_max: (records < BATCH_RECORDS_MAX).then_some(records),
            request_bytes_max: (bytes < BATCH_BYTES_MAX).then_some(bytes),
            aggregate: Aggregate {
                when: self.declared.aggregate,
                bytes: self.declared.aggregate_bytes,
                end: self.declared.aggregate_delimiter.unwrap_or_default(),
            },
        }
    }
}

impl Draft {
    /// How the streams are minded.
    pub(super) fn sse_config(&self) -> sse::Config {
        let (sse, forward) = (&self.config.sse, &self.config.forward);
        sse::Config {
            upstream: forward.upstream.clone(),
            kinesis_endpoint: self.kinesis_endpoint.clone(),
            connect_timeout: forward.connect_timeout,
            // A question is small, whatever a request with records may take.
            attempt_timeout: sse
                .attempt_timeout
                .min(forward.attempt_timeout)
                .max(forward.connect_timeout),
            streams: self
                .streams
                .iter()
                .map(|(name, named)| (name.clone(), named.stream.declared.declared()))
                .collect(),
            others: self.declared_of_others(),
            dir: self.spool_dir.as_deref().map(control_dir),
            ..sse.clone()
        }
    }

    /// Lets streams go without what holds for all and means nothing to them, such as the data stream where
    /// the destination is another one.
    pub(super) fn forget_what_means_nothing(&mut self) {
        let origins = &self.origins;
        for (name, NamedStream { stream, .. }) in &mut self.streams {
            stream.declared.forget(|key| origins.contains_key(&Slot::stream(name, key)));
        }
    }

    /// What is declared of the streams that are not named. One that is there for its backlog alone is nobody's
    /// to manage.
    pub(super) fn declared_of_others(&self) -> Declared {
        let declared = self.defaults.declared.declared();
        if self.any_streams_max > 0 { declared } else { Declared { manage: None, ..declared } }
    }
}
