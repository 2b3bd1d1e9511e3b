//! Partition keys: which shard of a Kinesis data stream a record goes to.
//!
//! A key is written into one buffer that is used again; nothing is allocated for a record. A record that
//! has no key where the configuration says gets a random one, and is counted. It sends nothing.

use std::fmt::{self, Write as _};
use std::str::FromStr;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::record::{PARTITION_KEY_BYTES_MAX, PARTITION_KEY_CHARS_MAX};

/// Where the partition key of a record comes from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum PartitionKey {
    /// From the dice: records spread evenly.
    #[default]
    Random,
    /// From the request that brought the record.
    Header,
    /// From this place in the record, which is JSON.
    Pointer(Pointer),
}

/// A JSON pointer (RFC 6901).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pointer {
    text: Box<str>,
    /// Its reference tokens, unescaped.
    tokens: Box<[Box<str>]>,
}

/// A text is no JSON pointer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadPointer;

impl FromStr for Pointer {
    type Err = BadPointer;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut tokens = text.split('/');
        if tokens.next() != Some("") {
            return Err(BadPointer);
        }
        let tokens: Result<_, _> = tokens.map(unescaped).collect();
        Ok(Self { text: text.into(), tokens: tokens? })
    }
}

/// A reference token as it is meant: `~1` stands for `/`, and `~0` for `~`.
fn unescaped(token: &str) -> Result<Box<str>, BadPointer> {
    let mut parts = token.split('~');
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (meant, rest) = match part.as_bytes().first() {
            Some(b'0') => ('~', part.get(1..)),
            Some(b'1') => ('/', part.get(1..)),
            _ => return Err(BadPointer),
        };
        text.push(meant);
        text.push_str(rest.unwrap_or_default());
    }
    Ok(text.into())
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Display for BadPointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "a JSON pointer begins with / and names each step after another one, as in /order/id; a / \
             in a name is written ~1 there, and a ~ is written ~0",
        )
    }
}

impl std::error::Error for BadPointer {}

/// How many characters a random key has: eight hexadecimal digits, hashed by the service, are enough to
/// spread records over more shards than there can be.
const RANDOM_KEY_CHARS: usize = 8;

/// Makes the keys of one stream. See the module.
#[derive(Debug)]
pub(super) struct Keys {
    from: PartitionKey,
    random: fastrand::Rng,
    key: String,
    missing: u64,
}

impl Keys {
    /// Keys that come from there.
    pub(super) fn new(from: PartitionKey) -> Self {
        Self { from, random: fastrand::Rng::new(), key: String::new(), missing: 0 }
    }

    /// The most bytes of a key.
    pub(super) const fn bytes_max(&self) -> usize {
        match self.from {
            PartitionKey::Random => RANDOM_KEY_CHARS,
            PartitionKey::Header | PartitionKey::Pointer(_) => PARTITION_KEY_BYTES_MAX,
        }
    }

    /// The key of a record, with which `of_request` came.
    pub(super) fn key(&mut self, record: &[u8], of_request: Option<&str>) -> &str {
        if self.find(record, of_request) { &self.key } else { self.dice() }
    }

    /// The same, if it does not come from the dice.
    pub(super) fn own(&mut self, record: &[u8], of_request: Option<&str>) -> Option<&str> {
        self.find(record, of_request).then_some(&*self.key)
    }

    /// A key from the dice.
    pub(super) fn dice(&mut self) -> &str {
        self.key.clear();
        let number = self.random.u32(..);
        write!(self.key, "{number:0RANDOM_KEY_CHARS$x}").expect("a string takes everything");
        &self.key
    }

