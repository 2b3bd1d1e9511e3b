//! Joining: which records of a request go into one record of the service, a blob, and how that is written.
//!
//! Pure. A blob is never larger than its target, unless it is one record that is: no more than 500 records go
//! into one, since beyond that Firehose does not take them apart. What is joined can be taken apart again:
//!
//! - lines: each record ends with a newline, which is added where it is missing. Records that have none inside
//!   come out as they went in.
//! - nothing between: what needs no delimiter to be told apart, such as JSON.
//! - KPL: any records at all. Those of one blob have one partition key, and so one shard.
//!
//! It sends nothing and settles nothing.

use std::collections::HashMap;

use super::kpl;
use super::partition::{Keys, PartitionKey};
use super::request::{Blob, Blobs};
use crate::record::RECORD_BYTES_MAX;

/// The most records in a blob. Source: the service model of `PutRecordBatch`, on de-aggregation.
pub(super) const BLOB_RECORDS_MAX: usize = 500;

/// Whether and how the records of a stream are joined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Aggregate {
    /// Whether they are.
    pub when: When,
    /// How large a blob becomes, in bytes.
    pub bytes: usize,
    /// What each of them ends with, where they go into the delivery stream.
    pub end: End,
}

impl Default for Aggregate {
    fn default() -> Self {
        Self { when: When::Off, bytes: 128 * 1024, end: End::Newline }
    }
}

/// Whether records are joined.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum When {
    /// Each goes by itself.
    #[default]
    Off,
    /// They are.
    On,
    /// Where the configuration of the stream, as the service says it, makes it safe.
    Auto,
}

/// What a joined record ends with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum End {
    /// A newline, which is added where it is missing.
    #[default]
    Newline,
    /// What it ends with.
    Nothing,
}

/// How the records of a blob are put together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// One behind the other, each with a newline at its end.
    Lines,
    /// One behind the other.
    Raw,
    /// In the KPL's format, those of one key.
    Kpl,
}

impl Form {
    /// Whether a newline has to be added to a record. Not to one that would become too large by it.
    fn lacks_end(self, record: &[u8]) -> bool {
        self == Self::Lines && record.last() != Some(&b'\n') && record.len() < RECORD_BYTES_MAX
    }

    /// How many bytes a record takes that goes by itself.
    pub(super) fn alone_bytes(self, record: &[u8]) -> usize {
        record.len() + usize::from(self.lacks_end(record))
    }

    /// Blobs of one record each, where that is another thing than the records as they are.
    pub(super) fn each_alone<'r>(self, records: impl Iterator<Item = &'r [u8]>) -> Option<Blobs> {
        if self != Self::Lines {
            return None;
        }
        let alone = |record| Blob { records: 1, bytes: self.alone_bytes(record), key: None };
        let blobs: Vec<Blob> = records.map(alone).collect();
        let of = (0..u16::try_from(blobs.len()).ok()?).collect();
        Some(Blobs { form: self, of, blobs })
    }

    /// Writes a record behind others, or by itself.
    pub(super) fn write(self, out: &mut Vec<u8>, record: &[u8]) {
        out.extend_from_slice(record);
        if self.lacks_end(record) {
            out.push(b'\n');
        }
    }
}

/// How the records of one stream are joined at present.
#[derive(Debug)]
pub(super) struct Joining {
    pub(super) form: Form,
    blob_bytes_max: usize,
    /// Where the partition keys come from, in the KPL's format.
    keys: Keys,
}

impl Joining {
    /// Blobs for the delivery stream.
    pub(super) fn for_firehose(aggregate: &Aggregate) -> Self {
        let form = match aggregate.end {
            End::Newline => Form::Lines,
            End::Nothing => Form::Raw,
        };
        let keys = Keys::new(PartitionKey::Random);
        Self { form, blob_bytes_max: aggregate.bytes.min(RECORD_BYTES_MAX), keys }
    }

