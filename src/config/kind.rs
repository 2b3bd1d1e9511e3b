//! The kinds of values: what a key takes, and what is said when it is given something else. Pure.

use std::fmt;
use std::net::SocketAddr;

use http::Uri;

use super::fault::did_you_mean;
use super::value::{Value, quoted};
use crate::aws::{is_data_stream, key_region};
use crate::encryption::sse;
use crate::telemetry::check_filter;

/// Something that was said for a key, as it was said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Raw {
    /// `true` or `false` in the file.
    Switch(bool),
    /// An integer in the file. Those that do not fit are kept at the bounds, which no key reaches.
    Whole(i128),
    /// A string in the file.
    Text(String),
    /// An array of strings in the file.
    List(Vec<String>),
    /// A variable. Its kind is that of the key.
    Variable(String),
    /// Something in the file that no key takes, such as a float or an array of numbers.
    Other(&'static str),
}

impl Raw {
    /// Whether it is the empty string, which is the same as saying nothing.
    pub(super) fn is_empty(&self) -> bool {
        matches!(self, Self::Text(text) | Self::Variable(text) if text.is_empty())
    }

    fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) | Self::Variable(text) => Some(text),
            Self::Switch(_) | Self::Whole(_) | Self::List(_) | Self::Other(_) => None,
        }
    }
}

impl fmt::Display for Raw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Switch(on) => write!(f, "{on}"),
            Self::Whole(number) => write!(f, "{number}"),
            Self::Text(text) | Self::Variable(text) => f.write_str(&shown(text)),
            Self::List(_) => f.write_str("an array"),
            Self::Other(what) => f.write_str(what),
        }
    }
}

/// `text` in quotes, without the secrets of a URL, and not longer than a line.
fn shown(text: &str) -> String {
    let text = redacted(text);
    if text.chars().count() <= SHOWN_CHARS_MAX {
        return quoted(&text);
    }
    let start: String = text.chars().take(SHOWN_CHARS_MAX).collect();
    format!("{}...", quoted(&start))
}

const SHOWN_CHARS_MAX: usize = 80;

/// `text` with the user and the password of a URL replaced.
pub(super) fn redacted(text: &str) -> String {
    let (scheme, rest) = text.split_once("://").unwrap_or(("", text));
    match rest.rsplit_once('@') {
        Some((_, host)) if scheme.is_empty() => format!("***@{host}"),
        Some((_, host)) => format!("{scheme}://***@{host}"),
        None => text.to_owned(),
    }
}

/// What a key takes.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    /// `true` or `false`.
    Switch,
    /// A whole number with its bounds, both of which are allowed.
    Whole { min: u64, max: u64, unit: Unit },
    /// One of these words.
    Word(&'static [&'static str]),
    /// A text, what it is, and how one tells.
    Text { what: &'static str, is_right: fn(&str) -> bool },
    /// Some texts, what they are, and how one tells of each.
    List { what: &'static str, is_right: fn(&str) -> bool },
}

/// What a number counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    Things,
    Milliseconds,
    Bytes,
    Percent,
}

impl Kind {
    /// The value that `raw` stands for.
    ///
    /// # Errors
    /// What would be right, and a hint if there is one.
    pub(super) fn read(self, raw: &Raw) -> Result<Value, String> {
        if let (Self::List { is_right, .. }, Some(items)) = (self, items(raw)) {
            return match items.iter().find(|item| !is_right(item)) {
                _ if items.len() > LIST_MAX => {
                    Err(format!("must be {self}, not {} of them", items.len()))
                }
                Some(wrong) => Err(format!("must be {self}, not {}", shown(wrong))),
                None => Ok(Value::List(items)),
            };
        }
        let value = match (self, raw) {
            (Self::Switch, Raw::Switch(on)) => Some(Value::Switch(*on)),
            (Self::Switch, Raw::Variable(text)) => text.parse().ok().map(Value::Switch),
            (Self::Whole { min, max, .. }, Raw::Whole(_) | Raw::Variable(_)) => {
                let number = match raw {
                    Raw::Whole(number) => u64::try_from(*number).ok(),
                    _ => raw.text().and_then(|text| text.replace('_', "").parse().ok()),
                };
                number.filter(|number| (min..=max).contains(number)).map(Value::Whole)
            }
            (Self::Word(words), Raw::Text(text) | Raw::Variable(text)) => {
                words.contains(&text.as_str()).then(|| Value::Text(text.clone()))
            }
            (Self::Text { is_right, .. }, Raw::Text(text) | Raw::Variable(text)) => {
                is_right(text).then(|| Value::Text(text.clone()))
            }
            _ => None,
        };
        value.ok_or_else(|| format!("must be {self}, not {raw}{}", self.hint(raw)))
    }