    /// Writes down the key that a record has, and counts it as missing where it has none and should.
    fn find(&mut self, record: &[u8], of_request: Option<&str>) -> bool {
        self.key.clear();
        let is_found = match &self.from {
            PartitionKey::Random => return false,
            PartitionKey::Header => {
                self.key.push_str(of_request.unwrap_or_default());
                true
            }
            PartitionKey::Pointer(pointer) => {
                let walk = Walk { tokens: &pointer.tokens, found: &mut self.key };
                let mut json = serde_json::Deserializer::from_slice(record);
                walk.deserialize(&mut json).is_ok_and(|is_found| is_found) && json.end().is_ok()
            }
        };
        let is_key = is_found
            && !self.key.is_empty()
            && self.key.chars().nth(PARTITION_KEY_CHARS_MAX).is_none();
        self.missing += u64::from(!is_key);
        is_key
    }

    /// How many records had no key where it should come from, since this was asked last.
    pub(super) const fn take_missing(&mut self) -> u64 {
        std::mem::replace(&mut self.missing, 0)
    }
}

/// A walk to one value, over all that is beside its way. Says whether a text, a number or a truth stands
/// there, and writes it down. Of members with one name the last counts.
struct Walk<'a> {
    tokens: &'a [Box<str>],
    found: &'a mut String,
}