    /// Blobs for a data stream whose records have at most so many bytes, with their keys.
    pub(super) fn for_kinesis(
        aggregate: &Aggregate,
        from: &PartitionKey,
        record_bytes_max: usize,
    ) -> Self {
        let keys = Keys::new(from.clone());
        let takes = record_bytes_max.saturating_sub(keys.bytes_max()).min(RECORD_BYTES_MAX);
        Self { form: Form::Kpl, blob_bytes_max: aggregate.bytes.min(takes), keys }
    }

    /// How many records had no partition key where it should come from, since this was asked last.
    pub(super) const fn take_missing(&mut self) -> u64 {
        self.keys.take_missing()
    }
}

/// The room that is left in a request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Space {
    /// The most blobs in all.
    pub(super) blobs_max: usize,
    /// How many more bytes.
    pub(super) bytes_left: usize,
}

/// The blobs of a request that is being filled.
#[derive(Debug, Default)]
pub(super) struct Layout {
    of: Vec<u16>,
    blobs: Vec<Blob>,
    /// What the records of each blob take in the KPL's format.
    framed: Vec<usize>,
    /// The blob of each key that takes more, and of the records that have none.
    open: HashMap<Option<Box<str>>, u16>,
}

impl Layout {
    /// Finds a place for a record. Gives back how many bytes the request grows by; nothing when there is no
    /// place. One always finds a place in a request that is empty.
    pub(super) fn place(
        &mut self,
        joining: &mut Joining,
        record: &[u8],
        of_request: Option<&str>,
        space: Space,
    ) -> Option<usize> {
        let is_kpl = joining.form == Form::Kpl;
        let key = if is_kpl { joining.keys.own(record, of_request) } else { None };
        let key: Option<Box<str>> = key.map(Into::into);
        let is_loner = is_kpl && kpl::is_aggregated(record);
        let open = self.open.get(&key).copied().filter(|_| !is_loner);
        if let Some(place) = open
            && let Some(more) = self.join(joining, place, record, space)
        {
            return more;
        }
        let is_full = self.blobs.len() >= space.blobs_max;
        let place = u16::try_from(self.blobs.len()).ok().filter(|_| !is_full)?;
        let bytes = joining.form.alone_bytes(record);
        // One that has no key of its own gets one by the dice, which the others of its blob share.
        let of_blob = is_kpl.then(|| key.clone().unwrap_or_else(|| joining.keys.dice().into()));
        let more = bytes + of_blob.as_ref().map_or(0, |key| key.len());
        if !self.blobs.is_empty() && more > space.bytes_left {
            return None;
        }
        self.blobs.push(Blob { records: 1, bytes, key: of_blob });
        self.framed.push(kpl::record_bytes(record.len()));
        self.of.push(place);
        // What comes after one that is alone does not overtake it.
        let _before = if is_loner { self.open.remove(&key) } else { self.open.insert(key, place) };
        Some(more)
    }

    /// Adds a record to a blob. Nothing when the blob is full; then, as far as the request is not, how many
    /// bytes that takes.
    #[expect(clippy::option_option, reason = "the blob is full, or the request is")]
    fn join(
        &mut self,
        joining: &Joining,
        place: u16,
        record: &[u8],
        space: Space,
    ) -> Option<Option<usize>> {
        let blob = self.blobs.get_mut(usize::from(place))?;
        let framed = self.framed.get_mut(usize::from(place))?;
        let with_it = *framed + kpl::record_bytes(record.len());
        let bytes = match &blob.key {
            Some(key) => kpl::blob_bytes(key.len(), with_it),
            None => blob.bytes + joining.form.alone_bytes(record),
        };
        if blob.records >= BLOB_RECORDS_MAX || bytes > joining.blob_bytes_max {
            return None;
        }
        let more = bytes - blob.bytes;
        if more > space.bytes_left {
            return Some(None);
        }
        *framed = with_it;
        blob.bytes = bytes;
        blob.records += 1;
        self.of.push(place);
        Some(Some(more))
    }

    /// The blobs, when all records have their place.
    pub(super) fn finish(self, joining: &Joining) -> Blobs {
        Blobs { form: joining.form, of: self.of, blobs: self.blobs }
    }
}