    fn hint(self, raw: &Raw) -> String {
        let text = raw.text().unwrap_or_default();
        match self {
            Self::Word(words) => did_you_mean(text, words.iter().copied()),
            Self::Whole { min, max, unit } => in_unit(text, unit)
                .filter(|number| (min..=max).contains(number))
                .map_or_else(String::new, |number| format!("; write {number}")),
            Self::Switch if matches!(text, "true" | "false") => format!("; write {text}"),
            Self::List { .. } if matches!(raw, Raw::Text(_)) => {
                "; write it in brackets: [\"...\"]".to_owned()
            }
            Self::Switch | Self::Text { .. } | Self::List { .. } => String::new(),
        }
    }
}

/// The items of a list: an array in the file, texts with commas between them in a variable.
fn items(raw: &Raw) -> Option<Vec<String>> {
    match raw {
        Raw::List(items) => Some(items.clone()),
        Raw::Variable(text) => {
            let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
            Some(items.map(str::to_owned).collect())
        }
        Raw::Switch(_) | Raw::Whole(_) | Raw::Text(_) | Raw::Other(_) => None,
    }
}

/// The most items of a list.
const LIST_MAX: usize = 100;

/// The number that somebody meant who wrote its unit behind it.
fn in_unit(text: &str, unit: Unit) -> Option<u64> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, suffix) = text.split_at_checked(digits)?;
    let suffix = suffix.trim().to_ascii_lowercase();
    let factor = match (unit, suffix.as_str()) {
        (_, "") | (Unit::Milliseconds, "ms") | (Unit::Bytes, "b") | (Unit::Percent, "%") => 1,
        (Unit::Milliseconds, "s" | "sec") => 1_000,
        (Unit::Milliseconds, "m" | "min") => 60_000,
        (Unit::Milliseconds, "h") => 3_600_000,
        (Unit::Bytes, "k" | "kb" | "ki" | "kib") => 1 << 10,
        (Unit::Bytes, "m" | "mb" | "mi" | "mib") => 1 << 20,
        (Unit::Bytes, "g" | "gb" | "gi" | "gib") => 1 << 30,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

/// What a right value is, as it stands after "must be".
impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Switch => f.write_str("true or false"),
            Self::Whole { min, max, unit } => {
                let of = match unit {
                    Unit::Things => "",
                    Unit::Milliseconds => " of milliseconds",
                    Unit::Bytes => " of bytes",
                    Unit::Percent => " of percent",
                };
                write!(f, "a whole number{of} from {min} to {max}")
            }
            Self::Word(words) => {
                for (index, word) in words.iter().enumerate() {
                    let before = if index == 0 {
                        ""
                    } else if index + 1 == words.len() {
                        " or "
                    } else {
                        ", "
                    };
                    write!(f, "{before}\"{word}\"")?;
                }
                Ok(())
            }
            Self::Text { what, .. } | Self::List { what, .. } => f.write_str(what),
        }
    }
}

/// An address and a port to listen at.
pub(super) const ADDRESS: Kind = Kind::Text {
    what: "an IP address and a port, such as \"127.0.0.1:4573\"",
    is_right: |text| text.parse::<SocketAddr>().is_ok(),
};

/// A path of the file system.
pub(super) const PATH: Kind = Kind::Text { what: "a path", is_right: |text| !text.contains('\0') };

/// The name of a Region of AWS. Its form is checked only as far as to keep a host name from breaking.
pub(super) const REGION: Kind = Kind::Text {
    what: "the name of a Region, such as \"eu-west-1\"",
    is_right: |text| {
        text.len() <= 63
            && !text.starts_with('-')
            && !text.ends_with('-')
            && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
    },
};

/// The name of a profile of the AWS configuration files.
pub(super) const PROFILE: Kind = Kind::Text {
    what: "the name of a profile, in one line",
    is_right: |text| !text.chars().any(char::is_control),
};

