//! The nouns that travel: the limits of a record, the name of a stream, the level of an answer.
//!
//! This file owns what every stage has to agree on. It holds no state and performs no I/O.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// The most bytes a record may have, before base64 and with its delimiter: 1,000 KiB.
///
/// Source: the service model of `PutRecord` (`Data`: blob, at most 1,024,000).
pub const RECORD_BYTES_MAX: usize = 1_024_000;

/// The most records in one `PutRecordBatch`. Source: the service model.
pub const BATCH_RECORDS_MAX: usize = 500;

/// The most raw bytes in one `PutRecordBatch`: 4 MiB, counted before base64.
///
/// Source: the service's limits page; that raw bytes count was seen with real requests.
pub const BATCH_BYTES_MAX: usize = 4 * 1024 * 1024;

/// The longest stream name, in characters. Source: the service model.
pub const STREAM_NAME_CHARS_MAX: usize = 64;

/// The longest partition key, in characters. Source: the service model of Kinesis `PutRecord`.
pub const PARTITION_KEY_CHARS_MAX: usize = 256;

/// The longest partition key, in bytes of UTF-8.
pub const PARTITION_KEY_BYTES_MAX: usize = 4 * PARTITION_KEY_CHARS_MAX;

/// What Firehose bills a record in: each record is rounded up to a multiple of this many bytes.
pub const BILLED_BYTES_STEP: usize = 5 * 1024;

const _: () = assert!(RECORD_BYTES_MAX <= BATCH_BYTES_MAX, "every legal record fits a batch");

/// The bytes that the service bills for one record of `bytes` raw bytes.
///
/// An empty record is billed like a record of one byte.
#[must_use]
pub const fn billed_bytes(bytes: usize) -> usize {
    let steps = bytes.div_ceil(BILLED_BYTES_STEP);
    if steps == 0 { BILLED_BYTES_STEP } else { steps * BILLED_BYTES_STEP }
}

/// The name of a delivery stream: 1 to 64 characters of `[a-zA-Z0-9_.-]`.
///
/// Cloning is cheap. The order is that of the bytes.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamName(Arc<str>);

impl StreamName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for StreamName {
    type Err = BadStreamName;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        if name.is_empty() {
            return Err(BadStreamName::Empty);
        }
        if let Some(found) = name.chars().find(|c| !is_name_char(*c)) {
            return Err(BadStreamName::Character { found });
        }
        // All characters are ASCII here, so that bytes are characters.
        if name.len() > STREAM_NAME_CHARS_MAX {
            return Err(BadStreamName::TooLong { chars: name.len() });
        }
        Ok(Self(Arc::from(name)))
    }
}

const fn is_name_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-')
}

impl std::borrow::Borrow<str> for StreamName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for StreamName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for StreamName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// Why a text is not the name of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadStreamName {
    /// The text has no characters.
    Empty,
    /// The text is longer than [`STREAM_NAME_CHARS_MAX`].
    TooLong {
        /// How long it is.
        chars: usize,
    },
    /// The text has a character that a name must not have.
    Character {
        /// The first such character.
        found: char,
    },
}

impl fmt::Display for BadStreamName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("a stream name needs at least one character"),
            Self::TooLong { chars } => write!(
                f,
                "a stream name has at most {STREAM_NAME_CHARS_MAX} characters, this one has {chars}"
            ),
            Self::Character { found } => write!(
                f,
                "a stream name is made of letters, digits, '_', '.' and '-', not of {found:?}"
            ),
        }
    }
}

impl std::error::Error for BadStreamName {}

/// What says into which shard of a Kinesis data stream a record goes: 1 to 256 characters that can be seen.
///
/// Cloning is cheap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionKey(Arc<str>);

impl PartitionKey {
    /// The key as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for PartitionKey {
    type Err = BadPartitionKey;

    fn from_str(key: &str) -> Result<Self, Self::Err> {
        if key.is_empty() {
            return Err(BadPartitionKey::Empty);
        }
        let chars = key.chars().count();
        if chars > PARTITION_KEY_CHARS_MAX {
            return Err(BadPartitionKey::TooLong { chars });
        }
        if key.chars().any(char::is_control) {
            return Err(BadPartitionKey::NotVisible);
        }
        Ok(Self(Arc::from(key)))
    }
}

