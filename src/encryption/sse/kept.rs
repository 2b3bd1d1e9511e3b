//! What is kept of a stream over a restart: the calls of the day, and where its records went. Plain data.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::calls::Calls;
use super::declared::Destination;
use super::observed::{Place, RECORD_BYTES_DEFAULT};

/// What is kept of a stream over a restart.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Kept {
    /// Where its records went, when the service was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) route: Option<KeptRoute>,
    #[serde(default)]
    pub(super) calls: Calls,
}

/// Where the records of a stream went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum KeptRoute {
    Firehose,
    Kinesis { id: String, record_bytes_max: usize },
}

impl Kept {
    /// Where the records go until the service was asked.
    pub(super) fn place(&self, destination: &Destination) -> Option<Place> {
        match destination {
            Destination::Auto => self.route.clone().map(KeptRoute::place),
            Destination::Firehose => Some(Place::Firehose),
            Destination::Kinesis(id) => {
                Some(Place::Kinesis { id: Arc::clone(id), record_bytes_max: RECORD_BYTES_DEFAULT })
            }
        }
    }
}

impl KeptRoute {
    /// What is kept of a place, if it is one that records go to.
    pub(super) fn of(place: &Place) -> Option<Self> {
        match place {
            Place::Firehose => Some(Self::Firehose),
            Place::Kinesis { id, record_bytes_max } => {
                Some(Self::Kinesis { id: id.to_string(), record_bytes_max: *record_bytes_max })
            }
            Place::Nowhere => None,
        }
    }

    /// The place.
    pub(super) fn place(self) -> Place {
        match self {
            Self::Firehose => Place::Firehose,
            Self::Kinesis { id, record_bytes_max } => {
                Place::Kinesis { id: id.into(), record_bytes_max }
            }
        }
    }
}
