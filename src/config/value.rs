//! What a key can be set to: how it is written, how it is read, and the fields that take it. Pure.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::encryption::sse::Policy;
use crate::forward::{End, When};
use crate::ingest::{Delimiter, Framing, Oversize};
use crate::record::Ack;
use crate::spool::{Provider, Volume};
use crate::telemetry::LogFormat;

use super::declared::Way;

/// A value that is of the right kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    Switch(bool),
    Whole(u64),
    Text(String),
    List(Vec<String>),
}

impl Value {
    /// The value as TOML.
    pub(super) fn to_toml(&self) -> String {
        match self {
            Self::Switch(on) => on.to_string(),
            Self::Whole(number) => number.to_string(),
            Self::Text(text) => quoted(text),
            Self::List(items) => {
                let items: Vec<String> = items.iter().map(|item| quoted(item)).collect();
                format!("[{}]", items.join(", "))
            }
        }
    }
}

/// `text` as a basic string of TOML, which is also how it is shown to people.
pub(super) fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            control if control.is_control() => {
                let written = write!(out, "\\u{:04X}", u32::from(control));
                debug_assert!(written.is_ok(), "writing to a string can not fail");
            }
            other => out.push(other),
        }
    }
    out.push('"');
    out
}

/// A field of a configuration that a key sets.
pub(super) trait Setting {
    /// What it is set to now; `None` when it is unset.
    fn value(&self) -> Option<Value>;

    /// Sets it. `None` when the value is of another kind, or larger than the field can hold.
    fn set(&mut self, value: &Value) -> Option<()>;
}

/// A type that a value maps to and from. An `Option` of it is a field that can be unset.
pub(super) trait Scalar: Sized {
    fn to_value(&self) -> Value;
    fn from_value(value: &Value) -> Option<Self>;
}

impl<T: Scalar> Setting for T {
    fn value(&self) -> Option<Value> {
        Some(self.to_value())
    }

    fn set(&mut self, value: &Value) -> Option<()> {
        *self = T::from_value(value)?;
        Some(())
    }
}

impl<T: Scalar> Setting for Option<T> {
    fn value(&self) -> Option<Value> {
        self.as_ref().map(T::to_value)
    }

    fn set(&mut self, value: &Value) -> Option<()> {
        *self = Some(T::from_value(value)?);
        Some(())
    }
}

impl Scalar for bool {
    fn to_value(&self) -> Value {
        Value::Switch(*self)
    }

    fn from_value(value: &Value) -> Option<Self> {
        if let Value::Switch(on) = value { Some(*on) } else { None }
    }
}

macro_rules! whole_numbers {
    ($($number:ty),*) => {$(
        impl Scalar for $number {
            fn to_value(&self) -> Value {
                // No target has a `usize` of more than 64 bits.
                Value::Whole(u64::try_from(*self).unwrap_or(u64::MAX))
            }

            fn from_value(value: &Value) -> Option<Self> {
                if let Value::Whole(number) = value { Self::try_from(*number).ok() } else { None }
            }
        }
    )*};
}

whole_numbers!(usize, u64, u32, u16, u8);

/// Times are configured in milliseconds, all of them.
impl Scalar for Duration {
    fn to_value(&self) -> Value {
        Value::Whole(u64::try_from(self.as_millis()).unwrap_or(u64::MAX))
    }

    fn from_value(value: &Value) -> Option<Self> {
        if let Value::Whole(ms) = value { Some(Self::from_millis(*ms)) } else { None }
    }
}

impl Scalar for String {
    fn to_value(&self) -> Value {
        Value::Text(self.clone())
    }

    fn from_value(value: &Value) -> Option<Self> {
        if let Value::Text(text) = value { Some(text.clone()) } else { None }
    }
}

impl Scalar for Vec<String> {
    fn to_value(&self) -> Value {
        Value::List(self.clone())
    }

    fn from_value(value: &Value) -> Option<Self> {
        if let Value::List(items) = value { Some(items.clone()) } else { None }
    }
}

impl Scalar for PathBuf {
    fn to_value(&self) -> Value {
        Value::Text(self.display().to_string())
    }

    fn from_value(value: &Value) -> Option<Self> {
        String::from_value(value).map(Self::from)
    }
}

impl Scalar for SocketAddr {
    fn to_value(&self) -> Value {
        Value::Text(self.to_string())
    }

    fn from_value(value: &Value) -> Option<Self> {
        String::from_value(value)?.parse().ok()
    }
}

macro_rules! words {
    ($($kind:ty: $($word:literal = $variant:path),*;)*) => {$(
        impl Scalar for $kind {
            fn to_value(&self) -> Value {
                let word = match self { $($variant => $word),* };
                Value::Text(word.to_owned())
            }

            fn from_value(value: &Value) -> Option<Self> {
                match value {
                    $(Value::Text(word) if word == $word => Some($variant),)*
                    _ => None,
                }
            }
        }
    )*};
}

words! {
    Ack: "memory" = Self::Memory, "durable" = Self::Durable, "delivered" = Self::Delivered;
    Framing: "auto" = Self::Auto, "lines" = Self::Lines, "body" = Self::Body;
    Delimiter: "auto" = Self::Auto, "newline" = Self::Newline, "none" = Self::None;
    Oversize: "refuse" = Self::Refuse, "dead-letter" = Self::DeadLetter;
    Way: "auto" = Self::Auto, "firehose" = Self::Firehose, "kinesis" = Self::Kinesis;
    When: "off" = Self::Off, "on" = Self::On, "auto" = Self::Auto;
    End: "newline" = Self::Newline, "none" = Self::Nothing;
    Policy: "ignore" = Self::Ignore, "report" = Self::Report, "require" = Self::Require;
    Volume: "persistent" = Self::Persistent, "ephemeral" = Self::Ephemeral;
    Provider: "kms" = Self::Kms, "file" = Self::File;
    LogFormat: "auto" = Self::Auto, "text" = Self::Text, "json" = Self::Json;
}