impl Walk<'_> {
    /// Writes a value down, if it is the one.
    fn at_value(self, value: &dyn fmt::Display) -> bool {
        if !self.tokens.is_empty() {
            return false;
        }
        self.found.clear();
        write!(self.found, "{value}").is_ok()
    }
}

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<bool, D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_str<E>(self, text: &str) -> Result<bool, E> {
        Ok(self.at_value(&text))
    }

    fn visit_bool<E>(self, value: bool) -> Result<bool, E> {
        Ok(self.at_value(&value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<bool, E> {
        Ok(self.at_value(&value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<bool, E> {
        Ok(self.at_value(&value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<bool, E> {
        // As JSON has it: 1.0, and not 1.
        Ok(serde_json::Number::from_f64(value).is_some_and(|value| self.at_value(&value)))
    }

    fn visit_unit<E>(self) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<bool, A::Error> {
        let step = self.tokens.split_first();
        let mut is_found = false;
        while let Some(is_step) = map.next_key_seed(Is(step.map(|(name, _)| &**name)))? {
            match step.filter(|_| is_step) {
                Some((_, tokens)) => {
                    is_found = map.next_value_seed(Walk { tokens, found: &mut *self.found })?;
                }
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(is_found)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<bool, A::Error> {
        let step = self.tokens.split_first();
        let step = step.and_then(|(name, tokens)| Some((index(name)?, tokens)));
        let mut is_found = false;
        for at in 0_usize.. {
            let is_left = match step.filter(|(index, _)| *index == at) {
                Some((_, tokens)) => {
                    let found =
                        items.next_element_seed(Walk { tokens, found: &mut *self.found })?;
                    is_found |= found == Some(true);
                    found.is_some()
                }
                None => items.next_element::<IgnoredAny>()?.is_some(),
            };
            if !is_left {
                break;
            }
        }
        Ok(is_found)
    }
}

/// The place in an array that a reference token names: digits without a zero before them.
fn index(token: &str) -> Option<usize> {
    let is_index = token == "0" || !token.starts_with('0');
    let is_number = token.bytes().all(|byte| byte.is_ascii_digit());
    token.parse().ok().filter(|_| is_index && is_number)
}

/// Whether the name of a member is this one.
struct Is<'a>(Option<&'a str>);

impl<'de> DeserializeSeed<'de> for Is<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<bool, D::Error> {
        json.deserialize_str(self)
    }
}

impl Visitor<'_> for Is<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a member")
    }

    fn visit_str<E>(self, name: &str) -> Result<bool, E> {
        Ok(self.0 == Some(name))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn found(pointer: &str, record: &str) -> Option<String> {
        let mut keys = Keys::new(PartitionKey::Pointer(pointer.parse().unwrap()));
        let key = keys.key(record.as_bytes(), None).to_owned();
        let is_missing = keys.take_missing() == 1;
        assert!(!is_missing || is_random(&key), "{key}");
        (!is_missing).then_some(key)
    }

    fn is_random(key: &str) -> bool {
        key.len() == RANDOM_KEY_CHARS && key.bytes().all(|byte| byte.is_ascii_hexdigit())
    }

    #[test]
    fn a_pointer_finds_texts_numbers_and_truths_wherever_they_stand() {
        let record = r#"{"a": {"b": [0, {"c": "here"}]}, "n": -7, "f": 1.0, "e": 1e3, "t": true, "": "empty", "~/": "odd", "0": "zero", "x": null}"#;
        for (pointer, key) in [
            ("/a/b/1/c", Some("here")),
            ("/a/b/0", Some("0")),
            ("/n", Some("-7")),
            ("/f", Some("1.0")),
            ("/e", Some("1000.0")),
            ("/t", Some("true")),
            ("/", Some("empty")),
            ("/~0~1", Some("odd")),
            ("/0", Some("zero")),
            ("/a", None),
            ("/a/b", None),
            ("/a/b/2", None),
            ("/a/b/01", None),
            ("/a/b/-", None),
            ("/a/b/+1/c", None),
            ("/n/deeper", None),
            ("/x", None),
            ("/nowhere", None),
            ("", None),
        ] {
            assert_eq!(found(pointer, record).as_deref(), key, "{pointer}");
        }
        assert_eq!(found("", "\"whole\"\n").as_deref(), Some("whole"));
        assert_eq!(
            found("/1", "[1, 18446744073709551615]").as_deref(),
            Some("18446744073709551615")
        );
        assert_eq!(found("/a", r#"{"a": 1, "a": 2}"#).as_deref(), Some("2"), "the last counts");
        assert_eq!(found("/a", r#"{"a": 1, "a": {}}"#), None);
        assert_eq!(found("/a", "{\"a\": \"\\u00e9\\\"\"}").as_deref(), Some("é\""));
    }

    #[test]
    fn what_is_no_json_or_no_key_gets_a_random_one() {
        for record in ["", "no json", "{\"a\": 1", "{\"a\": 1} {\"a\": 2}", "{\"a\": \"\"}"] {
            assert_eq!(found("/a", record), None, "{record}");
        }
        let of = |chars: usize| format!("{{\"a\": \"{}\"}}", "é".repeat(chars));
        assert_eq!(
            found("/a", &of(PARTITION_KEY_CHARS_MAX)).unwrap().chars().count(),
            PARTITION_KEY_CHARS_MAX
        );
        assert_eq!(found("/a", &of(PARTITION_KEY_CHARS_MAX + 1)), None);
        assert_eq!(found("/a", &format!("{}1{}", "[".repeat(200), "]".repeat(200))), None);
    }

    #[test]
    fn random_keys_are_short_and_differ_and_none_is_missing() {
        let mut keys = Keys::new(PartitionKey::Random);
        let all: BTreeSet<String> = (0..1_000).map(|_| keys.key(b"{}", None).to_owned()).collect();
        assert!(all.len() > 990 && all.iter().all(|key| is_random(key)));
        assert_eq!(keys.take_missing(), 0);
        // Every first digit is there about as often.
        let firsts: BTreeSet<char> = all.iter().filter_map(|key| key.chars().next()).collect();
        assert_eq!(firsts.len(), 16);
    }

    #[test]
    fn a_key_that_came_with_the_request_is_taken_as_it_is() {
        let mut keys = Keys::new(PartitionKey::Header);
        assert_eq!(keys.key(b"x", Some("tenant 7")), "tenant 7");
        assert_eq!(keys.take_missing(), 0);
        assert!(is_random(keys.key(b"x", None)));
        assert!(is_random(keys.key(b"x", Some(&"x".repeat(257)))));
        assert_eq!(keys.take_missing(), 2);
    }

    #[test]
    fn only_a_json_pointer_is_one() {
        for text in ["", "/", "/a", "/a/b~0c~1d", "//"] {
            assert_eq!(text.parse::<Pointer>().unwrap().to_string(), text);
        }
        for text in ["a", "a/b", "/~", "/~2", "/a~", "#/a"] {
            assert_eq!(text.parse::<Pointer>(), Err(BadPointer), "{text}");
        }
    }
}
