//! What somebody declares of a stream: where its records go, what its encryption is to be, and who sees to it.
//!
//! Plain values. They decide nothing.

use std::fmt;
use std::sync::Arc;

/// Where the records of a stream are to go.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Destination {
    /// Where the service says: it is asked what the source of the delivery stream is.
    #[default]
    Auto,
    /// Into the delivery stream, without a question.
    Firehose,
    /// Into this Kinesis data stream, by its name or its ARN, without a question.
    Kinesis(Arc<str>),
}

/// What follows when a stream is not known to be encrypted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Policy {
    /// Nothing: the service is not even asked.
    Ignore,
    /// It is shown, counted and logged.
    #[default]
    Report,
    /// Its records wait, sealed, until it is.
    Require,
}

impl Policy {
    /// The word for it in the configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ignore => "ignore",
            Self::Report => "report",
            Self::Require => "require",
        }
    }
}

/// The key that a stream is to be encrypted under.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Key {
    /// The service's own: for a data stream that is `alias/aws/kinesis`.
    AwsOwned,
    /// This one of the customer: an ARN, and for a data stream an id or an alias too.
    Customer(Arc<str>),
}

/// The word for the service's own key.
pub(super) const AWS_OWNED: &str = "aws-owned";

/// The most bytes of the name of a key. Source: the service model of KMS.
const KEY_BYTES_MAX: usize = 2048;

/// The name that Kinesis has for its own key. Source: the service's API reference.
pub(super) const KINESIS_OWN: &str = "alias/aws/kinesis";

impl Key {
    /// The key that `text` names, if it can be one of any stream.
    ///
    /// # Errors
    /// [`BadKey`] when it is neither `aws-owned` nor looks like the name of a KMS key.
    pub fn parse(text: &str) -> Result<Self, BadKey> {
        if text == AWS_OWNED {
            return Ok(Self::AwsOwned);
        }
        // Some come from applications, and all go into the log.
        if text.len() > KEY_BYTES_MAX || text.chars().any(char::is_control) {
            return Err(BadKey);
        }
        let is_arn = text.starts_with("arn:")
            && text.split(':').nth(2) == Some("kms")
            && (text.contains(":key/") || text.contains(":alias/"));
        let is_alias = text.strip_prefix("alias/").is_some_and(|name| !name.is_empty());
        let is_id = text.len() == 36 && text.chars().all(|c| c.is_ascii_hexdigit() || c == '-')
            || text.starts_with("mrk-");
        if is_arn || is_alias || is_id { Ok(Self::Customer(text.into())) } else { Err(BadKey) }
    }

    /// Whether it is the service's own, by either of its names.
    pub(super) fn is_own(&self) -> bool {
        match self {
            Self::AwsOwned => true,
            Self::Customer(name) => {
                let alias = name.rsplit_once(':').map_or(&**name, |(_, alias)| alias);
                alias == KINESIS_OWN
            }
        }
    }

    /// Whether a delivery stream can have it: only the ARN of a key will do there.
    #[must_use]
    pub fn is_for_firehose(&self) -> bool {
        match self {
            Self::AwsOwned => true,
            Self::Customer(name) => name.starts_with("arn:") && name.contains(":key/"),
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AwsOwned => f.write_str(AWS_OWNED),
            Self::Customer(name) => f.write_str(name),
        }
    }
}

/// A text names no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadKey;

impl fmt::Display for BadKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "a key is \"{AWS_OWNED}\", the ARN of a KMS key, or for a Kinesis data stream also alias/… or a \
             key id"
        )
    }
}

impl std::error::Error for BadKey {}

/// What the encryption of a stream is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// Encrypted under this key.
    Encrypted(Key),
    /// Not encrypted.
    Plain,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Encrypted(key) => write!(f, "encrypted under {key}"),
            Self::Plain => f.write_str("not encrypted"),
        }
    }
}

/// What is declared of one stream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Declared {
    /// Where its records go.
    pub destination: Destination,
    /// What follows when it is not known to be encrypted.
    pub policy: Policy,
    /// What this process is to see to, if it is the stream's owner. Nobody else changes a stream.
    pub manage: Option<Target>,
    /// Whether it is to be known if records may be joined.
    pub asks_joins: bool,
}

impl Declared {
    /// Whether the service is asked about the stream.
    pub(super) fn is_asked_about(&self) -> bool {
        self.policy != Policy::Ignore
            || self.destination == Destination::Auto
            || self.manage.is_some()
            || self.asks_joins
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_names_no_key_is_none() {
        let arn = "arn:aws:kms:eu-west-1:111122223333:key/1";
        let long = format!("{arn}{}", "x".repeat(KEY_BYTES_MAX));
        for wrong in
            ["", "key", "alias/", "arn:aws:s3:::b", &long, "alias/a\nb", "alias/\u{1b}[31m"]
        {
            assert_eq!(Key::parse(wrong), Err(BadKey), "{wrong:?}");
        }
        assert_eq!(Key::parse(arn), Ok(Key::Customer(arn.into())));
        assert_eq!(Key::parse("aws-owned"), Ok(Key::AwsOwned));
    }
}
