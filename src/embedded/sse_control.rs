//! What a test may command of one stream's encryption, past the service's own calls: how long its changes
//! take, what is changed "from outside", what answers say of it, how many calls were made. Pure.
//!
//! ```json
//! {"transition_ms": 500, "settle_ms": 0, "flag": "false", "set": "disabled", "calls": 24}
//! ```
//!
//! What is left out stays as it is; `null` gives `transition_ms`, `settle_ms` and `flag` back to the rule.

use std::time::Duration;

use http::Method;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Value, json};

use super::sse::{Call, Key, KeyType, Sse, SseTiming};
use super::state::{duration_ms, unix_ms};

/// What stands commanded. It ends with the process, unlike what was changed by it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Commanded {
    transition: Option<Duration>,
    settle: Option<Duration>,
    flag: Option<Flag>,
}

/// What answers to puts say of encryption, whatever is true.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Flag {
    /// Nothing: the member is left out.
    Absent,
    False,
    True,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Set {
    Enabled,
    Disabled,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Command {
    #[serde(default, deserialize_with = "given")]
    transition_ms: Option<Option<u64>>,
    #[serde(default, deserialize_with = "given")]
    settle_ms: Option<Option<u64>>,
    #[serde(default, deserialize_with = "given")]
    flag: Option<Option<Flag>>,
    /// Encryption is so from now on, at once, and no call was made.
    set: Option<Set>,
    /// The key of `set`; without one it is the service's own.
    key: Option<String>,
    /// Delivery streams: so many Starts and Stops have just been made.
    calls: Option<usize>,
    /// Data streams: so many Starts.
    starts: Option<usize>,
    /// Data streams: so many Stops.
    stops: Option<usize>,
}

/// Whose encryption it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Of {
    DeliveryStream,
    DataStream,
}

impl Of {
    /// The key that `named` means, or the service's own.
    pub(super) fn key(self, named: Option<String>) -> Key {
        let own = match self {
            Self::DeliveryStream => None,
            Self::DataStream => Some(String::from(KINESIS_ALIAS)),
        };
        match named.filter(|named| !is_kinesis_alias(named)) {
            Some(key) => Key { key_type: KeyType::CustomerManaged, key_arn: Some(key) },
            None => Key { key_type: KeyType::AwsOwned, key_arn: own },
        }
    }
}

impl Commanded {
    /// How long changes of this stream take.
    pub(super) fn timing(&self, rule: &SseTiming) -> SseTiming {
        SseTiming {
            transition: self.transition.unwrap_or(rule.transition),
            settle: self.settle.unwrap_or(rule.settle),
            ..*rule
        }
    }

    /// What an answer says, when this is the truth; `None` says nothing.
    pub(super) fn flag(&self, truth: bool) -> Option<bool> {
        match self.flag {
            None => Some(truth),
            Some(Flag::Absent) => None,
            Some(Flag::False) => Some(false),
            Some(Flag::True) => Some(true),
        }
    }