/// A URL to send to.
pub(super) const ENDPOINT: Kind = Kind::Text {
    what: "a URL with http or https and without a user, such as \"https://firehose.eu-west-1.amazonaws.com\"",
    is_right: |text| is_url(text) && !text.contains('@'),
};

/// A URL of KMS.
pub(super) const KMS_ENDPOINT: Kind = Kind::Text {
    what: "a URL with http or https and without a user, such as \"https://kms.eu-west-1.amazonaws.com\"",
    is_right: |text| is_url(text) && !text.contains('@'),
};

/// A URL of Kinesis.
pub(super) const KINESIS_ENDPOINT: Kind = Kind::Text {
    what: "a URL with http or https and without a user, such as \"https://kinesis.eu-west-1.amazonaws.com\"",
    is_right: |text| is_url(text) && !text.contains('@'),
};

/// The name or the ARN of a Kinesis data stream.
pub(super) const DATA_STREAM: Kind = Kind::Text {
    what: "the name of a Kinesis data stream, or its ARN, such as \
           \"arn:aws:kinesis:eu-west-1:111122223333:stream/clicks\"",
    is_right: is_data_stream,
};

/// What a partition key is taken from.
pub(super) const PARTITION_KEY: Kind = Kind::Text {
    what: "\"random\", \"header\", or a JSON pointer of up to 256 characters, such as \"/user/id\"",
    is_right: |text| matches!(text, "random" | "header") || is_pointer(text),
};

/// Whether `text` is a JSON pointer (RFC 6901) to something inside the record.
fn is_pointer(text: &str) -> bool {
    let is_escaped = |rest: &str| rest.starts_with(['0', '1']);
    text.starts_with('/') && text.len() <= 256 && text.split('~').skip(1).all(is_escaped)
}

/// What a stream is to be encrypted under.
pub(super) const ENCRYPTION_KEY: Kind = Kind::Text {
    what: "\"aws-owned\", the ARN of a KMS key, for a Kinesis data stream also \"alias/...\" or the id of \
           a key, or \"none\" for not encrypted",
    is_right: |text| text == NO_KEY || sse::Key::parse(text).is_ok(),
};

/// What is said in place of a key for a stream that is not to be encrypted.
pub(super) const NO_KEY: &str = "none";

/// The ARN of a KMS key.
pub(super) const KEY_ARN: Kind = Kind::Text {
    what: "the ARN of a KMS key, such as \
           \"arn:aws:kms:eu-west-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab\" (no alias: \
           segments name their key, and an alias can come to mean another)",
    is_right: |text| key_region(text).is_some(),
};

/// ARNs of KMS keys.
pub(super) const KEY_ARNS: Kind = Kind::List {
    what: "an array of up to 100 ARNs of KMS keys, in a variable with commas between them",
    is_right: |text| key_region(text).is_some(),
};

/// What an application is called. KMS shows it in its logs.
pub(super) const APPLICATION: Kind = Kind::Text {
    what: "a name of up to 128 letters, digits and characters of \"_.:/=@-\"",
    is_right: |text| {
        text.len() <= 128
            && text.chars().all(|c| c.is_ascii_alphanumeric() || "_.:/=@-".contains(c))
    },
};

/// A URL of a proxy, which may have a user and a password.
pub(super) const PROXY: Kind = Kind::Text {
    what: "a URL with http or https, such as \"http://proxy.internal:3128\"",
    is_right: is_url,
};

fn is_url(text: &str) -> bool {
    text.parse::<Uri>().is_ok_and(|uri| {
        matches!(uri.scheme_str(), Some("http" | "https"))
            && uri.host().is_some_and(|host| !host.is_empty())
            && uri.authority().is_some_and(|authority| has_right_port(authority.as_str()))
            && uri.query().is_none()
    })
}

/// Whether what stands behind the host is nothing or a port that exists. `Uri` lets much more pass.
fn has_right_port(authority: &str) -> bool {
    let host_and_port = authority.rsplit_once('@').map_or(authority, |(_, rest)| rest);
    let after_host = host_and_port.rsplit_once(']').map_or(host_and_port, |(_, rest)| rest);
    match after_host.split_once(':') {
        None => true,
        Some((_, port)) => port.parse::<u16>().is_ok_and(|port| port != 0),
    }
}

/// Directives of the log filter.
pub(super) const FILTER: Kind = Kind::Text {
    what: "log directives, such as \"info\" or \"info,standpipe::forward=debug\"",
    is_right: |text| check_filter(text).is_ok(),
};