impl From<PartitionKey> for Arc<str> {
    fn from(key: PartitionKey) -> Self {
        key.0
    }
}

/// Why a text is not a partition key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadPartitionKey {
    /// The text has no characters.
    Empty,
    /// The text is longer than [`PARTITION_KEY_CHARS_MAX`].
    TooLong {
        /// How long it is.
        chars: usize,
    },
    /// The text has a control character.
    NotVisible,
}

impl fmt::Display for BadPartitionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("a partition key needs at least one character"),
            Self::TooLong { chars } => write!(
                f,
                "a partition key has at most {PARTITION_KEY_CHARS_MAX} characters, this one has {chars}"
            ),
            Self::NotVisible => f.write_str("a partition key has no control characters"),
        }
    }
}

impl std::error::Error for BadPartitionKey {}

/// What has to have happened to a record before its sender gets an answer.
///
/// The order is that of strength.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Ack {
    /// The record is reserved in memory and stands in a batch. It is lost if the process dies.
    Memory,
    /// The record is sealed, appended to the spool and fsynced.
    Durable,
    /// The service returned a record id for it.
    Delivered,
}

impl Ack {
    /// The level as it is written in configurations, headers and answers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Durable => "durable",
            Self::Delivered => "delivered",
        }
    }
}

impl FromStr for Ack {
    type Err = UnknownAck;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "memory" => Ok(Self::Memory),
            "durable" => Ok(Self::Durable),
            "delivered" => Ok(Self::Delivered),
            _ => Err(UnknownAck),
        }
    }
}

impl fmt::Display for Ack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The text names none of the three levels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnknownAck;

impl fmt::Display for UnknownAck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a level is one of \"memory\", \"durable\" and \"delivered\"")
    }
}

impl std::error::Error for UnknownAck {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn billing_rounds_each_record_up_to_five_kibibytes() {
        assert_eq!(billed_bytes(0), 5_120);
        assert_eq!(billed_bytes(1), 5_120);
        assert_eq!(billed_bytes(5_120), 5_120);
        assert_eq!(billed_bytes(5_121), 10_240);
    }

    #[test]
    fn a_stream_name_holds_to_the_service_pattern() {
        let longest = "x".repeat(STREAM_NAME_CHARS_MAX);
        for good in ["a", "demo", "A.b_c-9", longest.as_str()] {
            assert_eq!(good.parse::<StreamName>().unwrap().as_str(), good);
        }
        assert_eq!("".parse::<StreamName>(), Err(BadStreamName::Empty));
        assert_eq!("a b".parse::<StreamName>(), Err(BadStreamName::Character { found: ' ' }));
        assert_eq!(
            "a/b".parse::<StreamName>().unwrap_err().to_string(),
            "a stream name is made of letters, digits, '_', '.' and '-', not of '/'"
        );
        assert_eq!("x".repeat(65).parse::<StreamName>(), Err(BadStreamName::TooLong { chars: 65 }));
    }

    #[test]
    fn a_partition_key_has_up_to_as_many_characters_as_the_service_takes_and_all_can_be_seen() {
        let longest = "\u{1f511}".repeat(PARTITION_KEY_CHARS_MAX);
        assert_eq!(longest.len(), PARTITION_KEY_BYTES_MAX);
        for good in ["a", "user 7", "Käufer/12", longest.as_str()] {
            assert_eq!(good.parse::<PartitionKey>().unwrap().as_str(), good);
        }
        let parsed = |text: &str| text.parse::<PartitionKey>().unwrap_err();
        assert_eq!(parsed(""), BadPartitionKey::Empty);
        assert_eq!(parsed(&format!("{longest}x")), BadPartitionKey::TooLong { chars: 257 });
        for control in ["a\tb", "a\nb", "\u{85}", "\u{7f}"] {
            assert_eq!(parsed(control), BadPartitionKey::NotVisible);
        }
    }

    #[test]
    fn levels_read_back_as_they_are_written_and_are_ordered_by_strength() {
        for level in [Ack::Memory, Ack::Durable, Ack::Delivered] {
            assert_eq!(level.as_str().parse::<Ack>(), Ok(level));
        }
        assert!(Ack::Memory < Ack::Durable && Ack::Durable < Ack::Delivered);
        assert_eq!("Memory".parse::<Ack>(), Err(UnknownAck));
    }
}