    /// Does what is asked with `method`: looks, commands, or gives everything back to the rule. Says whether that is
    /// one of the methods.
    pub(super) fn asked(
        &mut self,
        method: &Method,
        json: &[u8],
        of: Of,
        sse: &mut Sse,
    ) -> Result<bool, String> {
        match *method {
            Method::GET => {}
            Method::PUT => self.command(json, of, sse)?,
            Method::DELETE => *self = Self::default(),
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Does what `json` commands; when it is refused nothing has changed.
    pub(super) fn command(&mut self, json: &[u8], of: Of, sse: &mut Sse) -> Result<(), String> {
        let command: Command = serde_json::from_slice(json).map_err(|error| error.to_string())?;
        let counts = match of {
            Of::DeliveryStream if command.starts.or(command.stops).is_some() => {
                return Err(String::from(
                    "a delivery stream counts its calls together, in `calls`",
                ));
            }
            Of::DataStream if command.calls.is_some() => {
                return Err(String::from("a data stream counts `starts` and `stops`"));
            }
            Of::DeliveryStream => [(Call::Start, command.calls), (Call::Stop, None)],
            Of::DataStream => [(Call::Start, command.starts), (Call::Stop, command.stops)],
        };
        if counts.iter().any(|(_, count)| count.is_some_and(|count| count > CALLS_MAX)) {
            return Err(format!("at most {CALLS_MAX} calls can be remembered"));
        }
        if command.key.is_some() && !matches!(command.set, Some(Set::Enabled)) {
            return Err(String::from("`key` goes with \"set\": \"enabled\""));
        }
        let now_ms = unix_ms();
        for (call, count) in counts {
            if let Some(count) = count {
                sse.set_calls(call, count, now_ms);
            }
        }
        match command.set {
            Some(Set::Enabled) => sse.force(Some(of.key(command.key)), now_ms),
            Some(Set::Disabled) => sse.force(None, now_ms),
            None => {}
        }
        let duration = |ms: Option<u64>| ms.map(Duration::from_millis);
        self.transition = command.transition_ms.map_or(self.transition, duration);
        self.settle = command.settle_ms.map_or(self.settle, duration);
        self.flag = command.flag.unwrap_or(self.flag);
        Ok(())
    }

    /// How the encryption of a stream stands, truth and commands.
    pub(super) fn shown(&self, of: Of, sse: &mut Sse, rule: &SseTiming) -> Value {
        let now_ms = unix_ms();
        let timing = self.timing(rule);
        let told = sse.shown(now_ms);
        let in_force = sse.in_force(now_ms).cloned();
        let mut shown = json!({
            "status": told.as_ref().map(|told| told.status),
            "failure": told.as_ref().and_then(|told| told.failure),
            "key_type": in_force.as_ref().map(|key| key.key_type),
            "key": in_force.and_then(|key| key.key_arn),
            "encrypts": sse.encrypts(now_ms),
            "transition_ms": duration_ms(timing.transition),
            "settle_ms": duration_ms(timing.settle),
            "flag": self.flag,
            "calls_per_day_max": timing.calls_per_day_max,
        });
        let starts = sse.calls(Call::Start, now_ms);
        let counts: &[(&str, usize)] = match of {
            Of::DeliveryStream => &[("calls", starts)],
            Of::DataStream => &[("starts", starts), ("stops", sse.calls(Call::Stop, now_ms))],
        };
        if let Some(members) = shown.as_object_mut() {
            let counts = counts.iter().map(|(name, count)| ((*name).to_owned(), json!(count)));
            members.extend(counts);
        }
        shown
    }
}

/// Tells a member that is `null` from one that is left out.
fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// Whether a key id means the service's own key of data streams, by its alias or the alias's ARN.
pub(super) fn is_kinesis_alias(key: &str) -> bool {
    let alias = key.rsplit_once(':').filter(|_| key.starts_with("arn:")).map_or(key, |(_, a)| a);
    alias == KINESIS_ALIAS
}

/// The service's own key of data streams.
pub(super) const KINESIS_ALIAS: &str = "alias/aws/kinesis";

/// The most calls that a command lets be remembered: far above any limit that is of use.
const CALLS_MAX: usize = 1_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_stays_and_null_gives_back() {
        let mut commanded = Commanded::default();
        let mut sse = Sse::default();
        let mut command = |json: &str| {
            commanded.command(json.as_bytes(), Of::DeliveryStream, &mut sse).unwrap();
            (commanded.timing(&SseTiming::default()), commanded.flag(true))
        };
        let (timing, flag) = command(r#"{"transition_ms": 7, "settle_ms": 0, "flag": "absent"}"#);
        assert_eq!((timing.transition, timing.settle), (Duration::from_millis(7), Duration::ZERO));
        assert_eq!(flag, None);
        let (timing, flag) = command(r#"{"flag": "false"}"#);
        assert_eq!((timing.transition, flag), (Duration::from_millis(7), Some(false)));
        let (timing, flag) = command(r#"{"transition_ms": null, "flag": null}"#);
        assert_eq!(timing.transition, SseTiming::default().transition);
        assert_eq!((timing.settle, flag), (Duration::ZERO, Some(true)));
    }

    #[test]
    fn what_is_refused_changes_nothing() {
        for (of, json) in [
            (Of::DeliveryStream, r#"{"set": "enabled", "starts": 1}"#),
            (Of::DataStream, r#"{"set": "enabled", "calls": 1}"#),
            (Of::DeliveryStream, r#"{"set": "enabled", "calls": 1000000}"#),
            (Of::DeliveryStream, r#"{"key": "x"}"#),
            (Of::DeliveryStream, r#"{"set": "on"}"#),
            (Of::DeliveryStream, r#"{"colour": 1}"#),
        ] {
            let mut sse = Sse::default();
            let refused = Commanded::default().command(json.as_bytes(), of, &mut sse);
            assert!(refused.is_err(), "{json}");
            assert_eq!(sse.shown(0), None, "{json}");
        }
    }

    #[test]
    fn the_alias_of_kinesis_is_no_customer_s_key() {
        let arn = "arn:aws:kms:us-east-1:000000000000:alias/aws/kinesis";
        for own in [Some(KINESIS_ALIAS), Some(arn), None] {
            let key = Of::DataStream.key(own.map(str::to_owned));
            assert_eq!(key.key_type, KeyType::AwsOwned, "{own:?}");
        }
        let customer = Of::DataStream.key(Some(String::from("alias/mine")));
        assert_eq!(customer.key_type, KeyType::CustomerManaged);
    }
}
