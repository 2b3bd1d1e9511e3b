//! What the spool's tests share: a key, and small segments made by hand.

use std::sync::Arc;

use super::frame::{self, FrameKind, Head};
use super::header::{self, Encoded, Header, Kind};
use super::keyring::{DataKey, Provider, WrappedKey};
use super::payload;

pub(super) const KEY: [u8; 32] = *b"a data key that is not random...";
pub(super) const KEY_ID: &str = "arn:aws:kms:eu-central-1:111122223333:key/0f1e2d3c";

/// The one data key of the tests.
pub(super) fn data_key() -> Arc<DataKey> {
    let context = [("application", "test"), ("stream", "demo")];
    let wrapped = WrappedKey {
        provider: Provider::Kms,
        key_id: KEY_ID.to_owned(),
        context: context.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        wrapped: b"a wrapped key".to_vec(),
    };
    Arc::new(DataKey::new(wrapped, KEY))
}

/// A header that is always the same but for its id.
pub(super) fn header(id: u64) -> Header {
    Header {
        id,
        created_unix_ms: 1_700_000_000_000,
        kind: Kind::Records,
        stream: "demo".parse().unwrap(),
        key: data_key().wrapped().clone(),
        salt: std::array::from_fn(|at| u8::try_from(at).unwrap()),
    }
}

/// A segment made by hand, always the same.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) encoded: Encoded,
    /// Header and frames.
    pub(super) bytes: Vec<u8>,
    /// Where each frame begins, and its head.
    pub(super) frames: Vec<(usize, Head)>,
    /// The records of each frame.
    pub(super) records: Vec<Vec<Vec<u8>>>,
}

impl Segment {
    /// A segment of no frames yet.
    pub(super) fn new(header: &Header) -> Self {
        let encoded = header::encode(header, &data_key()).unwrap();
        let bytes = encoded.bytes.clone();
        Self { encoded, bytes, frames: Vec::new(), records: Vec::new() }
    }

    /// A segment of `groups` groups of frames of a few records each; with an end frame when it `ends`.
    pub(super) fn of(id: u64, groups: &[u32], ends: bool) -> Self {
        let mut segment = Self::new(&header(id));
        for frames in groups {
            let watermark = segment.index();
            for _ in 0..*frames {
                let index = segment.index();
                let records = (0..1 + index % 3)
                    .map(|number| format!("record {number} of frame {index}").into_bytes());
                segment.append(records.collect(), watermark);
            }
        }
        if ends {
            segment.end();
        }
        segment
    }

    /// The index of the next frame.
    pub(super) fn index(&self) -> u32 {
        u32::try_from(self.frames.len()).unwrap()
    }

    /// Appends a frame.
    pub(super) fn append(&mut self, records: Vec<Vec<u8>>, watermark: u32) {
        self.push(FrameKind::Records, &records, watermark);
        self.records.push(records);
    }

    /// Appends the end frame.
    pub(super) fn end(&mut self) {
        self.push(FrameKind::End, &[], self.index());
    }

    fn push(&mut self, kind: FrameKind, records: &[Vec<u8>], watermark: u32) {
        let index = self.index();
        let head = Head {
            kind,
            index,
            records: u32::try_from(records.len()).unwrap(),
            sealed_bytes: 0,
            watermark,
            records_before: self.records_in_all(),
            random: (u64::from(index) * 0x0101_0101_0101_0101).to_le_bytes(),
        };
        let at = self.bytes.len();
        let Encoded { keys, digest, .. } = &self.encoded;
        let head = frame::seal(keys, digest, head, &mut self.bytes, |out| {
            if kind == FrameKind::Records {
                payload::append(out, 1_700_000_000_123, records.iter().map(Vec::as_slice));
            }
        });
        self.frames.push((at, head.unwrap()));
    }

    /// How many records it has.
    pub(super) fn records_in_all(&self) -> u64 {
        u64::try_from(self.records.iter().map(Vec::len).sum::<usize>()).unwrap()
    }
}
